// SPDX-License-Identifier: MIT
#include "lib/cpu_list.hpp"

#include <gtest/gtest.h>

#include "lib/file.hpp"

namespace pvn::tools {
namespace {

std::string problem_of(std::string_view text)
{
    try {
        parse_cpus(text);
    } catch (Problem const& problem) {
        return problem.what();
    }
    return "";
}

TEST(CpuList, ReadsNumbersAndRanges)
{
    EXPECT_EQ(parse_cpus("0"), 1u);
    EXPECT_EQ(parse_cpus("63"), 1ull << 63);
    EXPECT_EQ(parse_cpus("0-3,6"), 0x4fu);
    EXPECT_EQ(parse_cpus("6,0-3,2-4"), 0x5fu);
    EXPECT_EQ(parse_cpus("5-5"), 0x20u);
    EXPECT_EQ(parse_cpus("0-63"), all_cpus);
    EXPECT_EQ(parse_cpus("all"), all_cpus);
}

TEST(CpuList, SaysWhatIsWrong)
{
    for (auto const* bad : {"", "x", "-1", "1-", "1-2-3", "1 ", " 1", "+1", "ALL", "0x1", "1.5"})
        EXPECT_EQ(problem_of(bad), "`" + std::string{bad} + "` is neither a CPU nor a range of CPUs; write for example 0-3,6 or all");
    EXPECT_EQ(problem_of("0-3,"), "`` is neither a CPU nor a range of CPUs; write for example 0-3,6 or all");
    EXPECT_EQ(problem_of("0,all"), "`all` is neither a CPU nor a range of CPUs; write for example 0-3,6 or all");
    EXPECT_EQ(problem_of("1,64"), "`64`: CPUs have numbers from 0 to 63");
    EXPECT_EQ(problem_of("0-99999999999999999999"), "`0-99999999999999999999`: CPUs have numbers from 0 to 63");
    EXPECT_EQ(problem_of("0,3-1"), "the range `3-1` ends before it begins; write 1-3");
}

TEST(CpuList, WritesWhatItReads)
{
    EXPECT_EQ(cpus_text(0), "none");
    EXPECT_EQ(cpus_text(0x4f), "0-3,6");
    EXPECT_EQ(cpus_text(all_cpus), "all");
    EXPECT_EQ(cpus_text(all_cpus - 1), "1-63");
    for (auto const mask : {1ull, 0x5ull, 0xf0f0ull, 1ull << 63, 0xaaaaaaaaaaaaaaaaull, ~0ull >> 1}) EXPECT_EQ(parse_cpus(cpus_text(mask)), mask);
}

}  // namespace
}  // namespace pvn::tools
