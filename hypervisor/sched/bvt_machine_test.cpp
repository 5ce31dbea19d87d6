// SPDX-License-Identifier: MIT
// Borrowed Virtual Time on many CPUs: shares over any second, starvation, latency and misuse of warp, moves and affinity.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <random>
#include <vector>

#include "sched/bvt.hpp"
#include "sched/testing/machine.hpp"

namespace pvn::sched {
namespace {

using namespace testing;
using Task = Machine::Task;

constexpr Nanoseconds allowance = 5 * millisecond;
constexpr Nanoseconds charging_unit = 100 * microsecond;
constexpr Nanoseconds slack = 2 * (allowance + charging_unit);  // how far two entities of a contended pool may be apart

struct Queues {
    explicit Queues(Cpu count, Nanoseconds c = allowance)
    {
        for (Cpu cpu = 0; cpu < count; ++cpu)
            all.push_back(&queues.emplace_back(Bvt::Configuration{.allowance = c}));
    }
    std::deque<Bvt> queues{};
    std::vector<Policy*> all{};
};

struct BvtMachine : Queues, Machine {
    explicit BvtMachine(Cpu count, Nanoseconds c = allowance, Nanoseconds start = 0) : Queues{count, c}, Machine{all, start} {}
};

Machine::Plan always(Step step)
{
    return [step](Nanoseconds) { return step; };
}

double seconds(Nanoseconds time) { return static_cast<double>(time) * 1e-9; }

// What each task ran, every 10 ms; and how far from `ideal` any of them was over any second of it.
class Record {
public:
    explicit Record(Machine& machine)
    {
        machine.sample(10 * millisecond, [this, &machine] {
            auto& row = rows_.emplace_back();
            for (auto const& task : machine.tasks())
                row.push_back(seconds(task->ran(machine.now())));
        });
    }
    struct Worst {
        double absolute = 0;  // in CPUs
        double relative = 0;
    };
    Worst worst(std::vector<double> const& ideal, std::size_t from_row = 0) const
    {
        Worst worst;
        for (std::size_t i = from_row; i + 100 < rows_.size(); ++i)
            for (std::size_t task = 0; task < ideal.size(); ++task) {
                double const error = std::abs(rows_[i + 100][task] - rows_[i][task] - ideal[task]);
                worst.absolute = std::max(worst.absolute, error);
                worst.relative = std::max(worst.relative, error / ideal[task]);
            }
        return worst;
    }

private:
    std::vector<std::vector<double>> rows_{};
};

std::vector<double> add_busy(Machine& machine, std::vector<std::uint32_t> const& weights)
{
    for (auto const weight : weights)
        machine.add({.weight = weight});
    return ideal_shares({weights.begin(), weights.end()}, static_cast<double>(machine.cpus()));
}

// --- Shares ---

TEST(BvtMachineShares, ideal_shares_fill_up_like_water)
{
    EXPECT_EQ(ideal_shares({1, 1, 1}, 2), (std::vector<double>{2.0 / 3, 2.0 / 3, 2.0 / 3}));
    EXPECT_EQ(ideal_shares({1, 2, 4}, 2), (std::vector<double>{1.0 / 3, 2.0 / 3, 1}));
    EXPECT_EQ(ideal_shares({1, 2, 4}, 4), (std::vector<double>{1, 1, 1}));
    EXPECT_EQ(ideal_shares({8, 4, 1, 1}, 3), (std::vector<double>{1, 1, 0.5, 0.5}));
}

TEST(BvtMachineShares, three_alike_on_two_cpus_get_two_thirds_each)
{
    BvtMachine machine{2};
    Record const record{machine};
    auto const ideal = add_busy(machine, {256, 256, 256});
    machine.run_for(4 * second);
    EXPECT_LE(record.worst(ideal).relative, 0.01);
    EXPECT_TRUE(machine.progressed());
}

TEST(BvtMachineShares, follow_the_weights_over_any_second)
{
    struct Case {
        Cpu cpus;
        std::vector<std::uint32_t> weights;
    };
    for (auto const& [cpus, weights] : std::vector<Case>{{1, {256, 512}},
                                                         {2, {1, 2, 4}},
                                                         {2, {256, 512, 1024}},
                                                         {3, {256, 512, 1024, 256}},
                                                         {4, {256, 512, 1024, 256, 512, 1024}},
                                                         {4, {100, 200, 300, 400, 500, 600, 700}},
                                                         {2, {10, 1, 1}},
                                                         {3, {2560, 2560, 256, 256, 256}},
                                                         {8, std::vector<std::uint32_t>(9, 256)},
                                                         {16, std::vector<std::uint32_t>(17, 256)},
                                                         {16, std::vector<std::uint32_t>(31, 256)}}) {
        // With the default allowance: 2 % of a CPU.  With one of 1 ms, which is 2 % of a share of 5 % of a CPU: 2 % of the share.
        for (Nanoseconds const c : {allowance, millisecond}) {
            BvtMachine machine{cpus, c};
            Record const record{machine};
            auto const ideal = add_busy(machine, weights);
            machine.run_for(3 * second);
            auto const worst = record.worst(ideal);
            EXPECT_LE(c == allowance ? worst.absolute : worst.relative, 0.02)
                << cpus << " CPUs, " << weights.size() << " tasks, allowance " << c;
        }
    }
}

TEST(BvtMachineShares, of_a_very_light_one_are_exact_to_an_allowance)
{
    BvtMachine machine{2};
    Record const record{machine};
    auto const ideal = add_busy(machine, {256, 256, 256, 1, 1});
    machine.run_for(6 * second);
    EXPECT_LE(record.worst(ideal).absolute, seconds(slack));
    EXPECT_GT(machine.tasks()[3]->ran(machine.now()), 2 * allowance);
}

class BvtMachineRandom : public ::testing::TestWithParam<unsigned> {};

TEST_P(BvtMachineRandom, busy_entities_get_their_shares_over_any_second)
{
    std::mt19937_64 random{GetParam()};
    Cpu const cpus = 1 + GetParam() % 16;
    BvtMachine machine{cpus};
    machine.set_jitter(random() % 2 * 200 * microsecond, GetParam());
    Record const record{machine};
    std::vector<std::uint32_t> weights(cpus + 1 + random() % (2 * cpus));
    for (auto& weight : weights)
        weight = static_cast<std::uint32_t>(64 + random() % 960);
    auto const ideal = add_busy(machine, weights);
    machine.run_for(3 * second);
    EXPECT_LE(record.worst(ideal).absolute, 0.02) << cpus << " CPUs, " << weights.size() << " tasks";
    EXPECT_TRUE(machine.progressed());
    // Moves are not free.
    EXPECT_LE(machine.moves(), 3 * second / allowance * cpus);
}

TEST_P(BvtMachineRandom, no_cpu_idles_while_somebody_waits_and_nobody_starves)
{
    std::mt19937_64 random{GetParam() + 1000};
    auto const between = [&random](std::uint64_t low, std::uint64_t high) { return std::uniform_int_distribution{low, high}(random); };
    Cpu const cpus = 1 + GetParam() % 16;
    BvtMachine machine{cpus, allowance, between(0, UINT64_MAX / 2)};
    machine.set_jitter(between(0, 1) * 200 * microsecond, GetParam());
    std::size_t const count = between(2, 3 * cpus + 2);
    Nanoseconds const most_warp = 50 * millisecond;
    for (std::size_t i = 0; i < count; ++i) {
        Parameters parameters{.weight = static_cast<std::uint32_t>(between(64, 1024))};
        if (between(0, 2) == 0) {
            parameters.warping = Warp::enabled;
            parameters.warp = between(0, most_warp);
            parameters.warp_limit = between(0, 1) * between(1, 20 * millisecond);
            parameters.unwarp = between(0, 50 * millisecond);
        }
        Affinity affinity;
        if (between(0, 2) == 0)
            affinity.hard = CpuMask{random() | std::uint64_t{1} << between(0, cpus - 1)} & CpuMask::first(cpus);
        if (between(0, 2) == 0)
            affinity.soft = CpuMask{random()};
        switch (between(0, 3)) {
        case 0:
            machine.add(parameters, always({}), affinity);
            break;
        case 1:
            machine.add(parameters, [between](Nanoseconds) { return Step{.run = between(1, 3 * millisecond), .sleep = between(1, 20 * millisecond)}; },
                        affinity);
            break;
        case 2:
            machine.add(parameters, [between](Nanoseconds) { return Step{.run = between(20 * microsecond, millisecond), .sleep = 0}; }, affinity);
            break;
        default:
            machine.add(parameters,
                        [between](Nanoseconds) {
                            return Step{.run = between(1, 50 * millisecond), .sleep = between(0, 1) * between(1, 300 * millisecond)};
                        },
                        affinity);
        }
    }
    bool in_place = true;
    Nanoseconds longest_idle = 0;
    std::vector<Nanoseconds> idle_since(cpus, 0);
    machine.inspect = [&](Cpu cpu) {
        if (auto const* const task = machine.running(cpu); task != nullptr)
            in_place = in_place && task->entity.affinity().hard.has(cpu);
    };
    // Every ms: somebody has been waiting who could run on a CPU that has been idle all the while?
    machine.sample(millisecond, [&] {
        for (Cpu cpu = 0; cpu < cpus; ++cpu) {
            bool wanted = false;
            for (auto const& task : machine.tasks())
                wanted = wanted || (!task->sleeping && !task->running && !task->live && task->entity.affinity().hard.has(cpu));
            bool const idle = machine.running(cpu) == nullptr && wanted;
            idle_since[cpu] = idle ? idle_since[cpu] + millisecond : 0;
            longest_idle = std::max(longest_idle, idle_since[cpu]);
        }
    });
    machine.run_for(4 * second);
    EXPECT_TRUE(in_place);
    EXPECT_TRUE(machine.progressed());
    EXPECT_LE(longest_idle, millisecond);
    Nanoseconds const bound = count * 16 * (2 * slack) + count * 4 * 2 * most_warp;
    for (auto const& task : machine.tasks()) {
        EXPECT_GT(task->ran(machine.now()), 0U);
        EXPECT_LE(task->longest_wait, bound);
        if (!task->sleeping && !task->running)
            EXPECT_LE(machine.now() - task->ready_since, bound);
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, BvtMachineRandom, ::testing::Range(0U, 48U));

// --- Differences of virtual time that mean nothing ---

TEST(BvtMachineDrift, one_that_has_a_cpu_for_itself_does_not_save_up)
{
    // The heavy one is worth more than a CPU, so it falls behind the others in virtual time, for as long as it runs.
    for (std::uint32_t const heavy : {1024U, 8192U}) {
        BvtMachine machine{2};
        Record const record{machine};
        add_busy(machine, {heavy, 256, 256});
        machine.add({.weight = heavy}, always({}), {}, 10 * second);
        machine.run_for(13 * second);
        double const worst = record.worst(ideal_shares({double(heavy), 256, 256, double(heavy)}, 2), 1003).absolute;
        EXPECT_LE(worst, 0.03) << heavy;
    }
}

TEST(BvtMachineDrift, running_without_rivals_is_not_held_against_one)
{
    // The light one races ahead in virtual time while there are CPUs enough.
    for (std::uint32_t const light : {128U, 16U}) {
        BvtMachine machine{2};
        Record const record{machine};
        add_busy(machine, {light, 256});
        machine.add({.weight = 256}, always({}), {}, 10 * second);
        machine.run_for(13 * second);
        double const worst = record.worst(ideal_shares({double(light), 256, 256}, 2), 1003).absolute;
        EXPECT_LE(worst, 0.03) << light;
        for (auto const& task : machine.tasks())
            EXPECT_LE(task->longest_wait, 2 * slack * 256 / light);
    }
}

TEST(BvtMachineDrift, pinned_queues_that_part_neither_gain_nor_lose)
{
    BvtMachine machine{2};
    Record const record{machine};
    for (int i = 0; i < 4; ++i)
        machine.add({}, always({}), {.hard = CpuMask::only(0)});
    for (int i = 0; i < 2; ++i)
        machine.add({}, always({}), {.hard = CpuMask::only(1)});
    machine.add({}, always({}), {}, 10 * second);
    machine.run_for(13 * second);
    EXPECT_LE(record.worst({0.25, 0.25, 0.25, 0.25, 1.0 / 3, 1.0 / 3, 1.0 / 3}, 1003).absolute, 0.03);
}

TEST(BvtMachineDrift, sleepers_do_not_disturb_the_shares_of_the_busy)
{
    BvtMachine machine{4};
    for (int i = 0; i < 12; ++i)
        machine.add({}, [i](Nanoseconds) { return Step{.run = millisecond, .sleep = (20 + static_cast<Nanoseconds>(i)) * millisecond}; });
    for (int i = 0; i < 6; ++i)
        machine.add({});
    machine.run_for(5 * second);
    double least = 10, most = 0;
    for (std::size_t i = 12; i < machine.tasks().size(); ++i) {
        double const ran = seconds(machine.tasks()[i]->ran(machine.now()));
        least = std::min(least, ran);
        most = std::max(most, ran);
    }
    EXPECT_LE(most - least, 0.02 * most);
}

TEST(BvtMachineParameters, a_new_weight_takes_effect_within_one_allowance)
{
    BvtMachine machine{2};
    add_busy(machine, {256, 256, 256, 1});
    machine.run_for(3 * second);
    machine.set_parameters(*machine.tasks()[3], {.weight = 256});
    std::vector<double> before;
    for (auto const& task : machine.tasks())
        before.push_back(seconds(task->ran(machine.now())));
    machine.run_for(500 * millisecond);
    for (std::size_t i = 0; i < 4; ++i)
        EXPECT_NEAR(seconds(machine.tasks()[i]->ran(machine.now())) - before[i], 0.25, 2 * seconds(allowance + charging_unit)) << i;
}

// --- Warp ---

TEST(BvtMachineWarp, one_that_wakes_is_run_within_the_allowance)
{
    for (Cpu const cpus : {1U, 2U, 4U, 16U}) {
        BvtMachine machine{cpus};
        for (Cpu i = 0; i < 3 * cpus; ++i)
            machine.add({.weight = 64 + i % 7 * 128});
        auto& warped = machine.add({.warping = Warp::enabled, .warp = 50 * millisecond},
                                   [n = Nanoseconds{0}](Nanoseconds) mutable { return Step{.run = 300 * microsecond, .sleep = (7 + n++ % 11) * millisecond}; });
        machine.run_for(4 * second);
        ASSERT_GE(warped.latencies.size(), 250U);
        EXPECT_LE(std::ranges::max(warped.latencies), allowance + charging_unit) << cpus;
        EXPECT_LE(std::accumulate(warped.latencies.begin(), warped.latencies.end(), Nanoseconds{0}) / warped.latencies.size(), allowance / 5) << cpus;
    }
}

TEST(BvtMachineWarp, misuse_gains_nothing_in_the_long_run)
{
    std::vector<std::pair<char const*, Step>> const habits = {{"never sleeps", {}},
                                                              {"naps", {.run = 9 * millisecond, .sleep = 1}},
                                                              {"naps before the allowance", {.run = 4900 * microsecond, .sleep = 10 * microsecond}},
                                                              {"yields", {.run = 3 * millisecond, .sleep = 0}},
                                                              {"naps below a charging unit", {.run = 90 * microsecond, .sleep = 1}}};
    for (Cpu const cpus : {1U, 2U, 4U}) {
        for (auto const& [name, step] : habits) {
            for (Nanoseconds const limit : {Nanoseconds{0}, 5 * millisecond}) {
                BvtMachine machine{cpus};
                auto& greedy = machine.add({.warping = Warp::enabled, .warp = 100 * millisecond, .warp_limit = limit}, always(step));
                for (Cpu i = 0; i < 2 * cpus; ++i)
                    machine.add({});
                machine.run_for(10 * second);
                double const share = static_cast<double>(cpus) / (2 * cpus + 1);
                EXPECT_LE(seconds(greedy.ran(machine.now())) / 10, share * 1.02 + 0.01) << cpus << " CPUs, " << name << ", limit " << limit;
            }
        }
    }
}

// --- Step by step ---

struct Pair : ::testing::Test {
    Pair()
    {
        here.join(pool, 0);
        there.join(pool, 1);
    }
    Entity& ready(Bvt& queue, std::size_t i)
    {
        queue.add(entities[i], 0);
        queue.wake(entities[i], 0);
        return entities[i];
    }
    Board board{};
    Pool pool{board};
    Bvt here{}, there{};
    Entity entities[6]{};
};
using BvtMove = Pair;

TEST_F(BvtMove, an_idle_cpu_takes_whoever_waits_and_is_the_least)
{
    auto& a = ready(here, 0);
    auto& b = ready(here, 1);
    auto& c = ready(here, 2);
    ASSERT_EQ(here.pick_next(0).entity, &a);
    here.account(a, 10 * millisecond);
    ASSERT_EQ(here.pick_next(10 * millisecond).entity, &b);
    auto const source = balance::wanted(there, 10 * millisecond);
    ASSERT_TRUE(source);
    EXPECT_EQ(source->cpu, 0U);
    EXPECT_EQ(source->wish.kind, Wish::Kind::anything);
    EXPECT_EQ(here.give(1, source->wish, always_may_move, 10 * millisecond), &c);
    EXPECT_EQ(c.state(), Entity::State::detached);
    there.receive(c, 10 * millisecond);
    EXPECT_EQ(c.state(), Entity::State::runnable);
    EXPECT_EQ(there.pick_next(10 * millisecond).entity, &c);
    // One runs on each, and `a` waits, ahead by two allowances: nobody wants it yet.
    EXPECT_FALSE(balance::wanted(there, 10 * millisecond));
    EXPECT_EQ(pool.read(0).waiting, 1U);
    EXPECT_EQ(pool.read(0).members, 2U);
    EXPECT_EQ(pool.read(1).members, 1U);
}

TEST_F(BvtMove, one_that_waits_elsewhere_is_wanted_when_it_would_be_switched_to_here)
{
    auto& a = ready(here, 0);
    ready(here, 1);
    auto& c = ready(there, 2);
    ASSERT_EQ(here.pick_next(0).entity, &a);
    auto const decision = there.pick_next(0);
    ASSERT_EQ(decision.entity, &c);
    EXPECT_EQ(decision.until, allowance + charging_unit);  // charged in whole units
    EXPECT_FALSE(balance::wanted(there, decision.until - 1));
    EXPECT_TRUE(balance::wanted(there, decision.until));
}

// Of many each time the least of all who may go, against soft affinity by an allowance.
TEST(BvtGive, gives_the_least_who_may_go)
{
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        std::mt19937_64 random{seed};
        Board board;
        Pool pool{board};
        Bvt queues[4];
        for (Cpu cpu = 0; cpu < 4; ++cpu) queues[cpu].join(pool, cpu);
        auto& here = queues[0];
        std::vector<Entity> entities(100);
        Nanoseconds now = 0;
        for (auto& e : entities) {
            here.add(e, now);
            Parameters p{.weight = static_cast<std::uint32_t>(100 + random() % 500)};
            if (random() % 4 == 0) p.warping = Warp::enabled, p.warp = random() % second;
            ASSERT_TRUE(here.set_parameters(e, p, now));
            auto const some = [&] { return random() % 2 == 0 ? CpuMask::all() : CpuMask{1 | random() % 16}; };
            here.set_affinity(e, {.hard = some(), .soft = some()});
            here.wake(e, now);
        }
        Entity* running = nullptr;
        for (int i = 0; i < 150; ++i) {  // all with another A
            running = here.pick_next(now).entity;
            Nanoseconds const ran = random() % (10 * millisecond);
            now += ran;
            here.account(*running, ran);
            if (random() % 4 == 0) here.yield(*running, now);
        }
        for (std::size_t given = 0;; ++given) {
            Cpu const to = 1 + static_cast<Cpu>(random() % 3);
            std::optional<VirtualTime> least;
            auto const time_of = [&](Entity const& e) {
                auto const account = here.account(e);
                return account.actual - (account.warped ? e.parameters().warp / default_weight : 0)
                       + (e.affinity().soft.has(to) ? 0 : (allowance + charging_unit) / e.parameters().weight + 1);
            };
            for (auto const& e : entities)
                if (e.state() == Entity::State::runnable && &e != running && e.affinity().hard.has(to) && (!least || after(*least, time_of(e)) > 0)) least = time_of(e);
            if (least) EXPECT_EQ(here.give(to, {.kind = Wish::Kind::earlier, .time = *least - 1}, always_may_move, now), nullptr);
            std::vector<VirtualTime> times;
            for (auto const& e : entities) times.push_back(time_of(e));
            auto const kind = random() % 2 == 0 && least ? Wish{.kind = Wish::Kind::earlier, .time = *least} : Wish{.kind = Wish::Kind::anything};
            auto* const got = here.give(to, kind, always_may_move, now);
            ASSERT_EQ(got != nullptr, least.has_value());
            if (got == nullptr) {
                if (given > 50) break;
                continue;
            }
            EXPECT_EQ(times[static_cast<std::size_t>(got - entities.data())], *least);
        }
    }
}

// However many wait, few are looked at; and a CPU that nobody likes is not idle for that.
TEST(BvtGive, looks_at_few)
{
    Board board;
    Pool pool{board};
    Bvt queues[3];
    for (Cpu cpu = 0; cpu < 3; ++cpu) queues[cpu].join(pool, cpu);
    auto& here = queues[0];
    std::vector<Entity> entities(10'000);
    for (auto& e : entities) {
        here.add(e, 0);
        here.set_affinity(e, {.hard = CpuMask{1 | 4}});
        here.wake(e, 0);
    }
    static int looks;
    auto const counts = [](Entity const&) { return ++looks != 0; };
    Wish const any{.kind = Wish::Kind::anything};
    looks = 0;
    EXPECT_EQ(here.give(1, any, counts, 0), nullptr);
    EXPECT_EQ(looks, 0);
    here.set_affinity(entities[5000], {.hard = CpuMask{1 | 2}});
    EXPECT_EQ(here.give(1, any, counts, 0), &entities[5000]);
    EXPECT_EQ(looks, 1);
    for (auto& e : entities) here.set_affinity(e, {.soft = CpuMask{1 | 4}});
    looks = 0;
    EXPECT_NE(here.give(1, any, counts, 0), nullptr);
    EXPECT_LE(looks, 200);
    looks = 0;
    EXPECT_NE(here.give(2, any, counts, 0), nullptr);
    EXPECT_LE(looks, 20);
    looks = 0;
    EXPECT_EQ(here.give(2, any, [](Entity const&) { return ++looks == 0; }, 0), nullptr);  // one at most may not, in a machine
    EXPECT_LE(looks, 200);
}

TEST_F(BvtMove, nothing_is_taken_that_may_not_be)
{
    auto& a = ready(here, 0);
    auto& b = ready(here, 1);
    ASSERT_EQ(here.pick_next(0).entity, &a);
    Wish const any{.kind = Wish::Kind::anything};
    EXPECT_EQ(here.give(1, {}, always_may_move, 0), nullptr);
    EXPECT_EQ(here.give(1, any, [](Entity const&) { return false; }, 0), nullptr);
    EXPECT_EQ(here.give(2, any, always_may_move, 0), nullptr);  // not of the pool
    EXPECT_EQ(here.give(1, {.kind = Wish::Kind::earlier, .time = UINT64_MAX}, always_may_move, 0), nullptr);
    here.set_affinity(b, {.hard = CpuMask::only(0)});
    EXPECT_EQ(pool.read(0).waiting, 0U);
    EXPECT_FALSE(balance::wanted(there, 0));
    EXPECT_EQ(here.give(1, any, always_may_move, 0), nullptr);
    here.set_affinity(b, {.soft = CpuMask::only(0)});
    EXPECT_EQ(here.give(1, {.kind = Wish::Kind::earlier, .time = 0}, always_may_move, 0), nullptr);  // not for so little
    EXPECT_EQ(here.give(1, any, always_may_move, 0), &b);
}

TEST_F(BvtMove, keeps_the_warp_and_its_limit)
{
    auto& a = ready(here, 0);
    auto& b = ready(here, 1);
    ASSERT_TRUE(here.set_parameters(b, {.warping = Warp::enabled, .warp = 50 * millisecond, .warp_limit = millisecond}, 0));
    ASSERT_EQ(here.pick_next(0).entity, &b);
    here.account(b, 900 * microsecond);
    here.yield(b, 900 * microsecond);
    ASSERT_EQ(here.pick_next(900 * microsecond).entity, &a);
    ASSERT_EQ(here.give(1, {.kind = Wish::Kind::anything}, always_may_move, millisecond), &b);
    there.receive(b, millisecond);
    EXPECT_EQ(b.account().warp_used, 900 * microsecond);
    EXPECT_EQ(there.pick_next(millisecond), (Decision{&b, millisecond + 100 * microsecond}));
}

TEST_F(BvtMove, between_pools_only_the_lead_goes_along)
{
    Pool other{board};
    Bvt far{{.first_virtual_time = 1'000'000'000}};
    far.join(other, 5);
    auto& a = ready(here, 0);
    ready(here, 1);
    ASSERT_EQ(here.pick_next(0).entity, &a);
    here.account(a, 256 * charging_unit);
    here.remove(a, 256 * charging_unit);
    far.add(a, 256 * charging_unit);
    EXPECT_EQ(a.account().actual, 1'000'000'000 + charging_unit);
}

TEST_F(BvtMove, senseless_calls_do_nothing)
{
    auto& a = ready(here, 0);
    there.receive(a, 0);
    EXPECT_EQ(pool.read(1).members, 0U);
    Bvt alone;
    EXPECT_EQ(alone.give(1, {.kind = Wish::Kind::anything}, always_may_move, 0), nullptr);
    EXPECT_FALSE(balance::wanted(alone, 0));
    EXPECT_FALSE(balance::helper(pool, 1));
}

using BvtPlace = Pair;

TEST_F(BvtPlace, prefers_home_then_an_idle_cpu_then_the_lighter_load)
{
    auto& a = ready(here, 0);
    (void)here.pick_next(0);
    Entity& waker = entities[5];
    EXPECT_EQ(balance::place(pool, waker, 1), 1U);  // idle home
    EXPECT_EQ(balance::place(pool, waker, 0), 1U);  // idle neighbour
    ready(there, 1);
    (void)there.pick_next(0);
    EXPECT_EQ(balance::place(pool, waker, 0), 0U);  // nothing to be gained
    ready(here, 2);
    EXPECT_EQ(balance::place(pool, waker, 0), 0U);  // with itself there, the other would be as long
    ready(here, 3);
    EXPECT_EQ(balance::place(pool, waker, 0), 1U);
    (void)a;
}

TEST_F(BvtPlace, whom_the_last_one_wakes_while_it_blocks_finds_the_cpu_idle)
{
    auto& asking = ready(here, 0);
    (void)here.pick_next(0);
    Entity& asked = entities[5];
    EXPECT_EQ(balance::place(pool, asked, 0), 1U);
    here.block(asking, 0);
    EXPECT_EQ(balance::place(pool, asked, 0), 0U);
}

TEST_F(BvtPlace, keeps_to_the_affinity)
{
    ready(here, 0);
    (void)here.pick_next(0);
    Entity& waker = entities[5];
    there.set_affinity(waker, {.hard = CpuMask::only(0)});
    EXPECT_EQ(balance::place(pool, waker, 0), 0U);
    EXPECT_EQ(balance::place(pool, waker, 1), 0U);
    EXPECT_EQ(balance::choose_home(pool, waker.affinity()), 0U);
    there.set_affinity(waker, {.soft = CpuMask::only(0)});
    EXPECT_EQ(balance::place(pool, waker, 0), 1U);  // rather a free CPU than the preferred one
    there.set_affinity(waker, {.hard = CpuMask::only(7)});
    EXPECT_LE(balance::place(pool, waker, 0), 1U);  // nowhere in this pool: somewhere
    EXPECT_EQ(balance::choose_home(pool, {}), 1U);
}

TEST_F(BvtPlace, an_idle_cpu_is_told_of_what_waits)
{
    auto& a = ready(here, 0);
    (void)here.pick_next(0);
    EXPECT_FALSE(balance::helper(pool, 0));
    auto& b = ready(here, 1);
    EXPECT_EQ(balance::helper(pool, 0), 1U);
    here.set_affinity(b, {.hard = CpuMask::only(0)});
    EXPECT_FALSE(balance::helper(pool, 0));
    (void)a;
}

}  // namespace
}  // namespace pvn::sched
