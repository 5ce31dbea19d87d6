// SPDX-License-Identifier: MIT
#include "lib/process.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "lib/domain_config.hpp"
#include "lib/registry.hpp"

namespace pvn::tools {
namespace {

TEST(Process, IsToldFromAnotherWithItsNumber)
{
    auto const self = process_of(getpid());
    EXPECT_NE(self.started, 0u);
    EXPECT_TRUE(alive(self));
    EXPECT_FALSE(alive({self.id, self.started + 1}));
    EXPECT_FALSE(alive({}));
    EXPECT_EQ(process_of(0x7ffffff0).started, 0u);
}

TEST(Process, EndsWhatDoesNotListenAndNothingElse)
{
    auto const child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
    }
    auto const process = process_of(child);
    end_process({child, process.started + 1});
    EXPECT_TRUE(alive(process));
    end_process(process);
    EXPECT_FALSE(alive(process));
    reap(child);
    EXPECT_FALSE(alive(process));
    end_process(process);
}

TEST(Record, SurvivesItsFile)
{
    Record record;
    record.id = 7;
    record.uuid = "u";
    record.building = true;
    record.keeper = {12, 34};
    record.console_frame = 56;
    record.console_port = 78;
    record.config = parse_config("name=\"a\"\nkernel=\"/k\"\nmemory=\"64M\"\ncmdline=\"x=\\u00e9 \\\"q\\\"\"\non_crash=\"restart\"\nvcpus=3\n", "x");
    auto const back = Registry::parse(Registry::text(record));
    EXPECT_EQ(back.id, record.id);
    EXPECT_EQ(back.uuid, record.uuid);
    EXPECT_EQ(back.building, record.building);
    EXPECT_EQ(back.keeper, record.keeper);
    EXPECT_EQ(back.console_frame, record.console_frame);
    EXPECT_EQ(back.console_port, record.console_port);
    EXPECT_EQ(back.config, record.config);
    for (auto const* bad : {"", "{", "{}", "[]", "{\"id\": 70000}", "{\"id\": \"x\"}"}) EXPECT_ANY_THROW(Registry::parse(bad)) << bad;
}

}  // namespace
}  // namespace pvn::tools
