// SPDX-License-Identifier: MIT
#include "lib/console.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

namespace pvn::tools {
namespace {

std::unique_ptr<pvn_console_ring> ring() { return std::make_unique<pvn_console_ring>(); }

TEST(ConsoleRing, OutputComesOnceAndInOrder)
{
    auto const r = ring();
    r->out_produced = r->out_consumed = 0xfffffffe;  // indices run free
    for (char const c : std::string_view{"hello"}) r->out[r->out_produced++ % PVN_CONSOLE_OUT_SIZE] = static_cast<std::uint8_t>(c);
    EXPECT_EQ(take_output(*r), "hello");
    EXPECT_EQ(take_output(*r), "");
    EXPECT_EQ(r->out_consumed, r->out_produced);
}

TEST(ConsoleRing, HostileIndicesMeanNothing)
{
    auto const r = ring();
    for (std::uint32_t const distance : {PVN_CONSOLE_OUT_SIZE + 1u, 0x80000000u, 0xffffffffu}) {
        r->out_consumed = 5;
        r->out_produced = 5 + distance;
        EXPECT_EQ(take_output(*r), "");
        EXPECT_EQ(r->out_consumed, r->out_produced);
    }
    r->out_produced = r->out_consumed + PVN_CONSOLE_OUT_SIZE;
    EXPECT_EQ(take_output(*r).size(), PVN_CONSOLE_OUT_SIZE);
}

TEST(ConsoleRing, InputStopsWhenTheRingIsFull)
{
    auto const r = ring();
    std::deque<char> input(PVN_CONSOLE_IN_SIZE + 10, 'x');
    EXPECT_TRUE(give_input(*r, input));
    EXPECT_EQ(input.size(), 10u);
    EXPECT_FALSE(give_input(*r, input));
    r->in_consumed += 4;
    EXPECT_TRUE(give_input(*r, input));
    EXPECT_EQ(input.size(), 6u);
    r->in_consumed = r->in_produced + 1;  // hostile: more consumed than produced
    EXPECT_FALSE(give_input(*r, input));
    EXPECT_EQ(input.size(), 6u);
}

TEST(ConsoleLog, IsBoundedAndMadeByTheFirstOutput)
{
    auto const path = testing::TempDir() + "/pvn_console_test.log";
    std::filesystem::remove(path);
    std::filesystem::remove(path + ".1");
    {
        ConsoleLog log{path, 1000};
        EXPECT_FALSE(std::filesystem::exists(path));
        for (int i = 0; i < 100; ++i) log.append(std::string(99, 'x') + "\n");
    }
    EXPECT_LE(std::filesystem::file_size(path), 1000u);
    EXPECT_LE(std::filesystem::file_size(path + ".1"), 1000u);
    {
        ConsoleLog log{path, 1 << 20};  // a new incarnation goes on where the old one ended
        log.append("again\n");
    }
    std::ostringstream content;
    content << std::ifstream{path}.rdbuf();
    EXPECT_TRUE(content.str().ends_with("x\nagain\n"));
    std::filesystem::remove(path);
    std::filesystem::remove(path + ".1");
}

}  // namespace
}  // namespace pvn::tools
