// SPDX-License-Identifier: MIT
// The plain reference policy: equal slices in turn, whatever the weights.
#pragma once

#include "sched/waiting.hpp"

namespace pvn::sched {

class RoundRobin final : public Policy {
public:
    static constexpr Nanoseconds default_slice = 10'000'000;

    explicit constexpr RoundRobin(Nanoseconds slice = default_slice) : slice_{slice != 0 ? slice : 1} {}

    char const* name() const override { return "round-robin"; }
    void add(Entity& entity, Nanoseconds now) override;
    void remove(Entity& entity, Nanoseconds now) override;
    void wake(Entity& entity, Nanoseconds now) override;
    void block(Entity& entity, Nanoseconds now) override;
    void yield(Entity& entity, Nanoseconds now) override;
    void account(Entity& entity, Nanoseconds ran) override;
    Decision pick_next(Nanoseconds now) override;
    bool must_switch(Nanoseconds now) override;
    std::uint32_t runnable() const override { return queue_.size() + (running_ != nullptr ? 1 : 0); }
    Result<void> set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds now) override;
    Wish wish(Nanoseconds now) override;
    Entity* give(Cpu to, Wish const& wish, MayMove may_move, Nanoseconds now) override;
    void receive(Entity& entity, Nanoseconds now) override;

private:
    void publish() override;
    void affinity_changed(Entity& entity) override;
    void put(Entity& entity);
    void append(Entity& entity);
    void leave(Entity& entity);

    Nanoseconds slice_;
    Waiting queue_{};              // runnable, in the order of their turns; the running one is not in it
    Entity* running_ = nullptr;
    Nanoseconds slice_start_ = 0;
    std::uint64_t weight_ = 0;     // of all that are runnable
    std::uint64_t turns_ = 0;      // given out so far
};

}  // namespace pvn::sched
