// SPDX-License-Identifier: MIT
#pragma once

#include "domain/domain.hpp"
#include "lib/result.hpp"

namespace pvn::hypercall {

// WRITE, PROMOTE and DEMOTE of the update queue, on tables of that domain.
Result<void> table_operation(Domain&, pvn_mmu_op const&);

}  // namespace pvn::hypercall
