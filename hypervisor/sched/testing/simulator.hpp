// SPDX-License-Identifier: MIT
// One simulated CPU under a policy: deterministic, driven by each task's own plan of running and sleeping.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "sched/policy.hpp"

namespace pvn::sched::testing {

inline constexpr Nanoseconds microsecond = 1'000;
inline constexpr Nanoseconds millisecond = 1'000'000;
inline constexpr Nanoseconds second = 1'000'000'000;

// What a task does next: needs the CPU for `run` ns, then sleeps (0: only yields; `forever`: not at all).
struct Step {
    Nanoseconds run = no_deadline;
    Nanoseconds sleep = 0;
};

struct Task {
    Entity entity{};
    std::function<Step()> plan = [] { return Step{}; };  // CPU-bound
    Nanoseconds to_run = 0;
    Nanoseconds then_sleep = 0;
    Nanoseconds wakes_at = 0;       // while blocked
    Nanoseconds ready_since = 0;    // while it waits for the CPU
    bool sleeping = true;

    Nanoseconds ran = 0;            // in all
    Nanoseconds longest_wait = 0;   // from ready to running
    std::uint64_t picked = 0;
};

class Simulator {
public:
    explicit Simulator(Policy& policy, Nanoseconds start = 0) : policy_{policy}, now_{start} {}

    Task& add(Parameters const& parameters, std::function<Step()> plan = [] { return Step{}; })
    {
        Task& task = *tasks_.emplace_back(std::make_unique<Task>());
        task.plan = std::move(plan);
        policy_.add(task.entity, now_);
        (void)policy_.set_parameters(task.entity, parameters, now_);
        task.wakes_at = now_;
        return task;
    }

    // The timer fires up to this much late.
    void set_jitter(Nanoseconds most, std::uint64_t seed)
    {
        jitter_ = most;
        random_.seed(seed);
    }

    // Called after each decision.
    std::function<void()> inspect = [] {};

    void set_parameters(Task& task, Parameters const& parameters)
    {
        (void)policy_.set_parameters(task.entity, parameters, now_);
        reconsider_ = true;
    }

    void remove(Task& task)
    {
        if (running_ == &task)
            running_ = nullptr;
        policy_.remove(task.entity, now_);
        std::erase_if(tasks_, [&](auto const& owned) { return owned.get() == &task; });
        reconsider_ = true;
    }

    void run_for(Nanoseconds duration)
    {
        Nanoseconds const end = now_ + duration;
        while (after(end, now_) > 0) {
            wake_due();
            if (reconsider_)
                decide();
            advance(std::min(end - now_, next_event()));
        }
    }

    Nanoseconds now() const { return now_; }
    std::uint64_t switches() const { return switches_; }
    std::uint64_t decisions() const { return decisions_; }
    Task* running() const { return running_; }
    std::vector<std::unique_ptr<Task>> const& tasks() const { return tasks_; }

private:
    void wake_due()
    {
        for (auto& task : tasks_) {
            if (!task->sleeping || after(task->wakes_at, now_) > 0)
                continue;
            task->sleeping = false;
            Step const step = task->plan();
            task->to_run = std::max<Nanoseconds>(step.run, 1);
            task->then_sleep = step.sleep;
            task->ready_since = now_;
            policy_.wake(task->entity, now_);
            Nanoseconds const left = reconsider_ ? 0 : policy_.may_go_on(task->entity, now_);
            reconsider_ = left == 0;
            if (reconsider_)
                continue;
            // A timer that is late is another's business.
            agreed_ = agreed_ && ((until_ != no_deadline && after(until_, now_) <= 0) || !policy_.must_switch(now_));
            if (until_ == no_deadline || after(until_, now_ + left) > 0)
                until_ = now_ + left;
            if (timer_ == no_deadline || after(timer_, now_ + left) > 0)
                timer_ = now_ + left;
        }
    }

    void decide()
    {
        reconsider_ = false;
        ++decisions_;
        bool const must = policy_.must_switch(now_);
        Entity* const before = running_ != nullptr ? &running_->entity : nullptr;
        Decision const decision = policy_.pick_next(now_);
        agreed_ = agreed_ && must == (decision.entity != before);
        Task* chosen = nullptr;
        for (auto& task : tasks_)
            if (&task->entity == decision.entity)
                chosen = task.get();
        if (chosen != running_) {
            ++switches_;
            if (running_ != nullptr)
                running_->ready_since = now_;
            if (chosen != nullptr) {
                ++chosen->picked;
                chosen->longest_wait = std::max(chosen->longest_wait, now_ - chosen->ready_since);
            }
        }
        running_ = chosen;
        until_ = timer_ = decision.until;
        if (timer_ != no_deadline && jitter_ != 0)
            timer_ += std::uniform_int_distribution<Nanoseconds>{0, jitter_}(random_);
        progressed_ = progressed_ && (decision.until == no_deadline || decision.until > now_);
        inspect();
    }

    Nanoseconds next_event() const
    {
        Nanoseconds next = no_deadline;
        for (auto const& task : tasks_)
            if (task->sleeping)
                next = std::min(next, task->wakes_at - now_);
        if (running_ != nullptr) {
            next = std::min(next, running_->to_run);
            if (timer_ != no_deadline)
                next = std::min(next, after(timer_, now_) > 0 ? timer_ - now_ : 0);
        }
        return next;
    }

    void advance(Nanoseconds step)
    {
        now_ += step;
        if (running_ == nullptr)
            return;
        Task& task = *running_;
        policy_.account(task.entity, step);
        task.ran += step;
        if (task.to_run != no_deadline)
            task.to_run -= step;
        if (timer_ != no_deadline && after(timer_, now_) <= 0)
            reconsider_ = true;
        if (task.to_run != 0)
            return;
        reconsider_ = true;
        if (task.then_sleep == 0) {
            policy_.yield(task.entity, now_);
            Step const next = task.plan();
            task.to_run = std::max<Nanoseconds>(next.run, 1);
            task.then_sleep = next.sleep;
            return;
        }
        policy_.block(task.entity, now_);
        task.sleeping = true;
        task.wakes_at = now_ + task.then_sleep;
        running_ = nullptr;
    }

    Policy& policy_;
    Nanoseconds now_;
    std::vector<std::unique_ptr<Task>> tasks_{};
    Task* running_ = nullptr;
    Nanoseconds until_ = no_deadline;  // what the policy said
    Nanoseconds timer_ = no_deadline;  // when it will be heard
    Nanoseconds jitter_ = 0;
    std::mt19937_64 random_{1};
    bool reconsider_ = false;
    bool agreed_ = true;
    bool progressed_ = true;
    std::uint64_t switches_ = 0;
    std::uint64_t decisions_ = 0;

public:
    bool agreed() const { return agreed_; }          // must_switch() always said what pick_next() then did, or may_go_on() had said
    bool progressed() const { return progressed_; }  // no deadline lay in the past
};

}  // namespace pvn::sched::testing
