// SPDX-License-Identifier: MIT
#include "lib/top.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/domains.hpp"
#include "lib/processors.hpp"

namespace pvn::tools {
namespace {

// Counters only grow; what was read later on another CPU may be a trifle less.
double grown(std::uint64_t before, std::uint64_t now) { return now > before ? static_cast<double>(now - before) : 0; }

struct Span {
    double nanoseconds;
    double share(std::uint64_t before, std::uint64_t now) const { return nanoseconds > 0 ? std::min(grown(before, now) / nanoseconds, 1.0) : 0; }
    double rate(std::uint64_t before, std::uint64_t now) const { return nanoseconds > 0 ? grown(before, now) / nanoseconds * 1e9 : 0; }
};

Load load_of(Span span, pvn_vcpu_info const& before, pvn_vcpu_info const& now)
{
    return {span.share(before.time[PVN_RUNSTATE_RUNNING], now.time[PVN_RUNSTATE_RUNNING]),
            span.share(before.time[PVN_RUNSTATE_RUNNABLE], now.time[PVN_RUNSTATE_RUNNABLE]),
            span.rate(before.hypercalls, now.hypercalls),
            span.rate(before.traps, now.traps),
            span.rate(before.emulated, now.emulated),
            span.rate(before.interrupts, now.interrupts)};
}

bool same(pvn_domain_info const& a, pvn_domain_info const& b) { return a.id == b.id && std::ranges::equal(a.uuid, b.uuid); }

std::string bar(double share)
{
    constexpr double width = 20;
    auto const full = static_cast<std::size_t>(share * width + 0.5);
    return std::string(full, '#') + std::string(static_cast<std::size_t>(width) - full, '.');
}

std::string name_of(Activity const& a, std::uint16_t id)
{
    auto const found = std::ranges::find_if(a.domains, [&](auto const& domain) { return domain.now.id == id; });
    return found != a.domains.end() ? found->name : fmt::format("({})", id);
}

std::string columns(Load const& load)
{
    return fmt::format("{:>6.1f} {:>6.1f} {:>8.0f} {:>8.0f} {:>8.0f} {:>8.0f}", load.cpu * 100, load.steal * 100, load.hypercalls, load.traps, load.emulated,
                       load.interrupts);
}

nlohmann::json json_of(Load const& load)
{
    return {{"cpu_share", load.cpu},
            {"steal_share", load.steal},
            {"hypercalls_per_s", load.hypercalls},
            {"traps_per_s", load.traps},
            {"emulated_per_s", load.emulated},
            {"interrupts_per_s", load.interrupts}};
}

}  // namespace

Load& Load::operator+=(Load const& other)
{
    for (auto const value : {&Load::cpu, &Load::steal, &Load::hypercalls, &Load::traps, &Load::emulated, &Load::interrupts}) this->*value += other.*value;
    return *this;
}

Activity activity(Sample const& before, Sample const& now)
{
    Span const span{grown(before.system.uptime, now.system.uptime)};
    Activity out;
    out.seconds = span.nanoseconds / 1e9;
    out.system = now.system;
    for (auto const& cpu : now.cpus) {
        auto const known = std::ranges::find(before.cpus, cpu.cpu, &pvn_cpu_info::cpu);
        auto const old = known != before.cpus.end() ? *known : pvn_cpu_info{};
        // One that is offline is idle by definition.
        out.cpus.push_back({cpu, span.nanoseconds > 0 ? 1 - span.share(old.idle_time, cpu.idle_time) : 0, span.rate(old.switches, cpu.switches),
                            span.rate(old.guest_exits, cpu.guest_exits)});
    }
    for (auto const& domain : now.domains) {
        auto const known = std::ranges::find_if(before.domains, [&](auto const& d) { return same(d.info, domain.info); });
        Activity::Domain next{domain.info, domain.name, {}, {}};
        for (auto const& vcpu : domain.vcpus) {
            pvn_vcpu_info old{};
            if (known != before.domains.end())
                if (auto const found = std::ranges::find(known->vcpus, vcpu.vcpu, &pvn_vcpu_info::vcpu); found != known->vcpus.end()) old = *found;
            next.vcpus.push_back({vcpu, load_of(span, old, vcpu)});
            next.load += next.vcpus.back().load;
        }
        out.domains.push_back(std::move(next));
    }
    std::ranges::sort(out.domains, {}, [](auto const& domain) { return std::pair{-domain.load.cpu, domain.now.id}; });
    return out;
}

std::vector<TopLine> top_lines(Activity const& a)
{
    using enum TopLine::Kind;
    std::vector<TopLine> lines;
    std::size_t vcpus = 0;
    for (auto const& domain : a.domains) vcpus += domain.vcpus.size();
    lines.push_back({summary, fmt::format("{}, scheduler {}, up {:.0f} s, {:.1f} s looked at", a.system.version, a.system.scheduler,
                                          static_cast<double>(a.system.uptime) / 1e9, a.seconds)});
    lines.push_back({summary, fmt::format("{} CPU{}, {} domain{}, {} vCPU{}, {} of {} MiB free", a.cpus.size(), a.cpus.size() == 1 ? "" : "s", a.domains.size(),
                                          a.domains.size() == 1 ? "" : "s", vcpus, vcpus == 1 ? "" : "s", a.system.free_frames / 256, a.system.frames / 256)});
    lines.push_back({heading, fmt::format("{:>4} {:<22} {:>6} {:>5} {:>5} {:>8} {:>8}  {}", "CPU", "", "BUSY%", "QUEUE", "HOMES", "SWITCH/s", "EXITS/s", "RUNS")});
    for (auto const& cpu : a.cpus) {
        bool const online = (cpu.now.flags & PVN_CPU_ONLINE) != 0;
        auto const runs = (cpu.now.flags & PVN_CPU_BUSY) != 0 ? fmt::format("{} v{}", name_of(a, cpu.now.domain), cpu.now.vcpu) : online ? "-" : "offline";
        lines.push_back({TopLine::Kind::cpu, fmt::format("{:>4} [{}] {:>6.1f} {:>5} {:>5} {:>8.0f} {:>8.0f}  {}", cpu.now.cpu, bar(cpu.busy), cpu.busy * 100,
                                                         cpu.now.runnable, cpu.now.homes, cpu.switches, cpu.exits, runs)});
    }
    lines.push_back({heading, fmt::format("{:<17} {:>4} {:<8} {:>3} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8}", "DOMAIN", "ID", "STATE", "ON", "CPU%", "STEAL%", "CALLS/s",
                                          "TRAPS/s", "EMUL/s", "IRQS/s")});
    for (auto const& domain : a.domains) {
        bool const single = domain.vcpus.size() == 1;
        auto const state = state_text(domain.now);
        lines.push_back({TopLine::Kind::domain, fmt::format("{:<17.17} {:>4} {:<8.8} {:>3} {}", domain.name, domain.now.id, state,
                                                            single ? std::to_string(domain.vcpus[0].now.cpu) : "", columns(domain.load))});
        for (auto const& vcpu : domain.vcpus)
            if (!single)
                lines.push_back({TopLine::Kind::vcpu, fmt::format("{:<17} {:>4} {:<8} {:>3} {}", fmt::format("  v{}", vcpu.now.vcpu), "",
                                                                  run_state_text(vcpu.now.state), vcpu.now.cpu, columns(vcpu.load))});
    }
    return lines;
}

nlohmann::json json_of(Activity const& a)
{
    nlohmann::json out{{"seconds", a.seconds}, {"uptime_ns", a.system.uptime}, {"free_frames", a.system.free_frames}};
    out["cpus"] = nlohmann::json::array();
    out["domains"] = nlohmann::json::array();
    for (auto const& cpu : a.cpus)
        out["cpus"].push_back({{"cpu", cpu.now.cpu},
                               {"online", (cpu.now.flags & PVN_CPU_ONLINE) != 0},
                               {"busy_share", cpu.busy},
                               {"runnable", cpu.now.runnable},
                               {"homes", cpu.now.homes},
                               {"switches_per_s", cpu.switches},
                               {"exits_per_s", cpu.exits}});
    for (auto const& domain : a.domains) {
        auto one = json_of(domain.load);
        one["id"] = domain.now.id;
        one["name"] = domain.name;
        one["state"] = state_text(domain.now);
        one["vcpus"] = nlohmann::json::array();
        for (auto const& vcpu : domain.vcpus) {
            auto line = json_of(vcpu.load);
            line["vcpu"] = vcpu.now.vcpu;
            line["state"] = run_state_text(vcpu.now.state);
            line["cpu"] = vcpu.now.cpu;
            one["vcpus"].push_back(std::move(line));
        }
        out["domains"].push_back(std::move(one));
    }
    return out;
}

Sample Sampler::take()
{
    Sample sample;
    sample.system = hypervisor_.system();
    sample.cpus = physical_cpus(hypervisor_);
    bool asked = false;
    for (auto const& info : hypervisor_.domains()) {
        auto const uuid = uuid_text(info.uuid);
        if (!names_.contains(uuid) && !asked) {
            asked = true;
            Registry registry;
            names_.clear();
            for (auto const& domain : all_domains(hypervisor_, registry)) names_[uuid_text(domain.info.uuid)] = domain.name();
        }
        auto const name = names_.find(uuid);
        if (name == names_.end()) continue;  // it has gone meanwhile
        sample.domains.push_back({info, name->second, vcpus_of(hypervisor_, info.id)});
    }
    return sample;
}

}  // namespace pvn::tools
