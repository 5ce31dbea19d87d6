// SPDX-License-Identifier: MIT
// The policy that schedules nothing: a vCPU has its CPU for itself, asleep or not.
#pragma once

#include "sched/waiting.hpp"

namespace pvn::sched {

// The first member of a queue owns the CPU until it is removed; no timer ever takes it away.  Members beyond it do not run here:
// they wait until a CPU of the pool is without an owner, or this one is.  For pools with at least as many CPUs as vCPUs.
// Such pools are sticky (pool.hpp): a waking vCPU stays where it is.
class Null final : public Policy {
public:
    constexpr Null() = default;

    char const* name() const override { return "null"; }
    void add(Entity& entity, Nanoseconds now) override;
    void remove(Entity& entity, Nanoseconds now) override;
    void wake(Entity& entity, Nanoseconds now) override;
    void block(Entity& entity, Nanoseconds now) override;
    void yield(Entity&, Nanoseconds) override {}
    void account(Entity&, Nanoseconds) override {}
    Decision pick_next(Nanoseconds now) override;
    bool must_switch(Nanoseconds now) override;
    std::uint32_t runnable() const override { return waiting_.size() + (owner_ != nullptr && owner_->state() == Entity::State::runnable ? 1 : 0); }
    Result<void> set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds now) override;
    Wish wish(Nanoseconds now) override;
    Entity* give(Cpu to, Wish const& wish, MayMove may_move, Nanoseconds now) override;
    void receive(Entity& entity, Nanoseconds now) override;

private:
    void publish() override;
    void affinity_changed(Entity& entity) override;

    Entity* owner_ = nullptr;
    bool running_ = false;    // the owner
    Waiting waiting_{};       // runnable, and not the owner
    std::uint64_t turns_ = 0; // given out so far
};

}  // namespace pvn::sched
