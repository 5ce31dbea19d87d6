// SPDX-License-Identifier: MIT
#include "lib/trace_events.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <vector>

#include "lib/call_names.hpp"
#include "lib/file.hpp"

namespace pvn::tools {
namespace {

constexpr std::uint64_t idle = 0xffff;

pvn_trace_record record(std::uint64_t time, std::uint32_t event, std::uint64_t a = 0, std::uint64_t b = 0, std::uint16_t domain = 0, std::uint16_t vcpu = 0)
{
    return {time, event, domain, vcpu, a, b};
}

class Trace {
    std::string text_;  // first: the beginning of the file is written at once

public:
    TraceEvents events{[this](std::string_view piece) { text_ += piece; }, {{0, "dom0"}, {1, "w\"b"}}};
    nlohmann::json finish()
    {
        events.finish();
        return nlohmann::json::parse(text_).at("traceEvents");
    }
};

// One line for each event that is no metadata: "ph pid/tid from+duration name", in the order of the file.
std::vector<std::string> lines(nlohmann::json const& events)
{
    std::vector<std::string> all;
    for (auto const& e : events) {
        auto const kind = e.at("ph").get<std::string>();
        if (kind == "M") continue;
        all.push_back(fmt::format("{} {}/{} {}{} {}", kind, e.at("pid").get<int>(), e.at("tid").get<int>(), e.at("ts").get<double>(),
                                  kind == "X" ? fmt::format("+{}", e.at("dur").get<double>()) : "", e.value("name", "")));
    }
    return all;
}

using Lines = std::vector<std::string>;

TEST(TraceEvents, VcpusAndTheirCallsAreNestedSlices)
{
    Trace trace;
    trace.events.add(0, std::vector{
        record(1000, PVN_TRACE_SWITCH, 0, 1),
        record(1500, PVN_TRACE_LEAVE, 0, 0, 0, 1),
        record(2000, PVN_TRACE_ENTER, 256, 0xffffffff81000000, 0, 1),
        record(2250, PVN_TRACE_HYPERCALL, PVN_EVENT_SEND, 0, 0, 1),
        record(2500, PVN_TRACE_LEAVE, 0, 0, 0, 1),
        record(3000, PVN_TRACE_ENTER, 14, 0x401000, 0, 1),
        record(3100, PVN_TRACE_LEAVE, 0, 0, 0, 1),
        record(4000, PVN_TRACE_ENTER, 256, 0x1, 0, 1),
        record(4200, PVN_TRACE_HYPERCALL, PVN_SCHED_BLOCK, 0, 0, 1),
        record(4300, PVN_TRACE_SWITCH, idle, 0, 0, 1),
        record(9001, PVN_TRACE_SWITCH, 1, 0, 0, 1),
        record(9100, PVN_TRACE_LEAVE, 0, 0, 1, 0),
    });
    auto const events = trace.finish();
    EXPECT_EQ(lines(events), (Lines{"B 1/1 1 dom0 v1", "X 1/1 2+0.5 EVENT_SEND", "X 1/1 3+0.1 #PF", "X 1/1 4+0.3 SCHED_BLOCK", "E 1/1 4.3 ", "X 2/2 1+3.3 CPU 0",
                                    "B 1/1 9.001 w\"b v0", "E 1/1 9.1 ", "X 3/1 9.001+0.099 CPU 0"}));
    EXPECT_EQ(events.at(1).at("args").at("rip"), "0xffffffff81000000");
    EXPECT_EQ(events.at(1).at("args").at("result"), 0);
    std::map<std::string, std::string> names;
    for (auto const& e : events)
        if (e.at("ph") == "M") names[fmt::format("{} {}/{}", e.at("name").get<std::string>(), e.at("pid").get<int>(), e.at("tid").get<int>())] = e.at("args").at("name");
    EXPECT_EQ(names, (std::map<std::string, std::string>{{"process_name 1/0", "CPUs"},
                                                         {"thread_name 1/1", "CPU 0"},
                                                         {"process_name 2/0", "dom0 (domain 0)"},
                                                         {"thread_name 2/2", "vCPU 1"},
                                                         {"process_name 3/0", "w\"b (domain 1)"},
                                                         {"thread_name 3/1", "vCPU 0"}}));
}

TEST(TraceEvents, WakesFlushesAndMovesAreInstants)
{
    Trace trace;
    trace.events.add(1, std::vector{record(1000, PVN_TRACE_WAKE, 1, 3), record(2000, PVN_TRACE_FLUSH, 0b1101), record(3000, PVN_TRACE_MOVE, 9, 0),
                                    record(4000, PVN_TRACE_WINDOW), record(5000, PVN_TRACE_EVENTS, 1, 2)});
    auto const events = trace.finish();
    EXPECT_EQ(lines(events), (Lines{"i 1/2 1 wake w\"b v3", "i 3/4 1 woken by CPU 1", "i 1/2 2 flush CPUs 0,2-3", "i 1/2 3 d9 v0 comes to this CPU",
                                    "i 1/2 4 interrupts let in", "i 1/2 5 event " + std::to_string(PVN_TRACE_EVENTS)}));
    EXPECT_EQ(events.at(0).at("s"), "t");
}

TEST(TraceEvents, BeginsAndEndsInTheMiddle)
{
    Trace trace;
    trace.events.add(0, std::vector{record(1000, PVN_TRACE_LEAVE), record(2000, PVN_TRACE_ENTER, 0xf0)});
    trace.events.add(1, std::vector{record(5000, PVN_TRACE_WAKE, 0, 0, 0xffff, 0xffff)});
    EXPECT_EQ(lines(trace.finish()),
              (Lines{"B 1/1 1 dom0 v0", "i 1/2 5 wake dom0 v0", "i 2/1 5 woken by CPU 1", "i 1/1 2 timer", "E 1/1 5 ", "X 2/1 1+4 CPU 0"}));
}

TEST(TraceEvents, AnIdleCpuThatKeepsAVcpusStateDoesNotRunIt)
{
    Trace trace;
    trace.events.add(0, std::vector{record(1000, PVN_TRACE_FLUSH, 2), record(2000, PVN_TRACE_SWITCH, idle), record(3000, PVN_TRACE_WAKE, 0, 0)});
    EXPECT_EQ(lines(trace.finish()), (Lines{"i 1/1 1 flush CPUs 1", "i 1/1 3 wake dom0 v0", "i 2/1 3 woken by CPU 0"}));
}

TEST(TraceEvents, CallsAloneAreInstantsOrEndWhereTheySay)
{
    Trace trace;
    trace.events.add(0, std::vector{record(1000, PVN_TRACE_HYPERCALL, PVN_SYSTEM_VERSION, 1), record(2000, PVN_TRACE_HYPERCALL, 0xfff, static_cast<std::uint64_t>(-PVN_E_NOT_IMPLEMENTED))});
    // Without LEAVE.
    trace.events.add(0, std::vector{record(3000, PVN_TRACE_ENTER, 256), record(3500, PVN_TRACE_HYPERCALL, PVN_MULTI), record(4000, PVN_TRACE_ENTER, 13), record(5000, PVN_TRACE_ENTER, 0x91)});
    auto const events = trace.finish();
    EXPECT_EQ(lines(events), (Lines{"B 1/1 1 dom0 v0", "i 1/1 1 SYSTEM_VERSION", "i 1/1 2 0xfff", "X 1/1 3+0.5 MULTI", "i 1/1 4 #GP", "i 1/1 5 interrupt 0x91", "E 1/1 5 ",
                                    "X 2/1 1+4 CPU 0"}));
    EXPECT_EQ(events.at(2).at("args").at("result"), -PVN_E_NOT_IMPLEMENTED);
}

TEST(TraceEvents, NothingIsCarriedOverWhatWasLost)
{
    Trace trace;
    trace.events.add(0, std::vector{record(1000, PVN_TRACE_SWITCH, 1, 0), record(2000, PVN_TRACE_ENTER, 256)});
    trace.events.lost(0);
    trace.events.add(0, std::vector{record(9000, PVN_TRACE_LEAVE)});
    EXPECT_EQ(lines(trace.finish()), (Lines{"B 1/1 1 w\"b v0", "X 1/1 2+0 hypercall", "E 1/1 2 ", "X 3/1 1+1 CPU 0", "i 1/1 9 records before this were lost",
                                           "B 1/1 9 dom0 v0", "E 1/1 9 ", "X 2/1 9+0 CPU 0"}));
}

TEST(TraceEvents, NothingAtAllIsAFileToo)
{
    Trace trace;
    EXPECT_TRUE(lines(trace.finish()).empty());
}

TEST(TraceEvents, ListOfEvents)
{
    EXPECT_EQ(parse_trace_events("all"), (1u << PVN_TRACE_EVENTS) - 1);
    EXPECT_EQ(parse_trace_events("hypercall"), 1u << PVN_TRACE_HYPERCALL);
    EXPECT_EQ(parse_trace_events("switch,wake,switch"), 1u << PVN_TRACE_SWITCH | 1u << PVN_TRACE_WAKE);
    for (auto const* bad : {"", "x", "wake,", "Wake", "wake,all"}) {
        std::string const what = std::string{bad}.starts_with("wake,") ? std::string{bad}.substr(5) : bad;
        try {
            parse_trace_events(bad);
            ADD_FAILURE() << bad;
        } catch (Problem const& problem) {
            EXPECT_EQ(problem.what(), "`" + what + "` is no event; there are enter, leave, hypercall, switch, wake, flush, move, window, or all");
        }
    }
}

// Reads the ABI's header: a new call must get its name.
TEST(CallNames, EveryHypercallHasItsOwn)
{
    auto const header = std::string{__FILE__}.substr(0, std::string{__FILE__}.rfind("toolstack/")) + "hypercall-abi/include/paravane/hypercall.h";
    std::ifstream file{header};
    std::regex const definition{R"(#define PVN_(\w+)\s+(0x[0-9a-f]{3})\b.*)"};
    int found = 0;
    for (std::string line; std::getline(file, line);) {
        std::smatch match;
        if (!std::regex_match(line, match, definition)) continue;
        EXPECT_EQ(call_name(std::stoull(match[2], nullptr, 16)), match[1]);
        ++found;
    }
    EXPECT_GT(found, 60) << header;
    EXPECT_EQ(call_name(0xfff), "0xfff");
    EXPECT_EQ(entry_name(256), "hypercall");
    EXPECT_EQ(entry_name(9), "interrupt 0x9");
}

}  // namespace
}  // namespace pvn::tools
