// SPDX-License-Identifier: MIT
// The text of a workload, its mistakes, and what a report of one must say.
#include "sched/testing/workload.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace pvn::sched::testing {
namespace {

std::string mistake_in(std::string_view text)
{
    try {
        (void)parse_workload(text);
    } catch (WorkloadError const& error) {
        return error.what();
    }
    return "";
}

TEST(WorkloadText, says_everything_that_can_be_said)
{
    auto const workload = parse_workload(R"(
# everything
cpus 8
policy rr
allowance 1ms
slice 3ms
duration 20s
jitter 50us
seed 7
domain a weight 512 vcpus 3 warp 20ms limit 2ms unwarp 10ms cpus 0-2,5 prefers 1 start 1s stop 9s run 300us..2ms sleep 0..9700us  # a comment
domain b busy
domain c run 1ms yield
at 2s b weight 8
at 4s b weight 9
)");
    EXPECT_EQ(workload.policy, Kind::round_robin);
    EXPECT_EQ(workload.cpus, 8U);
    EXPECT_EQ(workload.options.allowance, 1'000'000U);
    EXPECT_EQ(workload.options.slice, 3'000'000U);
    EXPECT_EQ(workload.duration, 20'000'000'000U);
    EXPECT_EQ(workload.jitter, 50'000U);
    EXPECT_EQ(workload.seed, 7U);
    ASSERT_EQ(workload.domains.size(), 3U);
    auto const& a = workload.domains[0];
    EXPECT_EQ(a.parameters, (Parameters{.weight = 512, .warping = Warp::enabled, .warp = 20'000'000, .warp_limit = 2'000'000, .unwarp = 10'000'000}));
    EXPECT_EQ(a.vcpus, 3U);
    EXPECT_EQ(a.affinity, (Affinity{.hard = CpuMask{0b100111}, .soft = CpuMask{0b10}}));
    EXPECT_EQ(a.starts, 1'000'000'000U);
    EXPECT_EQ(a.stops, 9'000'000'000U);
    EXPECT_FALSE(a.busy);
    EXPECT_EQ(a.run.low, 300'000U);
    EXPECT_EQ(a.run.high, 2'000'000U);
    EXPECT_EQ(a.sleep.low, 0U);
    EXPECT_EQ(a.sleep.high, 9'700'000U);
    EXPECT_TRUE(workload.domains[1].busy);
    EXPECT_EQ(workload.domains[2].sleep.high, 0U);
    ASSERT_EQ(workload.changes.size(), 2U);
    EXPECT_EQ(workload.changes[0].weight, 8U);
    EXPECT_EQ(workload.changes[1].domain, 1U);
}

TEST(WorkloadText, names_the_line_and_the_mistake)
{
    EXPECT_EQ(mistake_in("domain a busy"), "");
    EXPECT_EQ(mistake_in(""), "no domain: the least is a line such as `domain one busy`");
    EXPECT_EQ(mistake_in("cpus 2\ncpus 65"), "line 2: `65` is not a number from 1 to 64");
    EXPECT_EQ(mistake_in("cpus"), "line 1: something is missing after `cpus`");
    EXPECT_EQ(mistake_in("cpus 1 2"), "line 1: `2` is one word too many");
    EXPECT_EQ(mistake_in("policy credit"), "line 1: there is no policy `credit`; there are bvt, rr and null");
    for (auto const* text : {"5", "ms", "5 ms", "5m", "-5ms", "5.5ms", "3601s", "99999999999999999999s"})
        EXPECT_NE(mistake_in(std::string{"domain a busy\nslice "} + text), "") << text;
    EXPECT_EQ(mistake_in("domain a"), "line 1: domain `a` has no load: busy, run TIME sleep TIME, or run TIME yield");
    EXPECT_EQ(mistake_in("domain a busy\ndomain a busy"), "line 2: there are two domains `a`");
    EXPECT_NE(mistake_in("domain a weight 0 busy"), "");
    EXPECT_NE(mistake_in("domain a weight 65536 busy"), "");
    EXPECT_NE(mistake_in("domain a run 2ms..1ms sleep 1ms"), "");
    EXPECT_NE(mistake_in("domain a run 1ns sleep 1ms"), "");
    EXPECT_NE(mistake_in("domain a run 1ms rest 1ms"), "");
    EXPECT_NE(mistake_in("domain a start 2s stop 1s busy"), "");
    EXPECT_NE(mistake_in("domain a cpus 3-1 busy"), "");
    EXPECT_NE(mistake_in("domain a cpus 0, busy"), "");
    EXPECT_EQ(mistake_in("cpus 2\ndomain a cpus 2-3 busy"), "domain `a` may run on none of the 2 CPUs");
    EXPECT_EQ(mistake_in("at 1s a weight 5"), "line 1: no domain `a` has been named before");
    EXPECT_NE(mistake_in("domain a busy\nat 1s a warp 5ms"), "");
    EXPECT_NE(mistake_in("domain a busy\nduration 0"), "");
}

TEST(WorkloadReport, shares_latency_and_samples)
{
    auto const report = simulate(parse_workload(R"(
cpus 4
duration 6s
domain web weight 512 vcpus 2 busy
domain batch vcpus 4 busy
domain audio warp 20ms limit 2ms unwarp 5ms run 300us sleep 9700us
domain late start 2s stop 4s busy
at 3s batch weight 128
)"));
    ASSERT_EQ(report.domains.size(), 4U);
    EXPECT_NEAR(report.idle, 0, 1e-9);
    double total = 0;
    for (auto const& domain : report.domains) {
        total += domain.cpu_seconds;
        EXPECT_EQ(domain.used.size(), 600U);
        EXPECT_EQ(domain.virtual_time.size(), 600U);
        EXPECT_EQ(domain.latency.size(), 600U);
        EXPECT_NEAR(domain.used.back(), domain.cpu_seconds, 1e-9);
    }
    EXPECT_NEAR(total, 24, 1e-6);
    for (std::size_t i : {0U, 1U, 3U}) {
        auto const& domain = report.domains[i];
        ASSERT_TRUE(domain.fair_seconds && domain.worst_second) << domain.name;
        EXPECT_NEAR(domain.cpu_seconds, *domain.fair_seconds, 0.02 * domain.vcpus) << domain.name;
        EXPECT_LE(*domain.worst_second, 0.02 * domain.vcpus) << domain.name;
    }
    auto const& audio = report.domains[2];
    EXPECT_FALSE(audio.fair_seconds);
    EXPECT_NEAR(audio.cpu_seconds, 0.18, 0.01);
    EXPECT_GE(audio.wakes, 590U);
    EXPECT_LE(audio.latency_most, 5'100'000U);
    EXPECT_LE(audio.latency_median, audio.latency_99);
    EXPECT_EQ(report.domains[1].weight, 128U);
    EXPECT_TRUE(std::isnan(report.domains[3].virtual_time[100]));
    EXPECT_FALSE(std::isnan(report.domains[3].virtual_time[300]));
}

TEST(WorkloadReport, is_the_same_every_time)
{
    auto const workload = parse_workload("cpus 3\njitter 100us\nduration 1s\ndomain a vcpus 3 run 1ms..9ms sleep 0..5ms\ndomain b vcpus 3 busy\n");
    auto const first = simulate(workload);
    auto const second = simulate(workload);
    EXPECT_EQ(first.domains[0].used, second.domains[0].used);
    EXPECT_EQ(first.switches, second.switches);
}

TEST(WorkloadReport, of_the_other_policies)
{
    auto const turn = simulate(parse_workload("policy rr\nduration 2s\ndomain a weight 900 busy\ndomain b busy\n"));
    EXPECT_NEAR(turn.domains[0].cpu_seconds, 1, 0.02);
    EXPECT_FALSE(turn.domains[0].fair_seconds);
    auto const none = simulate(parse_workload("policy null\ncpus 2\nduration 2s\ndomain a busy\ndomain b run 1ms sleep 1ms\n"));
    EXPECT_NEAR(none.idle, 0.25, 0.01);
    EXPECT_EQ(none.domains[1].latency_most, 0U);
}

}  // namespace
}  // namespace pvn::sched::testing
