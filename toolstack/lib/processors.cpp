// SPDX-License-Identifier: MIT
#include "lib/processors.hpp"

#include <array>

#include "sched/policy_slot.hpp"

namespace pvn::tools {

std::vector<pvn_cpu_info> physical_cpus(Hypervisor const& hypervisor)
{
    std::vector<pvn_cpu_info> all, piece(16);
    for (;;) {
        auto const filled = hypervisor.must("look at the CPUs", PVN_SYSTEM_CPU_INFO, all.size(), piece.data(), piece.size());
        all.insert(all.end(), piece.begin(), piece.begin() + filled);
        if (static_cast<std::size_t>(filled) < piece.size()) return all;
    }
}

std::vector<pvn_vcpu_info> vcpus_of(Hypervisor const& hypervisor, std::uint16_t domain)
{
    std::vector<pvn_vcpu_info> all;
    for (pvn_vcpu_info info{};; all.push_back(info)) {
        auto const result = hypervisor.call(PVN_DOMAIN_VCPU_INFO, domain, all.size(), &info);
        if (result == -PVN_E_NOT_FOUND) return all;
        Hypervisor::checked("look at the vCPUs", result);
    }
}

std::vector<pvn_lock_info> locks(Hypervisor const& hypervisor)
{
    std::vector<pvn_lock_info> all(64);
    all.resize(static_cast<std::size_t>(hypervisor.must("look at the locks", PVN_SYSTEM_LOCKS, all.data(), all.size())));
    return all;
}

std::vector<pvn_pool_info> pools(Hypervisor const& hypervisor)
{
    std::vector<pvn_pool_info> all(64);
    all.resize(static_cast<std::size_t>(hypervisor.must("look at the CPU pools", PVN_SYSTEM_POOL_INFO, 0, all.data(), all.size())));
    return all;
}

std::string_view policy_text(std::uint32_t policy)
{
    for (auto const& known : sched::policy_names)
        if (static_cast<std::uint32_t>(known.kind) == policy) return known.name;
    return "unknown";
}

std::optional<std::uint32_t> policy_of(std::string_view name)
{
    auto const kind = sched::policy_kind(name);
    return kind ? std::optional{static_cast<std::uint32_t>(*kind)} : std::nullopt;
}

std::string_view run_state_text(std::uint32_t run_state)
{
    constexpr std::array<std::string_view, 4> names{"running", "runnable", "blocked", "offline"};
    return run_state < names.size() ? names[run_state] : "unknown";
}

}  // namespace pvn::tools
