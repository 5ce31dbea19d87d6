// SPDX-License-Identifier: MIT
// Borrowed Virtual Time with many that wait: who is put back when, and a queue that is brought forward as a whole.
#include "sched/bvt.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "sched/testing/simulator.hpp"

namespace pvn::sched {
namespace {

using namespace testing;

constexpr Nanoseconds allowance = 5 * millisecond;
constexpr Nanoseconds charging_unit = 100 * microsecond;

struct Two {
    Two()
    {
        here.join(pool, 0);
        there.join(pool, 1);
    }
    // `here` runs those that it has, and these want to run on the other.
    void start(std::span<Entity> others)
    {
        (void)here.pick_next(0);
        for (auto& e : others) {
            there.add(e, 0);
            there.wake(e, 0);
        }
    }
    Board board{};
    Pool pool{board};
    Bvt here{}, there{};
};

// Of many who may warp again at one moment each pick puts some back, and asks to be called again at once.
TEST(BvtOrder, puts_back_so_many_at_a_time)
{
    Bvt bvt;
    std::vector<Entity> entities(100);
    for (auto& e : entities) {
        bvt.add(e, 0);
        ASSERT_TRUE(bvt.set_parameters(e, {.warping = Warp::enabled, .warp = 10 * second, .warp_limit = millisecond, .unwarp = second}, 0));
        bvt.wake(e, 0);
    }
    Nanoseconds now = 0;
    auto const warped = [&] { return std::ranges::count_if(entities, [](Entity const& e) { return e.account().warped; }); };
    for (int i = 0; i < 100; ++i) {  // the warp of each in its turn is used up
        auto* const next = bvt.pick_next(now).entity;
        now += millisecond;
        bvt.account(*next, millisecond);
    }
    EXPECT_EQ(warped(), 0);
    now += 2 * second;
    std::ptrdiff_t before = 0;
    for (int picks = 0; picks < 25; ++picks) {
        auto const decision = bvt.pick_next(now);
        EXPECT_GT(decision.until, now);
        EXPECT_GT(warped(), before);
        EXPECT_LE(warped(), before + 5);  // and the running one
        before = warped();
        if (before != 100) EXPECT_EQ(decision.until, now + 1);
    }
    EXPECT_EQ(warped(), 100);
    EXPECT_GT(bvt.pick_next(now).until, now + 1);
}

// When all have yielded all are willing again: none has a second turn before each has had one, not even the one who is least by far.
TEST(BvtOrder, gives_each_a_turn_when_all_yield)
{
    Bvt bvt;
    std::vector<Entity> entities(100);
    for (std::size_t i = 0; i < entities.size(); ++i) {
        bvt.add(entities[i], 0);
        bvt.account(entities[i], i * millisecond);
        bvt.wake(entities[i], 0);
    }
    Nanoseconds now = 0;
    for (std::size_t i = 0; i < 2 * entities.size() - 1; ++i) {
        auto& e = entities[i % entities.size()];
        ASSERT_EQ(bvt.pick_next(now).entity, &e);
        now += microsecond;
        bvt.account(e, microsecond);
        bvt.yield(e, now);
    }
}

// Of many that have yielded each returns when it has let others go first for an allowance, and the queue asks to be called then.
TEST(BvtOrder, lets_each_return_in_time)
{
    Bvt bvt;
    std::vector<Entity> entities(20);
    Entity busy;
    for (auto& e : entities) {
        bvt.add(e, 0);
        bvt.wake(e, 0);
    }
    Nanoseconds now = 0;
    for (auto& e : entities) {  // each in its turn, 200 us apart
        ASSERT_EQ(bvt.pick_next(now).entity, &e);
        now += 200 * microsecond;
        bvt.account(e, 200 * microsecond);
        bvt.yield(e, now);
    }
    bvt.add(busy, now);
    bvt.account(busy, second);
    bvt.wake(busy, now);
    auto decision = bvt.pick_next(now);
    ASSERT_EQ(decision.entity, &busy);
    for (std::size_t i = 0; i < entities.size(); ++i) {
        Nanoseconds const returns = (i + 1) * 200 * microsecond + allowance;
        ASSERT_EQ(decision.until, returns);
        bvt.account(*decision.entity, returns - now);
        now = returns;
        decision = bvt.pick_next(now);
        ASSERT_EQ(decision.entity, &entities[i]);
        bvt.block(entities[i], now);
        decision = bvt.pick_next(now);
        ASSERT_EQ(decision.entity, &busy);
    }
}

// None of those that may run here only pays for what their queue was behind.
TEST(BvtOrder, brings_all_that_are_pinned_forward)
{
    Two cpus;
    auto &here = cpus.here, &there = cpus.there;
    std::vector<Entity> pinned(100), others(3);
    for (auto& e : pinned) {
        here.add(e, 0);
        here.set_affinity(e, {.hard = CpuMask::only(0)});
        here.wake(e, 0);
    }
    cpus.start(others);
    Nanoseconds now = 0;
    for (int i = 0; i < 100; ++i) {  // only the other queue gets on
        auto* const next = there.pick_next(now).entity;
        now += 10 * millisecond;
        there.account(*next, 10 * millisecond);
    }
    (void)there.pick_next(now);
    (void)here.pick_next(0);
    auto const reached = there.virtual_time() - 3 * (allowance + charging_unit) / default_weight;
    for (auto const& e : pinned) EXPECT_GE(after(here.account(e).actual, reached), 0);
    // Their order is the same: all get their turn.
    std::set<Entity*> seen;
    for (int i = 0; i < 300; ++i) {
        auto* const next = here.pick_next(now).entity;
        seen.insert(next);
        now += allowance + charging_unit;
        here.account(*next, allowance + charging_unit);
    }
    EXPECT_EQ(seen.size(), pinned.size());
}

// By how much a queue may be behind goes by the least weight in it, whoever that is: it may just be about to get what it claims.
TEST(BvtOrder, leaves_a_claim_that_is_just_being_met)
{
    for (std::uint32_t const least : {1U, default_weight}) {
        Two cpus;
        auto &here = cpus.here, &there = cpus.there;
        Entity pinned[3], others[3];
        for (auto& e : pinned) {
            here.add(e, 0);
            ASSERT_TRUE(here.set_parameters(e, {.weight = &e == &pinned[1] ? least : default_weight}, 0));
            here.set_affinity(e, {.hard = CpuMask::only(0)});
            here.wake(e, 0);
        }
        cpus.start(others);
        for (auto& e : others) there.account(e, second / 2);  // 2'000'000 of virtual time: more than two allowances of 256, less than those of 1
        (void)there.pick_next(0);
        (void)here.pick_next(0);
        for (auto const& e : pinned) EXPECT_EQ(here.account(e).actual != 0, least == default_weight);
    }
}

class BvtMany : public ::testing::TestWithParam<std::uint64_t> {};

// With many each pick is compared with a look at all of them.
TEST_P(BvtMany, picks_the_least_of_many)
{
    std::mt19937_64 random{GetParam()};
    Bvt bvt{{.first_virtual_time = 0 - std::uint64_t{100'000}}};  // goes round soon
    std::vector<Entity> entities(300);
    Entity* running = nullptr;
    Nanoseconds now = 0;
    auto const effective = [&](Entity const& e) {
        auto const account = bvt.account(e);
        auto const& p = e.parameters();
        bool const warps = account.warped || (p.warping == Warp::enabled && after(account.warp_stopped + p.unwarp, now) <= 0);
        return account.actual - (warps ? p.warp / default_weight : 0);
    };
    auto const parameters = [&] {
        Parameters p{.weight = static_cast<std::uint32_t>(random() % 3 == 0 ? 1 + random() % 65535 : default_weight)};
        if (random() % 2 == 0) p.warping = Warp::enabled, p.warp = random() % (1000 * millisecond);
        if (random() % 2 == 0) p.warp_limit = 1 + random() % millisecond, p.unwarp = random() % (20 * millisecond);
        return p;
    };
    for (auto& e : entities) {
        bvt.add(e, now);
        ASSERT_TRUE(bvt.set_parameters(e, parameters(), now));
    }
    std::uint32_t most = 0;
    for (int step = 0; step < 3000; ++step) {
        Nanoseconds const ran = random() % (2 * millisecond);
        now += ran;
        if (running != nullptr) bvt.account(*running, ran);
        auto& e = entities[random() % entities.size()];
        switch (random() % 8) {
        case 0:
            bvt.block(e, now);
            if (running == &e) running = nullptr;
            break;
        case 1:
            ASSERT_TRUE(bvt.set_parameters(e, parameters(), now));
            break;
        case 2:
            bvt.set_affinity(e, {.hard = random() % 2 == 0 ? CpuMask::only(0) : CpuMask{random() | 1}});
            break;
        default:
            bvt.wake(e, now);
        }
        Entity const* least = nullptr;  // of those that wait
        std::uint32_t runnable = 0;
        for (auto const& other : entities)
            if (other.state() == Entity::State::runnable) {
                ++runnable;
                if (&other != running && (least == nullptr || after(effective(*least), effective(other)) > 0)) least = &other;
            }
        EXPECT_EQ(bvt.runnable(), runnable);
        most = std::max(most, runnable);
        auto* const next = bvt.pick_next(now).entity;
        if (next == nullptr)
            ASSERT_EQ(runnable, 0u);
        else if (next != running)
            ASSERT_EQ(effective(*next), effective(*least));
        else if (least != nullptr)
            ASSERT_LT(after(effective(*running), effective(*least)) * static_cast<std::int64_t>(running->parameters().weight), static_cast<std::int64_t>(allowance));
        running = next;
    }
    EXPECT_GT(most, 200u);
}

// What a queue shows is what a look at all finds, and who wakes starts where the least may be that is borrowed.
TEST_P(BvtMany, knows_what_a_look_at_all_finds)
{
    std::mt19937_64 random{GetParam()};
    Board board;
    Pool pool{board};
    Bvt bvt{{.first_virtual_time = 0 - std::uint64_t{100'000}}}, others[3];
    bvt.join(pool, 0);
    for (Cpu cpu = 1; cpu < 4; ++cpu) others[cpu - 1].join(pool, cpu);
    std::vector<Entity> entities(100);
    Entity* running = nullptr;
    Nanoseconds now = 0;
    for (auto& e : entities) bvt.add(e, now);
    auto const unborrowed = [&](Entity const& e) { return bvt.account(e).actual - (e.parameters().warping == Warp::enabled ? e.parameters().warp / default_weight : 0); };
    auto const bring = [](std::optional<VirtualTime>& least, VirtualTime time) {
        if (!least || after(*least, time) > 0) least = time;
    };
    for (int step = 0; step < 2000; ++step) {
        Nanoseconds const ran = random() % (5 * millisecond);
        now += ran;
        if (running != nullptr) bvt.account(*running, ran);
        running = bvt.pick_next(now).entity;
        auto& e = entities[random() % entities.size()];
        switch (random() % 8) {
        case 0:
            bvt.block(e, now);
            if (running == &e) running = nullptr;
            break;
        case 1:
            ASSERT_TRUE(bvt.set_parameters(e, {.weight = 1 + static_cast<std::uint32_t>(random() % 1000), .warping = random() % 2 == 0 ? Warp::enabled : Warp::disabled,
                                               .warp = random() % second, .warp_limit = random() % 2 * millisecond, .unwarp = random() % second}, now));
            break;
        case 2:
            bvt.set_affinity(e, {.hard = random() % 2 == 0 ? CpuMask::all() : CpuMask{1 | random() % 16}});
            break;
        case 3:
            bvt.yield(e, now);
            break;
        default: {
            if (e.state() != Entity::State::blocked) break;
            std::optional<VirtualTime> start = bvt.virtual_time();
            for (auto const& other : entities)
                if (other.state() == Entity::State::runnable) bring(start, unborrowed(other));
            auto const before = e.account().actual;
            bvt.wake(e, now);
            if (after(*start, before) >= 0) ASSERT_EQ(bvt.account(e).actual, *start);
        }
        }
        bvt.set_affinity(entities[0], {.hard = CpuMask::only(0)});  // shows
        QueueSummary::Reading expected{.members = 100, .time = bvt.virtual_time()};
        std::optional<VirtualTime> contended, waiting, actual;
        for (auto const& other : entities) {
            if (other.state() != Entity::State::runnable) continue;
            ++expected.runnable;
            expected.weight += other.parameters().weight;
            bring(contended, unborrowed(other));
            bring(actual, bvt.account(other).actual);
            auto const elsewhere = other.affinity().hard & CpuMask{14};
            if (&other == running || elsewhere.empty()) continue;
            ++expected.waiting;
            expected.waiting_cpus = expected.waiting_cpus | elsewhere;
            bring(waiting, bvt.account(other).actual - (other.account().warped ? other.parameters().warp / default_weight : 0));
        }
        auto const shown = pool.read(0);
        ASSERT_EQ(shown.runnable, expected.runnable);
        ASSERT_EQ(shown.weight, expected.weight);
        ASSERT_EQ(shown.waiting, expected.waiting);
        ASSERT_EQ(shown.waiting_cpus, expected.waiting_cpus);
        if (contended) ASSERT_EQ(shown.contended_time, *contended);
        if (waiting) ASSERT_EQ(shown.waiting_time, *waiting);
        if (actual) ASSERT_GE(after(*actual, shown.time), 0);
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, BvtMany, ::testing::Range<std::uint64_t>(1, 41));

}  // namespace
}  // namespace pvn::sched
