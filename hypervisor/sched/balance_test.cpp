// SPDX-License-Identifier: MIT
// The protocol of balance.hpp with real threads and locks: summaries go stale at any moment, and nothing may be lost or doubled.
#include "sched/balance.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "sched/policy_slot.hpp"

namespace pvn::sched {
namespace {

struct Vcpu {
    Entity entity{};                   // guarded by the lock of the queue of `home`; detached: by whoever moves it
    std::atomic<Cpu> home{0};          // changes under the lock of the queue that it leaves
    std::atomic<bool> live{false};     // written by the CPU that it is live on, under that queue's lock
    std::atomic<bool> wanted{false};   // its own state, written under `state`
    std::mutex state{};
    std::atomic<std::uint64_t> picked{0};
};

Vcpu& vcpu_of(Entity& entity) { return reinterpret_cast<Vcpu&>(entity); }
bool may_move(Entity const& entity) { return !reinterpret_cast<Vcpu const&>(entity).live.load(); }

Nanoseconds clock_now()
{
    return static_cast<Nanoseconds>(std::chrono::steady_clock::now().time_since_epoch().count());
}

class Threads {
public:
    Threads(Kind kind, Cpu cpus, std::size_t vcpus, std::uint64_t seed) : seed_{seed}, queues_(cpus), vcpus_(vcpus)
    {
        for (Cpu cpu = 0; cpu < cpus; ++cpu)
            queues_[cpu].slot.start(kind, {.allowance = 20'000, .charging_unit = 1'000, .slice = 20'000}, pool_, cpu);
        for (auto& vcpu : vcpus_) {
            vcpu.home = balance::choose_home(pool_, {});
            auto& queue = queues_[vcpu.home];
            if (&vcpu == &vcpus_[0])
                queue.slot->set_affinity(vcpu.entity, {.hard = CpuMask::only(vcpu.home)});
            queue.slot->add(vcpu.entity, clock_now());
        }
    }

    void run(std::chrono::milliseconds time)
    {
        auto const end = std::chrono::steady_clock::now() + time;
        std::vector<std::thread> threads;
        for (Cpu cpu = 0; cpu < queues_.size(); ++cpu)
            threads.emplace_back([this, cpu, end] {
                std::mt19937_64 random{seed_ + cpu};
                while (std::chrono::steady_clock::now() < end) {
                    for (int i = 0; i < 20; ++i) {
                        pick(cpu);
                        set_wanted(vcpus_[random() % vcpus_.size()], random() % 3 != 0);
                    }
                    std::this_thread::yield();
                }
            });
        for (auto& thread : threads)
            thread.join();
    }

    // Everybody is in the queue of its home, once, in the state that it wants to be in.
    void check()
    {
        std::vector<std::uint32_t> members(queues_.size(), 0);
        for (auto& vcpu : vcpus_) {
            ++members[vcpu.home];
            EXPECT_EQ(vcpu.entity.state(), vcpu.wanted ? Entity::State::runnable : Entity::State::blocked);
            EXPECT_TRUE(vcpu.entity.affinity().hard.has(vcpu.home));
            EXPECT_GT(vcpu.picked, 0U);
        }
        for (Cpu cpu = 0; cpu < queues_.size(); ++cpu) {
            EXPECT_EQ(pool_.read(cpu).members, members[cpu]);
            EXPECT_EQ(in_place(cpu), 0U);
        }
        EXPECT_GT(moves_, 0U);
    }

private:
    struct Queue {
        std::mutex lock{};
        PolicySlot slot{};
        Vcpu* running = nullptr;
        Vcpu* live = nullptr;
        Nanoseconds accounted_until = 0;
    };

    // How many of those that it picks, one after the other, do not belong to this CPU.
    std::size_t in_place(Cpu cpu)
    {
        auto& policy = *queues_[cpu].slot;
        std::size_t strangers = 0;
        Nanoseconds const now = clock_now();
        while (auto* const entity = policy.pick_next(now).entity) {
            strangers += vcpu_of(*entity).home != cpu;
            policy.block(*entity, now);
        }
        return strangers;
    }

    void account(Queue& queue, Nanoseconds now)
    {
        if (queue.running != nullptr && now > queue.accounted_until)
            queue.slot->account(queue.running->entity, now - queue.accounted_until);
        queue.accounted_until = now;
    }

    void pick(Cpu cpu)
    {
        auto& own = queues_[cpu];
        std::optional<balance::Source> source;
        {
            std::lock_guard const guard{own.lock};
            auto const now = clock_now();
            account(own, now);
            source = balance::wanted(*own.slot, now);
        }
        if (source) {
            Entity* entity = nullptr;
            {
                std::lock_guard const guard{queues_[source->cpu].lock};
                entity = queues_[source->cpu].slot->give(cpu, source->wish, may_move, clock_now());
                if (entity != nullptr)
                    vcpu_of(*entity).home = cpu;
            }
            if (entity != nullptr) {
                std::lock_guard const guard{own.lock};
                own.slot->receive(*entity, clock_now());
                if (!vcpu_of(*entity).wanted)
                    own.slot->block(*entity, clock_now());  // put to sleep while it was between the queues
                ++moves_;
            }
        }
        std::lock_guard const guard{own.lock};
        auto const now = clock_now();
        account(own, now);
        auto* const entity = own.slot->pick_next(now).entity;
        own.running = entity != nullptr ? &vcpu_of(*entity) : nullptr;
        if (own.running == nullptr)
            return;
        ++own.running->picked;
        if (own.live != own.running) {
            if (own.live != nullptr)
                own.live->live = false;
            own.live = own.running;
            own.live->live = true;
        }
    }

    void set_wanted(Vcpu& vcpu, bool wanted)
    {
        std::lock_guard const state{vcpu.state};
        vcpu.wanted = wanted;
        while (true) {
            Cpu const home = vcpu.home;
            auto& queue = queues_[home];
            std::lock_guard const guard{queue.lock};
            if (vcpu.home != home)
                continue;
            auto const now = clock_now();
            account(queue, now);
            if (!wanted) {
                queue.slot->block(vcpu.entity, now);
                if (queue.running == &vcpu)
                    queue.running = nullptr;
                return;
            }
            if (vcpu.entity.state() != Entity::State::blocked)
                return;  // runs already, or whoever moves it will see that it is wanted
            Cpu const cpu = balance::place(pool_, vcpu.entity, home);
            if (cpu == home || vcpu.live) {
                queue.slot->wake(vcpu.entity, now);
                return;
            }
            queue.slot->remove(vcpu.entity, now);
            vcpu.home = cpu;
            break;
        }
        auto& queue = queues_[vcpu.home];
        std::lock_guard const guard{queue.lock};
        queue.slot->add(vcpu.entity, clock_now());
        queue.slot->wake(vcpu.entity, clock_now());
    }

    std::uint64_t seed_;
    Board board_{};
    Pool pool_{board_};
    std::deque<Queue> queues_;
    std::deque<Vcpu> vcpus_;
    std::atomic<std::uint64_t> moves_{0};
};

TEST(BalanceThreads, lose_nobody_and_run_nobody_twice)
{
    for (auto const kind : {Kind::bvt, Kind::round_robin}) {
        Threads threads{kind, 4, 11, 1};
        threads.run(std::chrono::milliseconds{700});
        threads.check();
    }
}

}  // namespace
}  // namespace pvn::sched
