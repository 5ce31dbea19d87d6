// SPDX-License-Identifier: MIT
#include "lib/domain_config.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/file.hpp"

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
    auto const c = parse_config(
        "name = \"web-1\"\nkernel = \"/k\"\nramdisk = \"/i\"\ncmdline = \"quiet\"\nmemory = \"1G\"\nvcpus = 2\nmax_vcpus = 4\ncpus = \"0-3,6\"\npool = 3\nweight = 512\n"
        "on_poweroff = \"preserve\"\non_reboot = \"destroy\"\non_crash = \"restart\"\n",
        "x.toml");
    EXPECT_EQ(c.name, "web-1");
    EXPECT_EQ(c.kernel, "/k");
    EXPECT_EQ(c.ramdisk, "/i");
    EXPECT_EQ(c.cmdline, "quiet");
    EXPECT_EQ(c.memory, 1u << 30);
    EXPECT_EQ(c.vcpus, 2u);
    EXPECT_EQ(c.max_vcpus, 4u);
    EXPECT_EQ(c.cpus, 0x4fu);
    EXPECT_EQ(c.pool, 3u);
    EXPECT_EQ(c.weight, 512u);
    EXPECT_EQ(c.on_poweroff, OnEnd::preserve);
    EXPECT_EQ(c.on_reboot, OnEnd::destroy);
    EXPECT_EQ(c.on_crash, OnEnd::restart);
    EXPECT_EQ(config_from(to_json(c)), c);
}

TEST(DomainConfig, Defaults)
{
    auto const c = parse_config(good, "x.toml");
    EXPECT_EQ(c.weight, 256u);
    EXPECT_EQ(c.pool, 0u);
    EXPECT_EQ(c.vcpus, 1u);
    EXPECT_EQ(c.max_vcpus, 1u);
    EXPECT_EQ(c.cpus, ~0ull);
    EXPECT_EQ(c.on_poweroff, OnEnd::destroy);
    EXPECT_EQ(c.on_reboot, OnEnd::restart);
    EXPECT_EQ(c.on_crash, OnEnd::preserve);
    EXPECT_TRUE(c.ramdisk.empty());
    EXPECT_EQ(parse_config("name = \"a\"\nkernel = \"/k\"\nmemory = \"64M\"\ninitrd = \"/i\"", "x").ramdisk, "/i");
    EXPECT_EQ(parse_config("name = \"a\"\nkernel = \"/k\"\nmemory = \"64M\"\nvcpus = 3", "x").max_vcpus, 3u);
}

TEST(DomainConfig, SaysWhichKeyAndLine)
{
    EXPECT_EQ(problem_of("name = \"a\"\nmemroy = 3\n"),
              "x.toml:2: unknown key `memroy` (known: name, kernel, ramdisk, cmdline, memory, vcpus, max_vcpus, cpus, pool, weight, disk, vif, on_poweroff, on_reboot, on_crash)");
    EXPECT_EQ(problem_of("name = 3\n"), "x.toml:1: `name` must be a text in quotes");
    EXPECT_EQ(problem_of("\n\nweight = 0\n"), "x.toml:3: `weight` must be a number from 1 to 65535");
    EXPECT_EQ(problem_of("vcpus = 65\n"), "x.toml:1: `vcpus` must be a number from 1 to 64");
    EXPECT_EQ(problem_of("pool = 16\n"), "x.toml:1: `pool` must be a number from 0 to 15");
    EXPECT_EQ(problem_of("cpus = 1\n"), "x.toml:1: `cpus` must be a text in quotes");
    EXPECT_EQ(problem_of("cpus = \"3-1\"\n"), "x.toml:1: `cpus` does not say which CPUs: the range `3-1` ends before it begins; write 1-3");
    EXPECT_EQ(problem_of("vcpus = \"2\"\n"), "x.toml:1: `vcpus` must be a number from 1 to 64");
    EXPECT_EQ(problem_of("name = \"../x\"\n").substr(0, 9), "x.toml:1:");
    for (auto const* bad : {"", "12", "dom0", "a/b", "-a", ".a", "a b", "\u00e9"})
        EXPECT_EQ(problem_of(std::string{"name = \""} + bad + "\"\n").substr(0, 16), "x.toml:1: `name`") << bad;
    EXPECT_EQ(problem_of("name = \"a\"\nmemory = \"64X\"\n"), "x.toml:2: `memory` is no size: `64X`; write a number and K, M or G, such as 128M");
    EXPECT_EQ(problem_of("memory = 64\n"), "x.toml:1: `memory` must be a text in quotes");
    EXPECT_EQ(problem_of("on_crash = \"explode\"\n"), "x.toml:1: `on_crash` must be \"destroy\", \"restart\" or \"preserve\"");
    EXPECT_EQ(problem_of("kernel = \"\"\n"), "x.toml:1: `kernel` is empty: write the path of a file, or leave the key out");
    EXPECT_EQ(problem_of("kernel = \"/k\\u0000x\"\n"), "x.toml:1: `kernel` holds a NUL character");
    EXPECT_EQ(problem_of("name = \"a\nkernel").substr(0, 9), "x.toml:1:");
    EXPECT_EQ(problem_of("name = \"a\"\nname = \"b\"\n").substr(0, 9), "x.toml:2:");
    EXPECT_EQ(problem_of("name = \"a\"\n"), "x.toml: the key `kernel` is missing");
    EXPECT_EQ(problem_of(std::string{good} + "vcpus = 2\nmax_vcpus = 1\n"), "x.toml:5: `max_vcpus` is less than `vcpus`");
    EXPECT_EQ(problem_of(std::string{good} + "cmdline = \"" + std::string(1024, 'x') + "\"\n"), "x.toml:4: `cmdline` is longer than 1023 bytes");
}

TEST(DomainConfig, Durations)
{
    EXPECT_EQ(parse_duration("0"), 0u);
    EXPECT_EQ(parse_duration("5ms"), 5'000'000u);
    EXPECT_EQ(parse_duration("20us"), 20'000u);
    EXPECT_EQ(parse_duration("1s"), 1'000'000'000u);
    for (auto const* bad : {"", "ms", "5", "-1ms", "1.5s", "5 ms", "99999999999999999999s", "9223372036854775807s"}) EXPECT_THROW(parse_duration(bad), Problem) << bad;
    for (auto const ns : {0ull, 5ull, 1500ull, 5'000'000ull, 60'000'000'000ull})
        EXPECT_EQ(ns == 0 ? 0 : parse_duration(duration_text(ns)), ns);
}

TEST(DomainConfig, Sizes)
{
    EXPECT_EQ(parse_size("4K"), 4096u);
    for (auto const* bad : {"", "M", "12", "-1M", "0M", "1.5G", "12MB", " 1M", "99999999999999999999G", "18446744073709551615K"})
        EXPECT_THROW(parse_size(bad), Problem) << bad;
    EXPECT_THROW(parse_config("name=\"a\"\nkernel=\"k\"\nmemory=\"1K\"\n", "x"), Problem);
}

TEST(DomainConfig, Disks)
{
    auto const c = parse_config(std::string{good} + "disk = [\"/a\", { target = \"/b\", read_only = true, sector_size = 4096 }]\n", "x.toml");
    ASSERT_EQ(c.disks.size(), 2u);
    EXPECT_EQ(c.disks.at(0), (DiskConfig{"/a", false, 0, "raw"}));
    EXPECT_EQ(c.disks.at(1), (DiskConfig{"/b", true, 4096, "raw"}));
    EXPECT_EQ(config_from(to_json(c)), c);
    auto const disk = [](char const* text) { return problem_of(std::string{good} + "disk = " + text + "\n"); };
    EXPECT_EQ(disk("\"/a\""), "x.toml:4: `disk` must be a list, such as [\"/srv/web.img\"]");
    EXPECT_EQ(disk("[3]"), "x.toml:4: `disk` must be a text in quotes");
    EXPECT_EQ(disk("[{}]"), "x.toml:4: `disk` needs a `target`: the path of an image or a block device");
    EXPECT_EQ(disk("[{ target = \"/a\", read_only = 1 }]"), "x.toml:4: `read_only` must be true or false");
    EXPECT_EQ(disk("[{ target = \"/a\", sector_size = 1024 }]"), "x.toml:4: `sector_size` must be 512 or 4096");
    EXPECT_EQ(disk("[{ target = \"/a\", mode = \"r\" }]"), "x.toml:4: `mode` is unknown here (known: target, read_only, sector_size, format)");
    EXPECT_EQ(disk("[{ target = \"/a\", format = \"vhd\" }]"), "x.toml:4: `format` must be \"raw\" or \"qcow2\"");
    EXPECT_EQ(disk("[{ target = \"/a\", format = \"qcow2\", sector_size = 512 }]"), "x.toml:4: `disk` has a `sector_size`, which only a raw image can have");
}

TEST(DomainConfig, Cards)
{
    auto const c = parse_config(std::string{good} + "vif = [{}, { bridge = \"br0\", mac = \"02:AB:00:00:00:01\", mtu = 9000, rate = \"16Mb/s\", offload = false }, { address = \"10.1.0.1/24\" }]\n", "x.toml");
    ASSERT_EQ(c.vifs.size(), 3u);
    EXPECT_EQ(c.vifs.at(0), VifConfig{});
    EXPECT_EQ(c.vifs.at(1), (VifConfig{"02:ab:00:00:00:01", "br0", "", 9000, 2'000'000, false}));
    EXPECT_EQ(c.vifs.at(2).address, "10.1.0.1/24");
    EXPECT_EQ(config_from(to_json(c)), c);
    for (auto const* const bad : {"{ mac = \"01:00:00:00:00:01\" }", "{ mac = \"02:00:00:00:00\" }", "{ mac = \"00:00:00:00:00:00\" }", "{ mac = \"02-00-00-00-00-01\" }", "{ mtu = 67 }",
                                  "{ rate = \"fast\" }", "{ rate = \"7b/s\" }", "{ address = \"10.1.0.1\" }", "{ address = \"10.1.0.1/33\" }", "{ address = \"10.1.0/24\" }",
                                  "{ offload = \"no\" }", "{ bridge = \"\" }", "{ ip = \"10.1.0.1/24\" }", "3"})
        EXPECT_NE(problem_of(std::string{good} + "vif = [" + bad + "]\n"), "") << bad;
}

TEST(DomainConfig, Rates)
{
    EXPECT_EQ(parse_rate("100Mb/s"), 12'500'000u);
    EXPECT_EQ(parse_rate("2MB/s"), 2'000'000u);
    EXPECT_EQ(parse_rate("1Gb/s"), 125'000'000u);
    EXPECT_THROW(parse_rate("2M"), Problem);
    EXPECT_THROW(parse_rate("0Mb/s"), Problem);
    EXPECT_THROW(parse_rate("99999999GB/s"), Problem);
}

}  // namespace
}  // namespace pvn::tools
