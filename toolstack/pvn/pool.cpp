// SPDX-License-Identifier: MIT
// `pvn pool`: which CPUs run which domains, under which scheduler.
#include <fmt/format.h>

#include <bit>
#include <nlohmann/json.hpp>

#include "lib/cpu_list.hpp"
#include "lib/domains.hpp"
#include "lib/processors.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

Problem no_pool(std::uint32_t pool) { return Problem{fmt::format("there is no pool {}; `pvn pool list` shows those that there are", pool)}; }

void take_cpu(Hypervisor const& hypervisor, std::uint32_t pool, std::uint32_t cpu)
{
    switch (auto const result = hypervisor.call(PVN_SYSTEM_POOL_TAKE_CPU, pool, cpu)) {
    case -PVN_E_EXISTS: return;
    case -PVN_E_NOT_FOUND: throw Problem{fmt::format("there is no CPU {}, or no pool {}; see `pvn host cpu list` and `pvn pool list`", cpu, pool)};
    case -PVN_E_INVALID: throw Problem{fmt::format("CPU {} is offline; `pvn host cpu online {}` comes first", cpu, cpu)};
    case -PVN_E_AGAIN: throw Problem{fmt::format("CPU {} is changing its pool just now; try again", cpu)};
    case -PVN_E_BUSY: throw Problem{fmt::format("CPU {} must stay in its pool: it is the last one there, or that some vCPU may run on; see `pvn pool list` and `pvn vcpu list`", cpu)};
    default: Hypervisor::checked("take the CPU to another pool", result);
    }
}

// CPU numbers, in order.  Of `all` those that are online.
std::vector<std::uint32_t> cpus_of(Hypervisor const& hypervisor, std::string const& text)
{
    auto const mask = parse_cpus(text);
    std::vector<std::uint32_t> list;
    if (mask == all_cpus) {
        for (auto const& cpu : physical_cpus(hypervisor))
            if ((cpu.flags & PVN_CPU_ONLINE) != 0) list.push_back(cpu.cpu);
    } else {
        for (auto left = mask; left != 0; left &= left - 1) list.push_back(static_cast<std::uint32_t>(std::countr_zero(left)));
    }
    return list;
}

void remove(Hypervisor const& hypervisor, std::uint32_t pool)
{
    switch (auto const result = hypervisor.call(PVN_SYSTEM_POOL_DESTROY, pool)) {
    case -PVN_E_NOT_FOUND: throw no_pool(pool);
    case -PVN_E_INVALID: throw Problem{"pool 0 is always there"};
    case -PVN_E_BUSY: throw Problem{fmt::format("pool {} has CPUs or domains; `pvn pool add 0 CPUS` and `pvn pool move DOMAIN 0` take them elsewhere", pool)};
    default: Hypervisor::checked("remove the pool", result);
    }
}

}  // namespace

int list_pools(bool json)
{
    Hypervisor const hypervisor;
    auto out = nlohmann::json::array();
    if (!json) fmt::print("{:>4} {:<6} {:>7}  {}\n", "POOL", "SCHED", "DOMAINS", "CPUS");
    for (auto const& pool : pools(hypervisor)) {
        if (json)
            out.push_back({{"pool", pool.pool}, {"scheduler", policy_text(pool.policy)}, {"domains", pool.domains}, {"cpus", cpus_text(pool.cpus)}});
        else
            fmt::print("{:>4} {:<6} {:>7}  {}\n", pool.pool, policy_text(pool.policy), pool.domains, cpus_text(pool.cpus));
    }
    if (json) print_json(out);
    return done;
}

int create_pool(std::string const& scheduler, std::string const& cpus)
{
    Hypervisor const hypervisor;
    auto const wanted = cpus.empty() ? std::vector<std::uint32_t>{} : cpus_of(hypervisor, cpus);
    auto const policy = policy_of(scheduler);
    if (!policy) throw Problem{fmt::format("there is no scheduler `{}`; there are bvt, rr and null", scheduler)};
    auto const result = hypervisor.call(PVN_SYSTEM_POOL_CREATE, *policy);
    if (result == -PVN_E_NO_SPACE) throw Problem{"there are as many pools as there can be; `pvn pool destroy` removes one"};
    auto const pool = static_cast<std::uint32_t>(Hypervisor::checked("make a pool", result));
    std::vector<std::pair<std::uint32_t, std::uint32_t>> taken;  // CPU, its pool until now
    try {
        auto const before = physical_cpus(hypervisor);
        for (auto const cpu : wanted) {
            take_cpu(hypervisor, pool, cpu);
            taken.emplace_back(cpu, before.at(cpu).pool);
        }
    } catch (...) {
        for (auto const& [cpu, from] : taken) take_cpu(hypervisor, from, cpu);
        remove(hypervisor, pool);
        throw;
    }
    fmt::print("{}\n", pool);
    return done;
}

int destroy_pool(std::uint32_t pool)
{
    remove(Hypervisor{}, pool);
    return done;
}

int add_to_pool(std::uint32_t pool, std::string const& cpus)
{
    Hypervisor const hypervisor;
    for (auto const cpu : cpus_of(hypervisor, cpus)) take_cpu(hypervisor, pool, cpu);
    return done;
}

int move_to_pool(std::string const& name, std::uint32_t pool)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_domain(hypervisor, registry, name);
    auto const result = hypervisor.call(PVN_DOMAIN_TAKE_TO_POOL, domain.info.id, pool);
    if (result == -PVN_E_NOT_FOUND) throw no_pool(pool);
    if (result == -PVN_E_INVALID)
        throw Problem{fmt::format("pool {} has no CPU on which every vCPU of {} may run; see `pvn pool list` and `pvn vcpu list {}`", pool, domain.name(), domain.name())};
    Hypervisor::checked("move the domain", result);
    return done;
}

}  // namespace pvn::tools
