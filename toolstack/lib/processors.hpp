// SPDX-License-Identifier: MIT
// The machine's CPUs and the domains' vCPUs, as the hypervisor counts them.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "lib/hypervisor.hpp"

namespace pvn::tools {

std::vector<pvn_cpu_info> physical_cpus(Hypervisor const&);
// Of a domain that is gone: none.
std::vector<pvn_vcpu_info> vcpus_of(Hypervisor const&, std::uint16_t domain);
std::vector<pvn_lock_info> locks(Hypervisor const&);
std::vector<pvn_pool_info> pools(Hypervisor const&);
std::string_view policy_text(std::uint32_t policy);              // PVN_SCHED_POLICY_...
std::optional<std::uint32_t> policy_of(std::string_view name);
std::string_view run_state_text(std::uint32_t run_state);

}  // namespace pvn::tools
