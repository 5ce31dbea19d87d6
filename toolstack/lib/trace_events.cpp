// SPDX-License-Identifier: MIT
#include "lib/trace_events.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "lib/call_names.hpp"
#include "lib/cpu_list.hpp"
#include "lib/file.hpp"

namespace pvn::tools {
namespace {

constexpr std::uint16_t no_domain = 0xffff;
constexpr std::array<std::string_view, PVN_TRACE_EVENTS> event_names{"enter", "leave", "hypercall", "switch", "wake", "flush", "move", "window"};

// In the file the CPUs are threads of one process, and the vCPUs of each domain are threads of another.  0 would be taken for idle.
constexpr std::uint64_t cpus_pid = 1;
std::uint64_t pid_of(std::uint64_t domain) { return domain + 2; }
std::uint64_t tid_of(std::uint64_t number) { return number + 1; }

std::string in_json(std::string_view text) { return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace); }
std::string microseconds(std::uint64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

}  // namespace

std::uint64_t parse_trace_events(std::string_view list)
{
    if (list == "all") return (1u << PVN_TRACE_EVENTS) - 1;
    std::uint64_t mask = 0;
    for (auto rest = list;;) {
        auto const comma = rest.find(',');
        auto const word = rest.substr(0, comma);
        auto const* const found = std::ranges::find(event_names, word);
        if (found == event_names.end()) throw Problem{fmt::format("`{}` is no event; there are {}, or all", word, fmt::join(event_names, ", "))};
        mask |= std::uint64_t{1} << (found - event_names.begin());
        if (comma == std::string_view::npos) return mask;
        rest.remove_prefix(comma + 1);
    }
}

TraceEvents::TraceEvents(Write write, std::map<std::uint16_t, std::string> domain_names) : write_{std::move(write)}, names_{std::move(domain_names)}
{
    write_("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
}

void TraceEvents::event(std::string_view text)
{
    write_(first_ ? "\n" : ",\n");
    write_(text);
    first_ = false;
}

std::string TraceEvents::name(std::uint64_t domain, std::uint64_t vcpu) const
{
    auto const known = domain < no_domain ? names_.find(static_cast<std::uint16_t>(domain)) : names_.end();
    return known != names_.end() ? fmt::format("{} v{}", known->second, vcpu) : fmt::format("d{} v{}", domain, vcpu);
}

void TraceEvents::slice(std::uint64_t pid, std::uint64_t tid, std::uint64_t from, std::uint64_t to, std::string_view text, std::string_view arguments)
{
    event(fmt::format(R"({{"ph":"X","pid":{},"tid":{},"ts":{},"dur":{},"name":{},"args":{{{}}}}})", pid, tid, microseconds(from), microseconds(std::max(from, to) - from),
                      in_json(text), arguments));
}

void TraceEvents::instant(std::uint64_t pid, std::uint64_t tid, std::uint64_t at, std::string_view text, std::string_view arguments)
{
    event(fmt::format(R"({{"ph":"i","s":"t","pid":{},"tid":{},"ts":{},"name":{},"args":{{{}}}}})", pid, tid, microseconds(at), in_json(text), arguments));
}

void TraceEvents::metadata(char const* what, std::uint64_t pid, std::uint64_t tid, std::string_view text)
{
    event(fmt::format(R"({{"ph":"M","pid":{},"tid":{},"name":"{}","args":{{"name":{}}}}})", pid, tid, what, in_json(text)));
}

// Begin and end, not a whole slice: readers put a slice inside another that begins at the same time only if it comes later in the file.
void TraceEvents::begin_stay(std::uint32_t id, Cpu& cpu, Stay stay)
{
    cpu.stay = stay;
    vcpus_.emplace(stay.domain, stay.vcpu);
    event(fmt::format(R"({{"ph":"B","pid":{},"tid":{},"ts":{},"name":{},"args":{{"domain":{},"vcpu":{}}}}})", cpus_pid, tid_of(id), microseconds(stay.since),
                      in_json(name(stay.domain, stay.vcpu)), stay.domain, stay.vcpu));
}

void TraceEvents::end_stay(std::uint32_t id, Cpu& cpu, std::uint64_t at)
{
    end_visit(id, cpu, at);
    if (!cpu.stay) return;
    auto const& stay = *cpu.stay;
    event(fmt::format(R"({{"ph":"E","pid":{},"tid":{},"ts":{}}})", cpus_pid, tid_of(id), microseconds(std::max(at, stay.since))));
    slice(pid_of(stay.domain), tid_of(stay.vcpu), stay.since, at, fmt::format("CPU {}", id), fmt::format("\"cpu\":{}", id));
    cpu.stay.reset();
}

// Without `at` it is not known how long it took, but for what it said itself.
void TraceEvents::end_visit(std::uint32_t id, Cpu& cpu, std::optional<std::uint64_t> at)
{
    if (!cpu.visit) return;
    auto const& visit = *cpu.visit;
    if (auto const until = at ? at : visit.until)
        slice(cpus_pid, tid_of(id), visit.since, *until, visit.name, visit.arguments);
    else
        instant(cpus_pid, tid_of(id), visit.since, visit.name, visit.arguments);
    cpu.visit.reset();
}

void TraceEvents::add(std::uint32_t id, std::span<pvn_trace_record const> records)
{
    auto& cpu = cpus_[id];
    for (auto const& record : records) add(id, cpu, record);
}

void TraceEvents::lost(std::uint32_t id)
{
    auto& cpu = cpus_[id];
    end_stay(id, cpu, cpu.last);
    cpu.idle = false;
    cpu.gap = true;
}

void TraceEvents::add(std::uint32_t id, Cpu& cpu, pvn_trace_record const& r)
{
    cpu.last = std::max(cpu.last, r.time);
    auto const tid = tid_of(id);
    if (std::exchange(cpu.gap, false)) instant(cpus_pid, tid, r.time, "records before this were lost", "");
    bool const of_guest = r.event == PVN_TRACE_ENTER || r.event == PVN_TRACE_LEAVE || r.event == PVN_TRACE_HYPERCALL;
    // It had the CPU before the trace began.
    if (of_guest && !cpu.stay && !cpu.idle && r.domain != no_domain) begin_stay(id, cpu, {r.domain, r.vcpu, r.time});
    switch (r.event) {
    case PVN_TRACE_ENTER:
        end_visit(id, cpu, {});
        cpu.visit = {r.time, entry_name(r.a), fmt::format("\"rip\":\"{:#x}\"", r.b), {}};
        break;
    case PVN_TRACE_LEAVE: end_visit(id, cpu, r.time); break;
    case PVN_TRACE_HYPERCALL: {
        auto const result = fmt::format("\"result\":{}", static_cast<std::int64_t>(r.b));
        if (cpu.visit) {
            cpu.visit->name = call_name(r.a);
            cpu.visit->arguments += "," + result;
            cpu.visit->until = r.time;
        } else {
            instant(cpus_pid, tid, r.time, call_name(r.a), result);
        }
        break;
    }
    case PVN_TRACE_SWITCH:
        end_stay(id, cpu, r.time);
        cpu.idle = r.a == no_domain;
        if (!cpu.idle) begin_stay(id, cpu, {static_cast<std::uint16_t>(r.a), static_cast<std::uint16_t>(r.b), r.time});
        break;
    case PVN_TRACE_WAKE:
        instant(cpus_pid, tid, r.time, "wake " + name(r.a, r.b), fmt::format("\"domain\":{},\"vcpu\":{}", r.a, r.b));
        vcpus_.emplace(static_cast<std::uint16_t>(r.a), static_cast<std::uint16_t>(r.b));
        instant(pid_of(r.a), tid_of(r.b), r.time, fmt::format("woken by CPU {}", id), fmt::format("\"cpu\":{}", id));
        break;
    case PVN_TRACE_FLUSH: instant(cpus_pid, tid, r.time, "flush CPUs " + cpus_text(r.a), fmt::format("\"cpus\":\"{}\"", cpus_text(r.a))); break;
    case PVN_TRACE_MOVE:
        instant(cpus_pid, tid, r.time, name(r.a, r.b) + " comes to this CPU", fmt::format("\"domain\":{},\"vcpu\":{}", r.a, r.b));
        break;
    case PVN_TRACE_WINDOW: instant(cpus_pid, tid, r.time, "interrupts let in", ""); break;
    default: instant(cpus_pid, tid, r.time, fmt::format("event {}", r.event), fmt::format("\"a\":{},\"b\":{}", r.a, r.b)); break;
    }
}

void TraceEvents::finish()
{
    std::uint64_t end = 0;
    for (auto const& [id, cpu] : cpus_) end = std::max(end, cpu.last);
    for (auto& [id, cpu] : cpus_) {
        // Of a visit that goes on nothing more is known than that it began.
        end_visit(id, cpu, {});
        end_stay(id, cpu, end);
    }
    metadata("process_name", cpus_pid, 0, "CPUs");
    for (auto const& [id, cpu] : cpus_) metadata("thread_name", cpus_pid, tid_of(id), fmt::format("CPU {}", id));
    std::set<std::uint16_t> domains;
    for (auto const& [domain, vcpu] : vcpus_) {
        auto const known = names_.find(domain);
        if (domains.insert(domain).second)
            metadata("process_name", pid_of(domain), 0, known != names_.end() ? fmt::format("{} (domain {})", known->second, domain) : fmt::format("domain {}", domain));
        metadata("thread_name", pid_of(domain), tid_of(vcpu), fmt::format("vCPU {}", vcpu));
    }
    write_("\n]}\n");
}

}  // namespace pvn::tools
