// SPDX-License-Identifier: MIT
#include "lib/domain_config.hpp"

#include <gtest/gtest.h>

#include "lib/hypervisor.hpp"

namespace pvn::tools {
namespace {

std::string problem_of(std::string_view text)
{
    try {
        parse_config(text, "x.toml");
    } catch (Problem const& problem) {
        return problem.what();
    }
    return "";
}

constexpr std::string_view good = "name = \"a\"\nkernel = \"/k\"\nmemory = \"64M\"\n";

TEST(DomainConfig, ReadsEveryKey)
{
    auto const c = parse_config("name = \"web-1\"\nkernel = \"/k\"\ninitrd = \"/i\"\ncmdline = \"quiet\"\nmemory = \"1G\"\nweight = 512\non_crash = \"destroy\"\n", "x.toml");
    EXPECT_EQ(c.name, "web-1");
    EXPECT_EQ(c.kernel, "/k");
    EXPECT_EQ(c.initrd, "/i");
    EXPECT_EQ(c.cmdline, "quiet");
    EXPECT_EQ(c.memory, 1u << 30);
    EXPECT_EQ(c.weight, 512u);
    EXPECT_EQ(c.on_crash, OnCrash::destroy);
}

TEST(DomainConfig, Defaults)
{
    auto const c = parse_config(good, "x.toml");
    EXPECT_EQ(c.weight, 256u);
    EXPECT_EQ(c.on_crash, OnCrash::preserve);
    EXPECT_TRUE(c.initrd.empty());
}

TEST(DomainConfig, SaysWhichKeyAndLine)
{
    EXPECT_EQ(problem_of("name = \"a\"\nmemroy = 3\n"),
              "x.toml:2: unknown key `memroy` (known: name, kernel, initrd, cmdline, memory, weight, on_crash)");
    EXPECT_EQ(problem_of("name = 3\n"), "x.toml:1: `name` must be a text in quotes");
    EXPECT_EQ(problem_of("\n\nweight = 0\n"), "x.toml:3: `weight` must be a number from 1 to 65535");
    EXPECT_EQ(problem_of("name = \"../x\"\n").substr(0, 9), "x.toml:1:");
    EXPECT_EQ(problem_of("name = \"a\"\nmemory = \"64X\"\n"),
              "x.toml:2: `memory`: `64X` is not a size: write a number and K, M or G, such as 128M");
    EXPECT_EQ(problem_of("name = \"a\nkernel"), problem_of("name = \"a\nkernel"));
    EXPECT_EQ(problem_of("name = \"a\nkernel").substr(0, 9), "x.toml:1:");
    EXPECT_EQ(problem_of("name = \"a\"\n"), "x.toml: the key `kernel` is missing");
}

TEST(DomainConfig, Sizes)
{
    EXPECT_EQ(parse_size("4K"), 4096u);
    for (auto const* bad : {"", "M", "12", "-1M", "0M", "1.5G", "12MB", " 1M", "99999999999999999999G", "18446744073709551615K"})
        EXPECT_THROW(parse_size(bad), Problem) << bad;
    EXPECT_THROW(parse_config("name=\"a\"\nkernel=\"k\"\nmemory=\"1K\"\n", "x"), Problem);
}

}  // namespace
}  // namespace pvn::tools
