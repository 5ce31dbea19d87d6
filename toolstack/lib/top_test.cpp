// SPDX-License-Identifier: MIT
#include "lib/top.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pvn::tools {
namespace {

constexpr std::uint64_t ms = 1'000'000;

pvn_vcpu_info vcpu(std::uint32_t number, std::uint64_t running, std::uint64_t runnable, std::uint64_t calls)
{
    pvn_vcpu_info info{};
    info.vcpu = number;
    info.cpu = number;
    info.state = PVN_RUNSTATE_BLOCKED;
    info.time[PVN_RUNSTATE_RUNNING] = running;
    info.time[PVN_RUNSTATE_RUNNABLE] = runnable;
    info.hypercalls = calls;
    info.traps = calls * 2;
    info.emulated = calls * 3;
    info.interrupts = calls * 4;
    return info;
}

Sample::Domain domain(std::uint16_t id, std::uint8_t uuid, std::string name, std::vector<pvn_vcpu_info> vcpus)
{
    Sample::Domain d{{}, std::move(name), std::move(vcpus)};
    d.info.id = id;
    d.info.uuid[0] = uuid;
    return d;
}

pvn_cpu_info cpu(std::uint32_t number, std::uint64_t idle, std::uint64_t switches)
{
    pvn_cpu_info info{};
    info.cpu = number;
    info.flags = PVN_CPU_ONLINE;
    info.idle_time = idle;
    info.switches = switches;
    info.runnable = 2;
    return info;
}

Sample sample(std::uint64_t time)
{
    Sample s;
    s.system.uptime = time;
    return s;
}

TEST(Top, SharesAndRatesAreOfTheTimeBetween)
{
    auto before = sample(1000 * ms), now = sample(1500 * ms);
    before.cpus = {cpu(0, 100 * ms, 10), cpu(1, 900 * ms, 0)};
    now.cpus = {cpu(0, 225 * ms, 60), cpu(1, 1400 * ms, 0)};
    before.domains = {domain(0, 1, "dom0", {vcpu(0, 50 * ms, 0, 100), vcpu(1, 0, 0, 0)}), domain(1, 2, "web", {vcpu(0, 0, 10 * ms, 0)})};
    now.domains = {domain(0, 1, "dom0", {vcpu(0, 100 * ms, 25 * ms, 150), vcpu(1, 50 * ms, 0, 10)}), domain(1, 2, "web", {vcpu(0, 250 * ms, 260 * ms, 0)})};
    auto const a = activity(before, now);
    EXPECT_DOUBLE_EQ(a.seconds, 0.5);
    ASSERT_EQ(a.cpus.size(), 2u);
    EXPECT_DOUBLE_EQ(a.cpus[0].busy, 0.75);
    EXPECT_DOUBLE_EQ(a.cpus[0].switches, 100);
    EXPECT_DOUBLE_EQ(a.cpus[1].busy, 0);
    ASSERT_EQ(a.domains.size(), 2u);
    EXPECT_EQ(a.domains[0].name, "web");  // the busiest first
    EXPECT_DOUBLE_EQ(a.domains[0].load.cpu, 0.5);
    EXPECT_DOUBLE_EQ(a.domains[0].load.steal, 0.5);
    auto const& dom0 = a.domains[1];
    EXPECT_DOUBLE_EQ(dom0.vcpus[0].load.cpu, 0.1);
    EXPECT_DOUBLE_EQ(dom0.vcpus[0].load.steal, 0.05);
    EXPECT_DOUBLE_EQ(dom0.vcpus[0].load.hypercalls, 100);
    EXPECT_DOUBLE_EQ(dom0.vcpus[0].load.traps, 200);
    EXPECT_DOUBLE_EQ(dom0.vcpus[0].load.emulated, 300);
    EXPECT_DOUBLE_EQ(dom0.vcpus[0].load.interrupts, 400);
    EXPECT_DOUBLE_EQ(dom0.load.cpu, 0.2);
    EXPECT_DOUBLE_EQ(dom0.load.hypercalls, 120);
}

TEST(Top, ADomainThatIsNewBeganAtZero)
{
    auto before = sample(0), now = sample(1000 * ms);
    before.domains = {domain(1, 7, "old", {vcpu(0, 900 * ms, 0, 9000)})};
    now.domains = {domain(1, 8, "new", {vcpu(0, 100 * ms, 0, 50)})};  // the id is used again
    auto const a = activity(before, now);
    ASSERT_EQ(a.domains.size(), 1u);
    EXPECT_DOUBLE_EQ(a.domains[0].load.cpu, 0.1);
    EXPECT_DOUBLE_EQ(a.domains[0].load.hypercalls, 50);
}

TEST(Top, NothingGoesBelowZeroOrAboveOne)
{
    auto before = sample(1000 * ms), now = sample(1100 * ms);
    before.cpus = {cpu(0, 100 * ms, 10), cpu(1, 0, 0)};
    now.cpus = {cpu(0, 99 * ms, 9), cpu(1, 150 * ms, 0)};
    before.domains = {domain(0, 1, "dom0", {vcpu(0, 50 * ms, 3, 100)})};
    now.domains = {domain(0, 1, "dom0", {vcpu(0, 151 * ms, 2, 99)})};
    auto const a = activity(before, now);
    EXPECT_DOUBLE_EQ(a.cpus[0].busy, 1);
    EXPECT_DOUBLE_EQ(a.cpus[0].switches, 0);
    EXPECT_DOUBLE_EQ(a.cpus[1].busy, 0);
    EXPECT_DOUBLE_EQ(a.domains[0].load.cpu, 1);
    EXPECT_DOUBLE_EQ(a.domains[0].load.steal, 0);
    EXPECT_DOUBLE_EQ(a.domains[0].load.hypercalls, 0);
    // No time has passed.
    auto const none = activity(now, now);
    EXPECT_DOUBLE_EQ(none.cpus[0].busy, 0);
    EXPECT_DOUBLE_EQ(none.domains[0].load.hypercalls, 0);
    EXPECT_TRUE(activity({}, {}).domains.empty());
}

TEST(Top, TableHasALineForEachCpuDomainAndVcpu)
{
    auto now = sample(1000 * ms);
    now.cpus = {cpu(0, 500 * ms, 0), cpu(1, 1000 * ms, 0)};
    now.cpus[0].flags |= PVN_CPU_BUSY;
    now.cpus[0].vcpu = 1;
    now.cpus[1].flags = 0;
    now.domains = {domain(0, 1, "dom0", {vcpu(0, 0, 0, 0), vcpu(1, 500 * ms, 0, 7)}), domain(4, 2, "a-name-that-is-much-too-long", {vcpu(0, 0, 0, 0)})};
    std::string text;
    std::string kinds;
    for (auto const& line : top_lines(activity(sample(0), now))) {
        EXPECT_LE(line.text.size(), 90u) << line.text;
        text += line.text + "\n";
        kinds += "shcdv"[static_cast<int>(line.kind)];
    }
    EXPECT_EQ(kinds, "sshcchdvvd");
    EXPECT_NE(text.find("2 CPUs, 2 domains, 3 vCPUs"), std::string::npos) << text;
    EXPECT_NE(text.find("\n   0 [##########..........]   50.0     2     0        0        0  dom0 v1\n"), std::string::npos) << text;
    EXPECT_NE(text.find("offline\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\na-name-that-is-mu    4 "), std::string::npos) << text;
    EXPECT_NE(text.find("\n  v1                   blocked    1   50.0    0.0        7       14       21       28\n"), std::string::npos) << text;
}

TEST(Top, JsonSaysTheSame)
{
    auto now = sample(1000 * ms);
    now.cpus = {cpu(0, 750 * ms, 5)};
    now.domains = {domain(3, 1, "web", {vcpu(0, 250 * ms, 125 * ms, 8)})};
    auto const json = json_of(activity(sample(0), now));
    EXPECT_EQ(json.at("seconds"), 1.0);
    EXPECT_EQ(json.at("cpus").at(0).at("busy_share"), 0.25);
    EXPECT_EQ(json.at("cpus").at(0).at("runnable"), 2);
    EXPECT_EQ(json.at("domains").at(0).at("name"), "web");
    EXPECT_EQ(json.at("domains").at(0).at("steal_share"), 0.125);
    EXPECT_EQ(json.at("domains").at(0).at("vcpus").at(0).at("hypercalls_per_s"), 8.0);
    EXPECT_EQ(json.at("domains").at(0).at("vcpus").at(0).at("state"), "blocked");
}

}  // namespace
}  // namespace pvn::tools
