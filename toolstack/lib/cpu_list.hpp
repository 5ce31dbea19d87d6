// SPDX-License-Identifier: MIT
// CPUs as people write them: `0-3,6` or `all`.  The mask is the hypervisor's: bit n is CPU n.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pvn::tools {

inline constexpr std::uint64_t all_cpus = ~std::uint64_t{0};

// Problem: says what in the text is wrong.
std::uint64_t parse_cpus(std::string_view text);
std::string cpus_text(std::uint64_t mask);  // what parse_cpus() reads; no CPU: "none"

}  // namespace pvn::tools
