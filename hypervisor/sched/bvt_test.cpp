// SPDX-License-Identifier: MIT
// Borrowed Virtual Time: shares, latency, limits, exactness; each against a simulated CPU or step by step.
#include "sched/bvt.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "sched/testing/simulator.hpp"

namespace pvn::sched {
namespace {

using namespace testing;

constexpr Nanoseconds allowance = 5 * millisecond;
constexpr Nanoseconds charging_unit = 100 * microsecond;

[[maybe_unused]] constinit Bvt boot_queue;  // no global constructor

std::function<Step()> always(Step step)
{
    return [step] { return step; };
}

// Real ns in the books: what account() was told, to the ns (virtual time 0 at the start, weight never changed).
unsigned __int128 booked(Entity const& entity)
{
    BvtAccount const& account = entity.account();
    return static_cast<unsigned __int128>(account.actual) * entity.parameters().weight + account.remainder + account.uncharged;
}

// --- Shares ---

TEST(BvtShares, follow_the_weights_within_two_percent)
{
    std::vector<std::vector<std::uint32_t>> const sets = {
        {256, 256}, {256, 512}, {1, 1}, {1, 3}, {100, 200, 300}, {256, 256, 256, 256}, {1024, 512, 256, 128}, {65535, 65535, 32768}, {7, 11, 13}};
    for (auto const& weights : sets) {
        Bvt bvt{{.allowance = millisecond}};
        Simulator cpu{bvt};
        for (auto const weight : weights)
            cpu.add({.weight = weight});
        cpu.run_for(second);
        double const total = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (std::size_t i = 0; i < weights.size(); ++i) {
            double const fair = static_cast<double>(second) * weights[i] / total;
            EXPECT_NEAR(static_cast<double>(cpu.tasks()[i]->ran), fair, 0.02 * fair) << "weight " << weights[i] << " of " << total;
        }
        EXPECT_TRUE(cpu.agreed() && cpu.progressed());
    }
}

TEST(BvtShares, hold_with_the_default_allowance_and_a_late_timer)
{
    for (auto const& weights : std::vector<std::vector<std::uint32_t>>{{256, 256}, {256, 768}, {300, 200, 100}}) {
        Bvt bvt;
        Simulator cpu{bvt};
        cpu.set_jitter(300 * microsecond, 7);
        for (auto const weight : weights)
            cpu.add({.weight = weight});
        cpu.run_for(second);
        double const total = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (std::size_t i = 0; i < weights.size(); ++i) {
            double const fair = static_cast<double>(second) * weights[i] / total;
            EXPECT_NEAR(static_cast<double>(cpu.tasks()[i]->ran), fair, 0.02 * fair + static_cast<double>(allowance));
        }
    }
}

TEST(BvtShares, the_allowance_bounds_the_number_of_switches)
{
    Bvt bvt;
    Simulator cpu{bvt};
    cpu.add({});
    cpu.add({});
    cpu.run_for(second);
    EXPECT_LE(cpu.switches(), second / allowance + 2);
    EXPECT_GE(cpu.switches(), second / allowance / 2 - 2);
}

TEST(BvtShares, a_lone_entity_has_no_deadline)
{
    Bvt bvt;
    Entity lone;
    EXPECT_EQ(bvt.pick_next(0), Decision{});
    EXPECT_FALSE(bvt.must_switch(0));
    bvt.add(lone, 0);
    EXPECT_EQ(bvt.pick_next(0), Decision{});
    bvt.wake(lone, 0);
    EXPECT_TRUE(bvt.must_switch(0));
    EXPECT_EQ(bvt.pick_next(0), (Decision{&lone, no_deadline}));
    EXPECT_FALSE(bvt.must_switch(second));
}

TEST(BvtShares, a_slice_ends_exactly_when_the_allowance_is_used_up)
{
    for (std::uint32_t const weight : {1U, 3U, 256U, 1000U, 65535U}) {
        Bvt bvt;
        Entity a, b;
        bvt.add(a, 0);
        bvt.add(b, 0);
        ASSERT_TRUE(bvt.set_parameters(a, {.weight = weight}, 0));
        bvt.wake(a, 0);
        bvt.wake(b, 0);
        Decision const first = bvt.pick_next(0);
        ASSERT_EQ(first.entity, &a);
        EXPECT_GE(first.until, allowance);
        EXPECT_LE(first.until, allowance + std::max<Nanoseconds>(weight, 1) + charging_unit);
        EXPECT_FALSE(bvt.must_switch(first.until - 1)) << weight;
        EXPECT_TRUE(bvt.must_switch(first.until)) << weight;
        bvt.account(a, first.until);
        EXPECT_EQ(bvt.pick_next(first.until).entity, &b);
    }
}

TEST(BvtShares, a_waker_ends_the_slice_exactly_when_the_allowance_is_used_up)
{
    for (std::uint32_t const weight : {1U, 3U, 256U, 1000U, 65535U})
        for (Nanoseconds const when : {Nanoseconds{0}, charging_unit / 3, 7 * millisecond + 1}) {
            Bvt bvt;
            Entity a, b, c;
            for (auto* const entity : {&a, &b, &c})
                bvt.add(*entity, 0);
            ASSERT_TRUE(bvt.set_parameters(a, {.weight = weight}, 0));
            bvt.wake(a, 0);
            EXPECT_EQ(bvt.may_go_on(a, 0), 0U);  // nobody runs
            ASSERT_EQ(bvt.pick_next(0), (Decision{&a, no_deadline}));
            bvt.account(a, when);
            bvt.wake(b, when);
            Nanoseconds const end = when + bvt.may_go_on(b, when);
            EXPECT_FALSE(bvt.must_switch(when));
            EXPECT_FALSE(bvt.must_switch(end - 1)) << weight;
            EXPECT_TRUE(bvt.must_switch(end)) << weight;
            EXPECT_EQ(bvt.pick_next(when), (Decision{&a, end}));
            // At the end it has no time left beside a third one either.
            bvt.account(a, end - when);
            bvt.wake(c, end);
            EXPECT_EQ(bvt.may_go_on(c, end), 0U);
            EXPECT_NE(bvt.pick_next(end).entity, &a);
        }
}

TEST(BvtWarp, a_waker_that_is_ahead_by_the_allowance_is_chosen_at_once)
{
    Bvt bvt;
    Entity a, b;
    bvt.add(a, 0);
    bvt.add(b, 0);
    ASSERT_TRUE(bvt.set_parameters(b, {.warping = Warp::enabled, .warp = second}, 0));
    bvt.wake(a, 0);
    ASSERT_EQ(bvt.pick_next(0).entity, &a);
    bvt.wake(b, 0);
    EXPECT_EQ(bvt.may_go_on(b, 0), 0U);
    EXPECT_EQ(bvt.pick_next(0).entity, &b);
}

TEST(BvtYield, one_that_has_yielded_does_not_go_on_beside_a_waker)
{
    Bvt bvt;
    Entity a, b;
    bvt.add(a, 0);
    bvt.add(b, 0);
    bvt.wake(a, 0);
    ASSERT_EQ(bvt.pick_next(0).entity, &a);
    bvt.yield(a, 0);
    bvt.wake(b, 0);
    EXPECT_EQ(bvt.may_go_on(b, 0), 0U);
    EXPECT_EQ(bvt.pick_next(0).entity, &b);
}

// --- Sleep and waking ---

TEST(BvtSleep, earns_no_credit)
{
    Bvt bvt;
    Simulator cpu{bvt};
    bool slept = false;
    Task& busy = cpu.add({});
    Task& sleeper = cpu.add({}, [&slept] {
        Step const step = slept ? Step{} : Step{.run = millisecond, .sleep = 10 * second};
        slept = true;
        return step;
    });
    cpu.run_for(10 * second);
    Nanoseconds const before = busy.ran;
    cpu.run_for(100 * millisecond);  // awake within it
    Nanoseconds const sleeper_before = sleeper.ran;
    Nanoseconds const middle = busy.ran;
    cpu.run_for(second);
    EXPECT_LT(before, middle);
    EXPECT_NEAR(static_cast<double>(sleeper.ran - sleeper_before), 0.5e9, 10e6);
    EXPECT_GE(busy.longest_wait, 1U);
    EXPECT_LE(busy.longest_wait, 2 * allowance + charging_unit);
}

TEST(BvtSleep, a_waker_does_not_gain_from_time_that_is_not_accounted_yet)
{
    Bvt bvt;
    Entity a, b;
    bvt.add(a, 0);
    bvt.add(b, 0);
    bvt.wake(a, 0);
    ASSERT_EQ(bvt.pick_next(0).entity, &a);
    bvt.wake(b, 10 * second);
    EXPECT_EQ(b.account().actual, 10 * second / default_weight);
    EXPECT_FALSE(bvt.must_switch(10 * second));
}

TEST(BvtSleep, keeps_a_debt)
{
    Bvt bvt;
    Entity a, b;
    for (Entity* entity : {&a, &b}) {
        bvt.add(*entity, 0);
        bvt.wake(*entity, 0);
    }
    ASSERT_EQ(bvt.pick_next(0).entity, &a);
    bvt.account(a, 4 * millisecond);
    VirtualTime const debt = a.account().actual;
    bvt.block(a, 4 * millisecond);
    bvt.wake(a, 5 * millisecond);
    EXPECT_EQ(a.account().actual, debt);
    EXPECT_EQ(bvt.virtual_time(), 0U);
}

// --- Warp ---

TEST(BvtWarp, bounds_the_latency_of_a_waking_entity)
{
    for (std::size_t const busy : {1U, 4U, 16U}) {
        Bvt bvt;
        Simulator cpu{bvt};
        for (std::size_t i = 0; i < busy; ++i)
            cpu.add({});
        Task& warped = cpu.add({.warping = Warp::enabled, .warp = 50 * millisecond}, always({.run = 200 * microsecond, .sleep = 10 * millisecond}));
        Task& plain = cpu.add({}, always({.run = 200 * microsecond, .sleep = 10 * millisecond}));
        cpu.run_for(2 * second);
        EXPECT_LE(warped.longest_wait, 200 * microsecond) << busy;  // the other short one's burst
        EXPECT_GT(warped.picked, 190U);
        EXPECT_GE(plain.longest_wait, warped.longest_wait);
    }
}

TEST(BvtWarp, gains_nothing_in_the_long_run)
{
    Bvt bvt;
    Simulator cpu{bvt};
    Nanoseconds const warp = 100 * millisecond;
    Task& greedy = cpu.add({.warping = Warp::enabled, .warp = warp});
    Task& honest = cpu.add({});
    cpu.run_for(50 * millisecond);
    EXPECT_EQ(greedy.ran, 50 * millisecond);  // borrowed ...
    cpu.run_for(10 * second);
    EXPECT_LE(greedy.ran, honest.ran + warp + 2 * allowance);  // ... never more than W
    EXPECT_GE(greedy.ran + 2 * allowance, honest.ran);
    EXPECT_LE(honest.longest_wait, warp + 2 * allowance);
}

TEST(BvtWarp, repeated_sleep_gains_no_share)
{
    Bvt bvt;
    Simulator cpu{bvt};
    Task& greedy = cpu.add({.warping = Warp::enabled, .warp = 100 * millisecond}, always({.run = 9 * millisecond, .sleep = 1}));
    Task& honest = cpu.add({});
    cpu.run_for(20 * second);
    EXPECT_NEAR(static_cast<double>(greedy.ran), 10e9, 0.02 * 10e9);
    EXPECT_NEAR(static_cast<double>(honest.ran), 10e9, 0.02 * 10e9);
}

TEST(BvtWarp, the_limit_is_exact)
{
    Bvt bvt;
    Simulator cpu{bvt};
    Task& warped = cpu.add({.warping = Warp::enabled, .warp = second, .warp_limit = 7'654'321, .unwarp = 100 * millisecond});
    Task& other = cpu.add({});
    (void)other;
    std::vector<Nanoseconds> changes;
    bool was = false;
    cpu.inspect = [&] {
        if (warped.entity.account().warped != was)
            changes.push_back(cpu.now());
        was = warped.entity.account().warped;
    };
    cpu.run_for(second);
    ASSERT_GE(changes.size(), 5U);
    EXPECT_EQ(changes[0], 0U);
    for (std::size_t i = 1; i < changes.size(); ++i)
        EXPECT_EQ(changes[i] - changes[i - 1], i % 2 == 1 ? 7'654'321U : 100 * millisecond) << i;
}

TEST(BvtWarp, a_limit_that_is_noticed_late_began_when_it_was_reached)
{
    Bvt bvt;
    Entity entity;
    bvt.add(entity, 0);
    ASSERT_TRUE(bvt.set_parameters(entity, {.warping = Warp::enabled, .warp = second, .warp_limit = 1'000, .unwarp = 10'000}, 0));
    bvt.wake(entity, 0);
    EXPECT_EQ(bvt.pick_next(0), (Decision{&entity, 1'000}));
    bvt.account(entity, 4'000);
    EXPECT_FALSE(entity.account().warped);
    EXPECT_EQ(entity.account().warp_stopped, 1'000U);
    EXPECT_EQ(bvt.pick_next(4'000).until, 11'000U);
    bvt.account(entity, 7'000);
    EXPECT_EQ(bvt.pick_next(11'000).until, 12'000U);
    EXPECT_TRUE(entity.account().warped);
}

TEST(BvtWarp, a_short_sleep_does_not_reset_the_limit_but_a_long_one_does)
{
    Bvt bvt;
    Entity entity;
    bvt.add(entity, 0);
    ASSERT_TRUE(bvt.set_parameters(entity, {.warping = Warp::enabled, .warp = second, .warp_limit = 1'000, .unwarp = 10'000}, 0));
    bvt.wake(entity, 0);
    (void)bvt.pick_next(0);
    bvt.account(entity, 900);
    bvt.block(entity, 900);
    bvt.wake(entity, 10'899);
    EXPECT_EQ(bvt.pick_next(10'899).until, 10'999U);
    bvt.account(entity, 50);
    bvt.block(entity, 10'949);
    bvt.wake(entity, 20'949);
    EXPECT_EQ(bvt.pick_next(20'949).until, 21'949U);
}

TEST(BvtWarp, others_parameters_leave_the_limit_alone)
{
    Bvt bvt;
    Entity entity;
    Parameters parameters{.warping = Warp::enabled, .warp = second, .warp_limit = 1'000, .unwarp = 10'000};
    bvt.add(entity, 0);
    ASSERT_TRUE(bvt.set_parameters(entity, parameters, 0));
    bvt.wake(entity, 0);
    (void)bvt.pick_next(0);
    bvt.account(entity, 900);
    parameters.weight = 512;
    ASSERT_TRUE(bvt.set_parameters(entity, parameters, 900));
    EXPECT_EQ(bvt.pick_next(900).until, 1'000U);
    parameters.warp_limit = 500;  // already past it
    ASSERT_TRUE(bvt.set_parameters(entity, parameters, 900));
    EXPECT_FALSE(entity.account().warped);
    parameters.warping = Warp::disabled;
    ASSERT_TRUE(bvt.set_parameters(entity, parameters, 950));
    EXPECT_EQ(bvt.pick_next(950).until, no_deadline);
}

// --- Exactness ---

TEST(BvtExactness, no_drift_over_a_million_slices)
{
    Bvt bvt;
    Entity a, b;
    std::mt19937_64 random{42};
    for (Entity* entity : {&a, &b}) {
        bvt.add(*entity, 0);
        ASSERT_TRUE(bvt.set_parameters(*entity, {.weight = entity == &a ? 333U : 65521U}, 0));
        bvt.wake(*entity, 0);
    }
    Nanoseconds now = 0;
    Nanoseconds ran[2] = {};
    for (int i = 0; i < 1'000'000; ++i) {
        Entity& running = *bvt.pick_next(now).entity;
        Nanoseconds const slice = random() % 200'000;
        bvt.account(running, slice);
        ran[&running == &a ? 0 : 1] += slice;
        now += slice;
    }
    EXPECT_TRUE(booked(a) == ran[0]);
    EXPECT_TRUE(booked(b) == ran[1]);
    EXPECT_NEAR(static_cast<double>(ran[0]) / 333, static_cast<double>(ran[1]) / 65521, static_cast<double>(allowance) / 333 + 1000);
}

TEST(BvtExactness, everything_survives_wrapping_clocks)
{
    auto const run = [](VirtualTime virtual_start, Nanoseconds start) {
        Bvt bvt{{.first_virtual_time = virtual_start}};
        Simulator cpu{bvt, start};
        cpu.add({.weight = 300});
        cpu.add({.weight = 100});
        cpu.add({.warping = Warp::enabled, .warp = 20 * millisecond, .warp_limit = 3 * millisecond, .unwarp = 50 * millisecond},
                always({.run = millisecond, .sleep = 7 * millisecond}));
        cpu.run_for(second);
        std::vector<Nanoseconds> result;
        for (auto const& task : cpu.tasks())
            result.push_back(task->ran);
        return result;
    };
    auto const expected = run(0, second);
    EXPECT_EQ(run(UINT64_MAX - 100'000, second), expected);        // virtual time wraps, early
    EXPECT_EQ(run((std::uint64_t{1} << 63) - 100'000, second), expected);
    EXPECT_EQ(run(0, UINT64_MAX - 2 * second), expected);          // real time near its end
}

TEST(BvtExactness, an_extreme_configuration_is_harmless)
{
    Bvt bvt{{.allowance = UINT64_MAX, .charging_unit = 0}};
    Entity a, b;
    for (Entity* entity : {&a, &b}) {
        bvt.add(*entity, 0);
        ASSERT_TRUE(bvt.set_parameters(*entity, {.weight = 65535, .warping = Warp::enabled, .warp = maximum_warp, .warp_limit = UINT64_MAX, .unwarp = UINT64_MAX}, 0));
        bvt.wake(*entity, 0);
    }
    EXPECT_EQ(bvt.pick_next(UINT64_MAX - 1).entity, &a);
    bvt.account(a, 1);
    EXPECT_FALSE(bvt.must_switch(UINT64_MAX));
}

TEST(BvtExactness, no_allowance_still_makes_progress)
{
    Bvt bvt{{.allowance = 0}};
    Simulator cpu{bvt};
    Task& a = cpu.add({});
    Task& b = cpu.add({.weight = 512});
    cpu.run_for(300 * millisecond);
    EXPECT_TRUE(cpu.progressed() && cpu.agreed());
    EXPECT_NEAR(static_cast<double>(a.ran), 100e6, 1e6);
    EXPECT_NEAR(static_cast<double>(b.ran), 200e6, 1e6);
    EXPECT_LT(cpu.decisions(), 300 * millisecond / charging_unit + 10);
}

// --- Yield ---

TEST(BvtYield, lets_another_go_first_and_keeps_the_share)
{
    Bvt bvt;
    Simulator cpu{bvt};
    Task& yielder = cpu.add({}, always({.run = millisecond, .sleep = 0}));
    Task& other = cpu.add({});
    cpu.run_for(2 * second);
    EXPECT_LE(yielder.ran, other.ran);
    EXPECT_GE(yielder.picked, 100U);

    Bvt direct;
    Entity a, b;
    for (Entity* entity : {&a, &b}) {
        direct.add(*entity, 0);
        direct.wake(*entity, 0);
    }
    ASSERT_EQ(direct.pick_next(0).entity, &a);
    direct.yield(a, 0);
    VirtualTime const before = a.account().actual;
    EXPECT_TRUE(direct.must_switch(0));
    Decision const next = direct.pick_next(0);
    EXPECT_EQ(next.entity, &b);
    EXPECT_EQ(next.until, allowance);
    EXPECT_EQ(a.account().actual, before);
    EXPECT_FALSE(direct.must_switch(allowance - 1));
    EXPECT_TRUE(direct.must_switch(allowance + charging_unit));
}

TEST(BvtYield, one_that_waits_its_turn_afterwards_gets_back_what_it_let_go)
{
    Bvt bvt;
    Simulator cpu{bvt};
    int yields = 100;
    Task& yielder = cpu.add({}, [&yields] { return yields-- > 0 ? Step{.run = millisecond, .sleep = 0} : Step{}; });
    Task& other = cpu.add({});
    cpu.run_for(5 * second);
    EXPECT_NEAR(static_cast<double>(yielder.ran), static_cast<double>(other.ran), 2.0 * static_cast<double>(allowance));
}

TEST(BvtYield, everybody_yields_and_everybody_runs)
{
    Bvt bvt;
    Simulator cpu{bvt};
    for (int i = 0; i < 4; ++i)
        cpu.add({}, always({.run = 50 * microsecond, .sleep = 0}));
    cpu.run_for(second);
    for (auto const& task : cpu.tasks()) {
        EXPECT_NEAR(static_cast<double>(task->ran), 0.25e9, 0.02 * 0.25e9);
        EXPECT_LE(task->longest_wait, 4 * allowance);
    }
    EXPECT_TRUE(cpu.agreed() && cpu.progressed());
}

TEST(BvtYield, alone_changes_nothing)
{
    Bvt bvt;
    Entity a;
    bvt.add(a, 0);
    bvt.wake(a, 0);
    (void)bvt.pick_next(0);
    bvt.yield(a, 0);
    EXPECT_FALSE(bvt.must_switch(0));
    EXPECT_EQ(bvt.pick_next(0).entity, &a);
}

// --- Life of an entity ---

TEST(BvtLife, remove_while_running)
{
    Bvt bvt;
    Simulator cpu{bvt};
    cpu.add({});
    cpu.add({});
    cpu.run_for(7 * millisecond);
    cpu.remove(*cpu.running());
    cpu.run_for(second);
    ASSERT_EQ(cpu.tasks().size(), 1U);
    EXPECT_GE(cpu.tasks()[0]->ran, second);
    cpu.remove(*cpu.running());
    EXPECT_EQ(bvt.pick_next(cpu.now()), Decision{});
}

TEST(BvtLife, a_move_to_another_cpu_neither_forgives_nor_punishes)
{
    Bvt here;
    Bvt there{{.first_virtual_time = 1'000'000'000}};
    Entity a, b;
    for (Entity* entity : {&a, &b}) {
        here.add(*entity, 0);
        here.wake(*entity, 0);
    }
    ASSERT_EQ(here.pick_next(0).entity, &a);
    here.account(a, 256 * charging_unit);
    here.remove(a, 256 * charging_unit);
    there.add(a, 256 * charging_unit);
    there.wake(a, 256 * charging_unit);
    EXPECT_EQ(a.account().actual, 1'000'000'000 + charging_unit);
}

TEST(BvtLife, senseless_calls_do_nothing)
{
    Bvt bvt;
    Entity a;
    bvt.wake(a, 0);
    bvt.block(a, 0);
    bvt.yield(a, 0);
    bvt.account(a, second);
    bvt.remove(a, 0);
    EXPECT_EQ(bvt.set_parameters(a, {}, 0), Result<void>{Fail{Error::not_found}});
    EXPECT_EQ(a.state(), Entity::State::detached);
    EXPECT_EQ(a.account().actual, 0U);
    bvt.add(a, 0);
    bvt.add(a, 0);
    bvt.block(a, 0);
    bvt.wake(a, 0);
    bvt.wake(a, 0);
    EXPECT_EQ(bvt.pick_next(0).entity, &a);
    bvt.block(a, 0);
    bvt.block(a, 0);
    EXPECT_EQ(bvt.pick_next(0), Decision{});
}

TEST(BvtParameters, are_checked)
{
    Bvt bvt;
    Entity a;
    bvt.add(a, 0);
    Result<void> const invalid{Fail{Error::invalid}};
    EXPECT_EQ(bvt.set_parameters(a, {.weight = 0}, 0), invalid);
    EXPECT_EQ(bvt.set_parameters(a, {.weight = 65536}, 0), invalid);
    EXPECT_EQ(bvt.set_parameters(a, {.warp = maximum_warp + 1}, 0), invalid);
    EXPECT_EQ(a.parameters(), Parameters{});
    EXPECT_TRUE(bvt.set_parameters(a, {.weight = 65535}, 0));
    EXPECT_TRUE(bvt.set_parameters(a, {.weight = 1}, 0));

    pvn_sched_parameters request{.weight = 9, .flags = PVN_SCHED_WARP, .warp = 1, .warp_limit = 2, .unwarp = 3};
    EXPECT_EQ(parameters_from(request), (Parameters{.weight = 9, .warping = Warp::enabled, .warp = 1, .warp_limit = 2, .unwarp = 3}));
    request.flags = 2;
    EXPECT_EQ(parameters_from(request).error(), Error::invalid);
    request.flags = 0;
    request.weight = 0;
    EXPECT_EQ(parameters_from(request).error(), Error::invalid);
}

TEST(BvtParameters, a_new_weight_takes_effect_at_once)
{
    Bvt bvt{{.allowance = millisecond}};
    Simulator cpu{bvt};
    Task& a = cpu.add({});
    Task& b = cpu.add({});
    cpu.run_for(second);
    cpu.set_parameters(a, {.weight = 768});
    Nanoseconds const before_a = a.ran;
    Nanoseconds const before_b = b.ran;
    cpu.run_for(second);
    EXPECT_NEAR(static_cast<double>(a.ran - before_a), 0.75e9, 0.02 * 0.75e9);
    EXPECT_NEAR(static_cast<double>(b.ran - before_b), 0.25e9, 0.02 * 0.25e9);
}

TEST(BvtParameters, time_before_a_new_weight_is_charged_at_the_old_one)
{
    Bvt bvt;
    Entity a;
    bvt.add(a, 0);
    bvt.wake(a, 0);
    (void)bvt.pick_next(0);
    bvt.account(a, 256 * 100 + 128);  // less than a charging unit: nothing charged yet
    EXPECT_EQ(a.account().actual, 0U);
    ASSERT_TRUE(bvt.set_parameters(a, {.weight = 512}, 256 * 100 + 128));
    EXPECT_EQ(a.account().actual, 100U);
    EXPECT_EQ(a.account().remainder, 256U);  // half a unit
    EXPECT_EQ(a.account().uncharged, 0U);
}

// --- Properties of random workloads ---

class BvtRandom : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(BvtRandom, nobody_starves_and_nothing_is_lost)
{
    std::mt19937_64 random{GetParam()};
    auto const between = [&random](std::uint64_t low, std::uint64_t high) { return std::uniform_int_distribution{low, high}(random); };
    Bvt bvt{{.allowance = between(0, 10) * millisecond, .charging_unit = between(1, 200'000)}};
    Simulator cpu{bvt, between(0, UINT64_MAX / 2)};
    cpu.set_jitter(between(0, 1) * 200 * microsecond, GetParam());
    std::size_t const count = between(2, 12);
    Nanoseconds const most_warp = 100 * millisecond;
    for (std::size_t i = 0; i < count; ++i) {
        Parameters parameters{.weight = static_cast<std::uint32_t>(between(64, 1024))};
        if (between(0, 2) == 0) {
            parameters.warping = Warp::enabled;
            parameters.warp = between(0, most_warp);
            parameters.warp_limit = between(0, 1) * between(1, 20 * millisecond);
            parameters.unwarp = between(0, 50 * millisecond);
        }
        switch (between(0, 3)) {
        case 0:
            cpu.add(parameters);
            break;
        case 1:
            cpu.add(parameters, [between] { return Step{.run = between(1, 3 * millisecond), .sleep = between(1, 20 * millisecond)}; });
            break;
        case 2:
            cpu.add(parameters, [between] { return Step{.run = between(1, millisecond), .sleep = 0}; });
            break;
        default:
            cpu.add(parameters, [between] { return Step{.run = between(1, 50 * millisecond), .sleep = between(0, 1) * between(1, 300 * millisecond)}; });
        }
    }
    VirtualTime last = bvt.virtual_time();
    bool monotonic = true;
    bool never_behind = true;
    cpu.inspect = [&] {
        monotonic = monotonic && after(bvt.virtual_time(), last) >= 0;
        last = bvt.virtual_time();
        for (auto const& task : cpu.tasks())
            if (task->entity.state() == Entity::State::runnable)
                never_behind = never_behind && after(bvt.account(task->entity).actual, last) >= 0;
    };
    cpu.run_for(5 * second);
    EXPECT_TRUE(monotonic);
    EXPECT_TRUE(never_behind);
    EXPECT_TRUE(cpu.agreed());
    EXPECT_TRUE(cpu.progressed());
    // Each of the others can be ahead by its warp and an allowance, in its own weight (at most 16 times ours).
    Nanoseconds const bound = count * 16 * (4 * 10 * millisecond + millisecond) + count * 4 * 2 * most_warp;
    for (auto const& task : cpu.tasks()) {
        EXPECT_GT(task->ran, 0U);
        EXPECT_LE(task->longest_wait, bound);
        if (task.get() != cpu.running() && task->entity.state() == Entity::State::runnable)
            EXPECT_LE(cpu.now() - task->ready_since, bound);
    }
}

TEST_P(BvtRandom, busy_entities_stay_together_in_virtual_time)
{
    std::mt19937_64 random{GetParam()};
    Bvt bvt;
    Simulator cpu{bvt};
    std::size_t const count = 2 + random() % 8;
    for (std::size_t i = 0; i < count; ++i)
        cpu.add({.weight = static_cast<std::uint32_t>(1 + random() % 65535)});
    bool together = true;
    cpu.inspect = [&] {
        for (auto const& task : cpu.tasks()) {
            Entity const& entity = task->entity;
            auto const ahead = static_cast<VirtualTime>(after(bvt.account(entity).actual, bvt.virtual_time()));
            together = together && ahead <= (allowance + charging_unit) / entity.parameters().weight + 2;
        }
    };
    cpu.run_for(2 * second);
    EXPECT_TRUE(together);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BvtRandom, ::testing::Range<std::uint64_t>(1, 41));

}  // namespace
}  // namespace pvn::sched
