// SPDX-License-Identifier: MIT
// `pvn vcpu`: where vCPUs run, and may.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/cpu_list.hpp"
#include "lib/domains.hpp"
#include "lib/processors.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

constexpr std::array state_keys{"running_ns", "runnable_ns", "blocked_ns", "offline_ns"};

nlohmann::json json_of(Known const& domain, pvn_vcpu_info const& v)
{
    nlohmann::json out{{"domain", domain.info.id},
                       {"name", domain.name()},
                       {"vcpu", v.vcpu},
                       {"state", run_state_text(v.state)},
                       {"cpu", v.cpu},
                       {"hard_affinity", cpus_text(v.hard_affinity)},
                       {"soft_affinity", cpus_text(v.soft_affinity)},
                       {"hypercalls", v.hypercalls},
                       {"traps", v.traps},
                       {"interrupts", v.interrupts},
                       {"emulated", v.emulated}};
    for (std::size_t state = 0; state < state_keys.size(); ++state) out[state_keys[state]] = v.time[state];
    return out;
}

}  // namespace

int list_vcpus(std::string const& name, bool json)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domains = name.empty() ? all_domains(hypervisor, registry) : std::vector{find_domain(hypervisor, registry, name)};
    auto out = nlohmann::json::array();
    if (!json) fmt::print("{:<20} {:>4} {:>4} {:<8} {:>3} {:>10}  {:<12} {}\n", "NAME", "ID", "VCPU", "STATE", "CPU", "TIME", "HARD", "SOFT");
    for (auto const& domain : domains)
        for (auto const& v : vcpus_of(hypervisor, domain.info.id)) {
            if (json)
                out.push_back(json_of(domain, v));
            else
                fmt::print("{:<20} {:>4} {:>4} {:<8} {:>3} {:>9.1f}s  {:<12} {}\n", domain.name(), domain.info.id, v.vcpu, run_state_text(v.state), v.cpu,
                           static_cast<double>(v.time[PVN_RUNSTATE_RUNNING]) / 1e9, cpus_text(v.hard_affinity), cpus_text(v.soft_affinity));
        }
    if (json) print_json(out);
    return done;
}

int pin_vcpu(std::string const& name, std::string const& vcpu, std::string const& cpus, std::optional<std::string> const& soft)
{
    auto const hard_mask = parse_cpus(cpus);
    auto const soft_mask = soft ? std::optional{parse_cpus(*soft)} : std::nullopt;
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_domain(hypervisor, registry, name);
    bool found = false;
    for (auto const& v : vcpus_of(hypervisor, domain.info.id)) {
        if (vcpu != "all" && vcpu != std::to_string(v.vcpu)) continue;
        found = true;
        auto const result = hypervisor.call(PVN_DOMAIN_SET_AFFINITY, domain.info.id, v.vcpu, hard_mask, soft_mask.value_or(v.soft_affinity));
        if (result == -PVN_E_INVALID) throw Problem{fmt::format("no CPU of {} is online in its pool, {}; `pvn host cpu list` shows those that are", cpus_text(hard_mask), domain.info.pool)};
        Hypervisor::checked("pin the vCPU", result);
    }
    if (!found) throw Problem{fmt::format("{} has no vCPU {}; `pvn vcpu list {}` shows those that it has", domain.name(), vcpu, name)};
    return done;
}

int set_vcpus(std::string const& name, std::uint32_t number)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "given vCPUs by pvn: write to /sys/devices/system/cpu/cpu1/online and so on");
    registry.unlock();
    if ((domain.info.flags & PVN_DOMAIN_SHUT_DOWN) != 0) throw Problem{fmt::format("{} has ended", domain.name())};
    if (number == 0) throw Problem{"a domain keeps one vCPU at least; `pvn pause` holds all of them"};
    if (number > domain.info.vcpus)
        throw Problem{fmt::format("{} has room for {} vCPU{}; `max_vcpus` of its description says so when it is created", domain.name(), domain.info.vcpus,
                                  domain.info.vcpus == 1 ? "" : "s")};
    auto const asked = hypervisor.call(PVN_DOMAIN_REQUEST_VCPUS, domain.info.id, number);
    if (asked == -PVN_E_NOT_LISTENING) throw Problem{fmt::format("the guest in {} does not listen to such requests (yet)", domain.name())};
    Hypervisor::checked("ask the domain for another number of vCPUs", asked);
    return done;
}

}  // namespace pvn::tools
