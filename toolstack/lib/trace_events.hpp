// SPDX-License-Identifier: MIT
// A trace of the hypervisor as a file that Perfetto and chrome://tracing open: the JSON Trace Event Format.  A track for each CPU shows
// which vCPU it has and, within, what it does for it in Paravane; a track for each vCPU shows on which CPU it is.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "paravane/hypercall.h"

namespace pvn::tools {

// A list such as "switch,wake", or "all", as the hypervisor's mask.  Problem: names what is no event.
std::uint64_t parse_trace_events(std::string_view list);

class TraceEvents {
public:
    using Write = std::function<void(std::string_view)>;
    TraceEvents(Write write, std::map<std::uint16_t, std::string> domain_names);
    // Of one CPU, in their order.  What of different CPUs comes first does not matter.
    void add(std::uint32_t cpu, std::span<pvn_trace_record const>);
    // What comes next from this CPU does not follow what came last.
    void lost(std::uint32_t cpu);
    // Ends what still goes on, and the file.
    void finish();

private:
    struct Stay {  // of a vCPU on a CPU
        std::uint16_t domain, vcpu;
        std::uint64_t since;
    };
    struct Visit {  // to Paravane
        std::uint64_t since;
        std::string name, arguments;
        std::optional<std::uint64_t> until;  // if it is known
    };
    struct Cpu {
        std::optional<Stay> stay;
        std::optional<Visit> visit;
        std::uint64_t last = 0;
        bool idle = false;  // it said so
        bool gap = false;
    };
    void add(std::uint32_t id, Cpu&, pvn_trace_record const&);
    void begin_stay(std::uint32_t id, Cpu&, Stay);
    void end_stay(std::uint32_t id, Cpu&, std::uint64_t at);
    void end_visit(std::uint32_t id, Cpu&, std::optional<std::uint64_t> at);
    void slice(std::uint64_t pid, std::uint64_t tid, std::uint64_t from, std::uint64_t to, std::string_view name, std::string_view arguments);
    void instant(std::uint64_t pid, std::uint64_t tid, std::uint64_t at, std::string_view name, std::string_view arguments);
    void metadata(char const* what, std::uint64_t pid, std::uint64_t tid, std::string_view name);
    void event(std::string_view text);
    std::string name(std::uint64_t domain, std::uint64_t vcpu) const;

    Write write_;
    std::map<std::uint16_t, std::string> names_;
    std::map<std::uint32_t, Cpu> cpus_;
    std::set<std::pair<std::uint16_t, std::uint16_t>> vcpus_;
    bool first_ = true;
};

}  // namespace pvn::tools
