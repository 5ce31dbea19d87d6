// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "lib/disks.hpp"
#include "lib/vifs.hpp"

namespace pvn::tools {
namespace {

TEST(Devices, NamesOfDisks)
{
    EXPECT_EQ(disk_name(0), "pvda");
    EXPECT_EQ(disk_name(25), "pvdz");
    EXPECT_EQ(disk_name(26), "pvdaa");
    EXPECT_EQ(disk_name(701), "pvdzz");
    for (unsigned number = 0; number < 702; ++number) EXPECT_EQ(disk_number(disk_name(number)), number);
    EXPECT_EQ(disk_number("3"), 3u);
    for (auto const* const none : {"", "sda", "pvd", "pvdA", "3x", "-1"}) EXPECT_FALSE(disk_number(none)) << none;
}

TEST(Devices, MacsAreUsualAndDiffer)
{
    EXPECT_EQ(usual_mac("web", 0), usual_mac("web", 0));
    EXPECT_NE(usual_mac("web", 0), usual_mac("web", 1));
    EXPECT_NE(usual_mac("web", 0), usual_mac("wec", 0));
    EXPECT_EQ(parse_mac(usual_mac("web", 0)), usual_mac("web", 0));
    EXPECT_TRUE(usual_mac("web", 0).starts_with("02:"));
}

TEST(Devices, AnOfferHoldsWhateverFailedBefore)
{
    for (auto const* const state : {"offered", "ready", "connected"}) EXPECT_EQ(why_not_offered(state, "no memory", "net"), "") << state;
    EXPECT_EQ(why_not_offered("closed", "it is in use", "block"), "it is in use");
    EXPECT_EQ(why_not_offered("new", "no memory", "net"), "no memory");
    EXPECT_EQ(why_not_offered("new", "", "net"), "dom0 has no back end for it that answers; `modprobe pvn-net-back` and `dmesg` say why");
    EXPECT_EQ(why_not_offered("", "", "net"), "its back end has ended it; `dmesg` says why");
}

TEST(Devices, StatesForPeople)
{
    EXPECT_EQ(device_state_text("connected", "connected", ""), "connected");
    EXPECT_EQ(device_state_text("new", "offered", ""), "guest new, dom0 offered");
    EXPECT_EQ(device_state_text("", "closed", ""), "guest gone, dom0 closed");
    EXPECT_EQ(device_state_text("new", "closed", "it is in use"), "it is in use");
}

}  // namespace
}  // namespace pvn::tools
