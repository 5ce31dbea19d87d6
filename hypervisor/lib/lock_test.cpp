// SPDX-License-Identifier: MIT
#include "lib/lock.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>
#include <vector>

namespace pvn {

std::uint32_t& held_ranks()
{
    static thread_local std::uint32_t held = 0;
    return held;
}
void lock_order_violated(Rank) { std::abort(); }
void waiting_long() {}

namespace {

TEST(SpinLock, OneAtATime)
{
    Locked<std::uint64_t> count{Rank::console};
    constexpr std::uint64_t turns = 500;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 2; ++i)
            threads.emplace_back([&] {
                for (std::uint64_t turn = 0; turn < turns; ++turn) {
                    auto const access = count.lock();
                    *access.operator->() += 1;
                    if (turn % 64 == 0) std::this_thread::yield();
                }
            });
    }
    EXPECT_EQ(*count.lock().operator->(), 2 * turns);
    auto const statistics = count.spin_lock().statistics();
    EXPECT_EQ(statistics.taken, 2 * turns + 1);
    EXPECT_LE(statistics.waited, statistics.taken);
    EXPECT_LE(statistics.waited, statistics.rounds);
    EXPECT_EQ(held_ranks(), 0u);
}

TEST(SpinLock, RanksRise)
{
    SpinLock domains{Rank::domains}, tables{Rank::page_tables}, first{Rank::ports}, second{Rank::ports};
    {
        Guard const a{domains};
        Guard const b{tables};
        first.lock();
        second.lock_as_second();
        second.unlock();
        first.unlock();
    }
    EXPECT_EQ(held_ranks(), 0u);
    EXPECT_DEATH({ Guard const b{tables}; Guard const a{domains}; }, "");
    EXPECT_DEATH({ Guard const a{first}; Guard const b{second}; }, "");
}

}  // namespace
}  // namespace pvn
