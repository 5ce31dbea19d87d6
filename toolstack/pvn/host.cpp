// SPDX-License-Identifier: MIT
// `pvn host`: the machine's CPUs, and the hypervisor's locks.
#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/processors.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {

int list_cpus(bool json)
{
    Hypervisor const hypervisor;
    auto out = nlohmann::json::array();
    if (!json) fmt::print("{:>3} {:>4} {:<8} {:>4} {:>8} {:>5} {:>5} {:>10} {:>12} {:>12}\n", "CPU", "APIC", "STATE", "POOL", "RUNS", "HOMES", "QUEUE", "IDLE", "SWITCHES", "EXITS");
    for (auto const& c : physical_cpus(hypervisor)) {
        bool const online = (c.flags & PVN_CPU_ONLINE) != 0, busy = (c.flags & PVN_CPU_BUSY) != 0;
        if (json) {
            out.push_back({{"cpu", c.cpu}, {"apic_id", c.apic_id}, {"online", online}, {"pool", c.pool}, {"busy", busy}, {"domain", nullptr}, {"vcpu", nullptr}, {"homes", c.homes},
                           {"runnable", c.runnable}, {"idle_ns", c.idle_time}, {"switches", c.switches}, {"guest_exits", c.guest_exits}});
            if (busy) out.back()["domain"] = c.domain, out.back()["vcpu"] = c.vcpu;
            continue;
        }
        fmt::print("{:>3} {:>4} {:<8} {:>4} {:>8} {:>5} {:>5} {:>9.1f}s {:>12} {:>12}\n", c.cpu, c.apic_id, online ? "online" : "offline", c.pool,
                   busy ? fmt::format("d{} v{}", c.domain, c.vcpu) : "-", c.homes, c.runnable, static_cast<double>(c.idle_time) / 1e9, c.switches, c.guest_exits);
    }
    if (json) print_json(out);
    return done;
}

int set_cpu(std::uint32_t cpu, bool online)
{
    Hypervisor const hypervisor;
    switch (auto const result = hypervisor.call(PVN_SYSTEM_SET_CPU, cpu, online ? 1 : 0)) {
    case -PVN_E_NOT_FOUND: throw Problem{fmt::format("there is no CPU {}; `pvn host cpu list` shows those that there are", cpu)};
    case -PVN_E_EXISTS: throw Problem{fmt::format("CPU {} is {} already", cpu, online ? "online" : "offline")};
    case -PVN_E_AGAIN: throw Problem{fmt::format("CPU {} is changing its pool just now; try again", cpu)};
    case -PVN_E_BUSY: throw Problem{fmt::format("CPU {} must stay: it is the last one of its pool that some vCPU may run on; see `pvn pool list` and `pvn vcpu list`", cpu)};
    default: Hypervisor::checked(online ? "take the CPU into use" : "take the CPU out of use", result); return done;
    }
}

int show_locks(bool json)
{
    Hypervisor const hypervisor;
    auto out = nlohmann::json::array();
    if (!json) fmt::print("{:<16} {:>14} {:>12} {:>8} {:>14}\n", "LOCK", "TAKEN", "WAITED", "WAITED%", "ROUNDS");
    for (auto const& lock : locks(hypervisor)) {
        std::string const name{lock.name, strnlen(lock.name, sizeof lock.name)};
        if (json)
            out.push_back({{"name", name}, {"taken", lock.taken}, {"waited", lock.waited}, {"rounds", lock.rounds}});
        else
            fmt::print("{:<16} {:>14} {:>12} {:>8.3f} {:>14}\n", name, lock.taken, lock.waited,
                       lock.taken != 0 ? 100.0 * static_cast<double>(lock.waited) / static_cast<double>(lock.taken) : 0.0, lock.rounds);
    }
    if (json) print_json(out);
    return done;
}

}  // namespace pvn::tools
