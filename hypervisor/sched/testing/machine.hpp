// SPDX-License-Identifier: MIT
// Simulated CPUs that share work under a policy, as the dispatcher drives it: deterministic, each task with its own plan of running
// and sleeping.  `simulator.hpp` is the same for one CPU alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "sched/balance.hpp"
#include "sched/policy.hpp"
#include "sched/testing/simulator.hpp"

namespace pvn::sched::testing {

class Machine {
public:
    using Plan = std::function<Step(Nanoseconds now)>;  // Step: as in simulator.hpp

    struct Task {
        Entity entity{};  // first: task_of()
        Plan plan{};
        Cpu home = 0;
        Nanoseconds to_run = 0;
        Nanoseconds then_sleep = 0;
        Nanoseconds wakes_at = 0;
        Nanoseconds ready_since = 0;
        Nanoseconds ran_before = 0;       // until `runs_since`, if it runs
        Nanoseconds runs_since = 0;
        bool sleeping = true;
        bool running = false;
        bool woken = false;               // has not run since it woke
        bool live = false;                // its registers are on its home CPU

        Nanoseconds longest_wait = 0;     // from ready to running, for whatever reason it waited
        std::vector<Nanoseconds> latencies{};  // from waking to running
        std::uint64_t moves = 0;          // to another CPU

        Nanoseconds ran(Nanoseconds now) const { return ran_before + (running ? now - runs_since : 0); }
    };

    explicit Machine(Nanoseconds start = 0) : now_{start} {}
    // One policy per CPU.
    Machine(std::vector<Policy*> const& policies, Nanoseconds start) : Machine{start}
    {
        for (auto* const policy : policies) {
            policy->join(pool_, static_cast<Cpu>(cpus_.size()));
            append(*policy);
        }
    }
    // The next CPU, under a policy that has joined the pool.
    void append(Policy& policy) { cpus_.push_back({.policy = &policy}); }

    Task& add(Parameters const& parameters, Plan plan = [](Nanoseconds) { return Step{}; }, Affinity const& affinity = {}, Nanoseconds starts = 0)
    {
        Task& task = *tasks_.emplace_back(std::make_unique<Task>());
        task.plan = std::move(plan);
        task.home = balance::choose_home(pool_, affinity);
        auto& policy = *cpus_[task.home].policy;
        policy.set_affinity(task.entity, affinity);
        policy.add(task.entity, now_);
        (void)policy.set_parameters(task.entity, parameters, now_);
        task.wakes_at = now_ + starts;
        return task;
    }

    void set_parameters(Task& task, Parameters const& parameters)
    {
        account(task.home);
        (void)cpus_[task.home].policy->set_parameters(task.entity, parameters, now_);
        cpus_[task.home].reconsider = true;
    }

    // Puts it to sleep for good.
    void halt(Task& task)
    {
        if (!task.sleeping) {
            auto& cpu = cpus_[task.home];
            account(task.home);
            if (task.running) {
                stop(task);
                cpu.running = nullptr;
            }
            cpu.policy->block(task.entity, now_);
            cpu.reconsider = true;
            task.sleeping = true;
        }
        task.wakes_at = no_deadline;
    }

    // The timers fire up to this much late.
    void set_jitter(Nanoseconds most, std::uint64_t seed)
    {
        jitter_ = most;
        random_.seed(seed);
    }

    // Called every `period` ns of simulated time.
    void sample(Nanoseconds period, std::function<void()> act)
    {
        sample_period_ = period;
        next_sample_ = now_ + period;
        sampler_ = std::move(act);
    }
    std::function<void(Cpu)> inspect = [](Cpu) {};  // after each decision

    void run_for(Nanoseconds duration)
    {
        Nanoseconds const end = now_ + duration;
        while (after(end, now_) > 0) {
            wake_due();
            for (bool again = true; again;) {
                again = false;
                for (Cpu cpu = 0; cpu < cpus_.size(); ++cpu)
                    if (cpus_[cpu].reconsider) {
                        decide(cpu);
                        again = true;
                    }
            }
            now_ += std::min(end - now_, next_event());
            if (sampler_ && after(next_sample_, now_) <= 0) {
                sampler_();
                next_sample_ += sample_period_;
            }
            finish_steps();
        }
    }

    Nanoseconds now() const { return now_; }
    std::uint64_t switches() const { return switches_; }
    std::uint64_t decisions() const { return decisions_; }
    std::uint64_t moves() const { return moves_; }
    std::uint64_t vain_moves() const { return vain_moves_; }  // tried, and there was nothing to be had
    std::vector<std::unique_ptr<Task>> const& tasks() const { return tasks_; }
    Task* running(Cpu cpu) const { return cpus_[cpu].running; }
    Policy& policy(Cpu cpu) { return *cpus_[cpu].policy; }
    std::size_t cpus() const { return cpus_.size(); }
    Pool& pool() { return pool_; }
    bool progressed() const { return progressed_; }  // no deadline lay in the past

private:
    struct Processor {
        Policy* policy = nullptr;
        Task* running = nullptr;
        Task* live = nullptr;  // whose registers are loaded
        Nanoseconds timer = no_deadline;
        Nanoseconds accounted_until = 0;
        bool reconsider = false;
    };

    static bool may_move(Entity const& entity) { return !reinterpret_cast<Task const&>(entity).live; }
    static Task& task_of(Entity& entity) { return reinterpret_cast<Task&>(entity); }

    void account(Cpu cpu)
    {
        auto& self = cpus_[cpu];
        if (self.running != nullptr && now_ != self.accounted_until)
            self.policy->account(self.running->entity, now_ - self.accounted_until);
        self.accounted_until = now_;
    }

    void begin_step(Task& task)
    {
        Step const step = task.plan(now_);
        task.to_run = std::max<Nanoseconds>(step.run, 1);
        task.then_sleep = step.sleep;
    }

    void wake_due()
    {
        for (auto& owned : tasks_) {
            Task& task = *owned;
            if (!task.sleeping || task.wakes_at == no_deadline || after(task.wakes_at, now_) > 0)
                continue;
            task.sleeping = false;
            task.woken = true;
            task.ready_since = now_;
            begin_step(task);
            Cpu const cpu = balance::place(pool_, task.entity, task.home);
            if (cpu != task.home && !task.live) {
                cpus_[task.home].policy->remove(task.entity, now_);
                move_to(task, cpu);
                cpus_[cpu].policy->add(task.entity, now_);
            }
            account(task.home);
            cpus_[task.home].policy->wake(task.entity, now_);
            // Every other one is woken by its own CPU.
            from_here_ = !from_here_;
            if (!from_here_ || !goes_on_beside(cpus_[task.home], task))
                cpus_[task.home].reconsider = true;
        }
    }

    bool goes_on_beside(Processor& cpu, Task const& woken)
    {
        auto const left = cpu.reconsider ? 0 : cpu.policy->may_go_on(woken.entity, now_);
        if (left == 0)
            return false;
        if (cpu.timer == no_deadline || after(cpu.timer, now_ + left) > 0)
            cpu.timer = now_ + left;
        if (auto const idle = balance::helper(pool_, woken.home))
            cpus_[*idle].reconsider = true;
        return true;
    }

    void move_to(Task& task, Cpu cpu)
    {
        task.home = cpu;
        ++task.moves;
        ++moves_;
    }

    void decide(Cpu cpu)
    {
        auto& self = cpus_[cpu];
        self.reconsider = false;
        ++decisions_;
        account(cpu);
        if (auto const source = balance::wanted(*self.policy, now_)) {
            if (Entity* const entity = cpus_[source->cpu].policy->give(cpu, source->wish, may_move, now_)) {
                move_to(task_of(*entity), cpu);
                self.policy->receive(*entity, now_);
            } else {
                ++vain_moves_;
            }
        }
        Decision const decision = self.policy->pick_next(now_);
        Task* const chosen = decision.entity != nullptr ? &task_of(*decision.entity) : nullptr;
        if (chosen != self.running) {
            ++switches_;
            if (self.running != nullptr) {
                stop(*self.running);
                self.running->ready_since = now_;
            }
            if (chosen != nullptr) {
                if (self.live != nullptr)
                    self.live->live = false;
                self.live = chosen;
                chosen->live = true;
                chosen->running = true;
                chosen->runs_since = now_;
                chosen->longest_wait = std::max(chosen->longest_wait, now_ - chosen->ready_since);
                if (chosen->woken)
                    chosen->latencies.push_back(now_ - chosen->ready_since);
                chosen->woken = false;
            }
        }
        self.running = chosen;
        self.timer = decision.until;
        if (self.timer != no_deadline && jitter_ != 0)
            self.timer += std::uniform_int_distribution<Nanoseconds>{0, jitter_}(random_);
        progressed_ = progressed_ && (decision.until == no_deadline || decision.until > now_);
        if (auto const idle = balance::helper(pool_, cpu))
            cpus_[*idle].reconsider = true;
        inspect(cpu);
    }

    void stop(Task& task)
    {
        Nanoseconds const ran = now_ - task.runs_since;
        if (task.to_run != no_deadline)
            task.to_run -= std::min(ran, task.to_run);
        task.ran_before += ran;
        task.runs_since = now_;
        task.running = false;
    }

    Nanoseconds next_event() const
    {
        Nanoseconds next = sampler_ ? next_sample_ - now_ : no_deadline;
        for (auto const& task : tasks_)
            if (task->sleeping && task->wakes_at != no_deadline)
                next = std::min(next, task->wakes_at - now_);
        for (auto const& cpu : cpus_) {
            if (cpu.running == nullptr)
                continue;
            if (cpu.running->to_run != no_deadline)
                next = std::min(next, cpu.running->to_run - std::min(cpu.running->to_run, now_ - cpu.running->runs_since));
            if (cpu.timer != no_deadline)
                next = std::min(next, after(cpu.timer, now_) > 0 ? cpu.timer - now_ : 0);
        }
        return next;
    }

    void finish_steps()
    {
        for (Cpu cpu = 0; cpu < cpus_.size(); ++cpu) {
            auto& self = cpus_[cpu];
            if (self.running == nullptr)
                continue;
            if (self.timer != no_deadline && after(self.timer, now_) <= 0)
                self.reconsider = true;
            Task& task = *self.running;
            if (task.to_run == no_deadline || now_ - task.runs_since < task.to_run)
                continue;
            self.reconsider = true;
            account(cpu);
            if (task.then_sleep == 0) {
                task.ran_before += now_ - task.runs_since;
                task.runs_since = now_;
                self.policy->yield(task.entity, now_);
                begin_step(task);
                continue;
            }
            stop(task);
            self.policy->block(task.entity, now_);
            task.sleeping = true;
            task.wakes_at = saturating_add(now_, task.then_sleep);
            self.running = nullptr;
        }
    }

    Board board_{};
    Pool pool_{board_};
    Nanoseconds now_;
    std::deque<Processor> cpus_{};
    std::vector<std::unique_ptr<Task>> tasks_{};
    bool from_here_ = false;
    Nanoseconds jitter_ = 0;
    std::mt19937_64 random_{1};
    Nanoseconds sample_period_ = 0;
    Nanoseconds next_sample_ = 0;
    std::function<void()> sampler_{};
    std::uint64_t switches_ = 0;
    std::uint64_t decisions_ = 0;
    std::uint64_t moves_ = 0;
    std::uint64_t vain_moves_ = 0;
    bool progressed_ = true;
};

// What each of `weights` gets of `cpus` CPUs if all are always busy: in proportion to weight, but none more than one CPU, and what that
// leaves goes to the others alike.
inline std::vector<double> ideal_shares(std::vector<double> const& weights, double cpus)
{
    std::vector<double> shares(weights.size(), 0.0);
    std::vector<bool> full(weights.size(), false);
    for (bool again = true; again;) {
        again = false;
        double total = 0;
        double left = cpus;
        for (std::size_t i = 0; i < weights.size(); ++i)
            full[i] ? left -= 1 : total += weights[i];
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (full[i])
                continue;
            shares[i] = left * weights[i] / total;
            if (shares[i] >= 1) {
                shares[i] = 1;
                full[i] = true;
                again = true;
            }
        }
    }
    return shares;
}

}  // namespace pvn::sched::testing
