// SPDX-License-Identifier: MIT
#include "lib/sched_simulate.hpp"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "lib/hypervisor.hpp"

namespace pvn::tools {
namespace {

sched::testing::Report report_of(std::string_view text) { return sched::testing::simulate(sched::testing::parse_workload(text)); }

constexpr std::string_view three_on_two = "cpus 2\nduration 3s\ndomain a busy\ndomain b vcpus 2 busy\ndomain <c> run 1ms sleep 100ms\n";

TEST(SchedSimulate, TableHasALineForEachDomain)
{
    auto const table = simulation_table(report_of(three_on_two));
    EXPECT_TRUE(table.starts_with("2 CPUs under bvt, 3.00 s: 0.0 % idle, ")) << table;
    EXPECT_NE(table.find("\na          1    256   0.66"), std::string::npos) << table;
    EXPECT_NE(table.find("\nb          2    256   1.32"), std::string::npos) << table;
    EXPECT_NE(table.find("\n<c>        1    256   0.0"), std::string::npos) << table;
}

TEST(SchedSimulate, JsonSaysTheSame)
{
    auto const json = nlohmann::json::parse(simulation_json(report_of(three_on_two)));
    EXPECT_EQ(json["policy"], "bvt");
    EXPECT_EQ(json["domains"].size(), 3u);
    EXPECT_NEAR(json["domains"][1]["fair_seconds"].get<double>(), 4, 0.1);
    EXPECT_TRUE(json["domains"][2]["fair_seconds"].is_null());
}

TEST(SchedSimulate, PlotEscapesNamesAndHasNoNan)
{
    for (auto const* text : {three_on_two.data(), "policy rr\nduration 10ms\ndomain a busy\n", "policy null\nduration 1ns\ndomain a busy\n",
                             "duration 1s\ndomain a start 500ms busy\n"}) {
        auto const svg = simulation_svg(report_of(text));
        EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        EXPECT_EQ(svg.find("nan"), std::string::npos) << text;
        EXPECT_EQ(svg.find("<c>"), std::string::npos);
    }
}

TEST(SchedSimulate, CommandWritesThePlotAndNamesMistakes)
{
    auto const folder = ::testing::TempDir();
    auto const workload = folder + "workload", plot = folder + "plot.svg";
    std::ofstream{workload} << "duration 50ms\ndomain a busy\n";
    CLI::App app;
    add_simulation(*app.add_subcommand("sched", ""));
    ::testing::internal::CaptureStdout();
    app.parse("sched simulate --json --svg " + plot + " " + workload);
    auto const printed = ::testing::internal::GetCapturedStdout();
    EXPECT_TRUE(nlohmann::json::accept(printed)) << printed;
    std::ifstream stream{plot};
    EXPECT_TRUE((std::string{std::istreambuf_iterator<char>{stream}, {}}).starts_with("<svg "));

    std::ofstream{workload} << "domain a\n";
    for (auto const& [file, what] : {std::pair{workload, std::string{"workload: line 1: domain `a` has no load"}}, {folder + "none", {"cannot read"}}}) {
        CLI::App again;
        add_simulation(*again.add_subcommand("sched", ""));
        try {
            again.parse("sched simulate " + file);
            ADD_FAILURE() << file;
        } catch (Problem const& problem) {
            EXPECT_NE(std::string{problem.what()}.find(what), std::string::npos) << problem.what();
        }
    }
    std::remove(workload.c_str());
    std::remove(plot.c_str());
}

}  // namespace
}  // namespace pvn::tools
