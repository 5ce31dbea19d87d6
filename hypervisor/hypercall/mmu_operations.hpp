// SPDX-License-Identifier: MIT
#pragma once

#include "domain/domain.hpp"
#include "lib/result.hpp"

namespace pvn::hypercall {

// WRITE, PROMOTE and DEMOTE of the update queue, on tables of that domain.
inline constexpr std::uint64_t operations_per_turn = 64;
Result<void> table_operation(LockedFrames const&, Domain&, pvn_mmu_op const&);

}  // namespace pvn::hypercall
