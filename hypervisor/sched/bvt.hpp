// SPDX-License-Identifier: MIT
// Borrowed Virtual Time: the entity whose effective virtual time is least runs, and one in a hurry may borrow.
#pragma once

#include "sched/waiting.hpp"

namespace pvn::sched {

// Each entity has an actual virtual time A, which advances by (time it ran) / (its weight), and an effective one
// E = A - W while warped, else E = A.  The runnable one with the least E runs.  Equal A over time is what gives shares by weight;
// W only moves the order in time: what an entity gains now it has in A, and pays later.
//
// After Duda and Cheriton, "Borrowed-Virtual-Time (BVT) scheduling", SOSP 1999.  As there: the context-switch allowance C, the
// charging unit (mcu), warp limit L and unwarp requirement U, and a start at max(A, scheduler virtual time) on waking.
//
// Several CPUs: virtual time is comparable among the queues of a pool, so an entity keeps its A when it moves, and each CPU takes
// over (wish(), give(), receive()) what waits elsewhere with so little E that, waiting here, it would be switched to.  Shares
// therefore follow the weights over the whole pool, as far as they can: one entity has never more than one CPU.  Queues still part
// where moves cannot hold them together, and then the difference means nothing and must not be paid for later:
//  - a queue falls behind because nobody who waits could be helped elsewhere (one entity with more weight than a CPU is worth, or
//    all are pinned): settle() brings it forward, as a whole, to where the contended queues are;
//  - a queue runs ahead because nobody contended with it: whoever arrives from one that is behind is brought forward to about two
//    allowances before the one that it displaces, so it cannot make it wait for longer than that;
//  - an entity comes from a queue that is ahead: its lead is cut to what it can have earned, two allowances and its warp.
//
// Invariants, between calls:
//  - A of every runnable entity is at least the queue's virtual time, which never goes back, except that receive() takes it back to
//    where the newcomer is;
//  - real time is never lost or counted twice: A * weight + remainder + uncharged grows by exactly what account() was told, apart
//    from the corrections named above, on waking, and at a change of weight;
//  - the running entity, if any, is runnable and does not wait;
//  - each other runnable one waits: among the willing or, until its time comes or nobody is willing, among those that have yielded.
//
// Nothing of one that waits changes but by time, when it may warp again or is willing again, and then it is put back, so many in one call
// (catch_up()).  So the groups know what counts of them, and no call looks at each.
class Bvt final : public Policy {
public:
    static constexpr Nanoseconds maximum_allowance = Nanoseconds{1} << 60;
    struct Configuration {
        Nanoseconds allowance = 5'000'000;       // C, real time: how far a running entity may pass the next
        Nanoseconds charging_unit = 100'000;     // mcu, real time; 0 counts as 1
        VirtualTime first_virtual_time = 0;      // for tests
    };

    constexpr Bvt() : Bvt{Configuration{}} {}
    explicit constexpr Bvt(Configuration const& configuration)
        : allowance_{configuration.allowance < maximum_allowance ? configuration.allowance : maximum_allowance},
          charging_unit_{configuration.charging_unit != 0 ? configuration.charging_unit : 1},
          virtual_time_{configuration.first_virtual_time}
    {
    }

    char const* name() const override { return "bvt"; }
    // An entity that comes from a queue of the same pool keeps its A; any other starts at the queue's virtual time, plus what it was
    // ahead of that of the queue it was removed from.
    void add(Entity& entity, Nanoseconds now) override;
    void remove(Entity& entity, Nanoseconds now) override;
    void wake(Entity& entity, Nanoseconds now) override;
    void block(Entity& entity, Nanoseconds now) override;
    void yield(Entity& entity, Nanoseconds now) override;
    void account(Entity& entity, Nanoseconds ran) override;
    Decision pick_next(Nanoseconds now) override;
    Nanoseconds may_go_on(Entity const& woken, Nanoseconds now) const override;
    bool must_switch(Nanoseconds now) override;
    std::uint32_t runnable() const override { return waiting_[0].size() + waiting_[1].size() + (running_ != nullptr ? 1 : 0); }
    Result<void> set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds now) override;

    Wish wish(Nanoseconds now) override;
    Entity* give(Cpu to, Wish const& wish, MayMove may_move, Nanoseconds now) override;
    void receive(Entity& entity, Nanoseconds now) override;

    VirtualTime virtual_time() const { return virtual_time_; }  // least A of the runnable ones; the last such, if none is
    BvtAccount account(Entity const& entity) const;             // for tests and statistics, of one in this queue

private:
    struct Choice {
        Entity* next = nullptr;             // whom to run
        Entity* rival = nullptr;            // best of the others, those that yielded apart
    };
    void charge(BvtAccount& account, Parameters const& parameters, Nanoseconds ran) const;
    static void spend_warp(BvtAccount& account, Parameters const& parameters, Nanoseconds ran, Nanoseconds until);
    static void refresh_warp(BvtAccount& account, Parameters const& parameters, Nanoseconds now);
    static VirtualTime effective(BvtAccount const& account, Parameters const& parameters);
    static VirtualTime unborrowed(BvtAccount const& account, Parameters const& parameters);
    bool waits(Entity const& entity) const { return entity.state_ == Entity::State::runnable && &entity != running_; }
    void put(Entity& entity);
    void take(Entity& entity);
    template <class Change>
    void put_back(Entity& entity, Change change);
    void enter(Entity& entity);
    void leave(Entity& entity);
    Nanoseconds next_due() const { return std::min(waiting_[0].all().due, waiting_[1].all().due); }
    void catch_up(Nanoseconds now);
    Waiting const& willing() const { return waiting_[willing_]; }
    Waiting const& yielded() const { return waiting_[1 - willing_]; }
    BvtAccount account_at(Entity const& entity, Nanoseconds now) const;
    VirtualTime actual_at(Entity const& entity, Nanoseconds now) const;
    VirtualTime effective_at(Entity const& entity, Nanoseconds now) const;
    VirtualTime unborrowed_at(Entity const& entity, Nanoseconds now) const;
    bool passed_over(Entity const& entity, Nanoseconds now) const;
    Choice choose(Nanoseconds now) const;
    Nanoseconds lead_over(Entity const& runner, VirtualTime rival, Nanoseconds now) const;
    Nanoseconds slice(Entity const& runner, VirtualTime rival) const;
    VirtualTime virtual_time_at(Nanoseconds now) const;
    void follow_virtual_time();
    void publish() override;
    void affinity_changed(Entity& entity) override;
    void settle(Nanoseconds now);
    void detach(Entity& entity, Nanoseconds now);
    void bound_lead(Entity& entity, VirtualTime start) const;
    VirtualTime allowance_in(std::uint32_t weight) const;
    Nanoseconds look_again(Nanoseconds now) const;

    Nanoseconds allowance_;
    Nanoseconds charging_unit_;
    VirtualTime virtual_time_;
    Waiting waiting_[2]{};              // those that are willing, and those that have yielded
    std::uint8_t willing_ = 0;          // which are which
    VirtualTime shift_ = 0;             // what all that wait have been brought forward by: their figures there are less than they are by it
    std::uint64_t weight_ = 0;          // of all that are runnable
    std::uint64_t turns_ = 0;           // given out so far
    Entity* running_ = nullptr;
    Nanoseconds accounted_until_ = 0;   // of the running one
};

}  // namespace pvn::sched
