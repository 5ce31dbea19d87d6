// SPDX-License-Identifier: MIT
#include "sched/bvt.hpp"

#include <algorithm>
#include <utility>

namespace pvn::sched {

namespace {

// So many at most are put back in one call because their time has come.  Each had to run before, so no more come due over time.
constexpr int most_due = 4;

constexpr void bring_to(VirtualTime& least, VirtualTime time)
{
    if (after(least, time) > 0)
        least = time;
}
constexpr void bring_to(std::optional<VirtualTime>& least, VirtualTime time)
{
    if (!least || after(*least, time) > 0)
        least = time;
}

}  // namespace

// --- The books of one entity ---------------------------------------------------------------------------------

// Charges whole units and carries the rest; what a division leaves over is carried too, so nothing drifts.
void Bvt::charge(BvtAccount& account, Parameters const& parameters, Nanoseconds ran) const
{
    Nanoseconds const owed = saturating_add(account.uncharged, ran);
    if (owed < charging_unit_) {
        account.uncharged = owed;
        return;
    }
    Nanoseconds const charged = owed - owed % charging_unit_;
    account.uncharged = owed - charged;
    // Divided in two steps, so that the sum with the remainder cannot overflow.
    std::uint64_t const rest = charged % parameters.weight + account.remainder;
    account.actual += charged / parameters.weight + rest / parameters.weight;
    account.remainder = rest % parameters.weight;
}

// The entity ran for `ran` ns that ended at `until`.  The limit bites at the very ns, however late we hear of it.
void Bvt::spend_warp(BvtAccount& account, Parameters const& parameters, Nanoseconds ran, Nanoseconds until)
{
    if (!account.warped || parameters.warp_limit == 0)
        return;
    Nanoseconds const left = parameters.warp_limit - account.warp_used;
    if (ran < left) {
        account.warp_used += ran;
        return;
    }
    account.warp_used = parameters.warp_limit;
    account.warped = false;
    account.warp_stopped = until - (ran - left);
}

// Warps an entity that may warp: one whose limit was reached at least U ago.
void Bvt::refresh_warp(BvtAccount& account, Parameters const& parameters, Nanoseconds now)
{
    if (parameters.warping == Warp::disabled || account.warped)
        return;
    bool const exhausted = parameters.warp_limit != 0 && account.warp_used >= parameters.warp_limit;
    if (exhausted) {
        if (now - account.warp_stopped < parameters.unwarp)
            return;
        account.warp_used = 0;
    }
    account.warped = true;
}

VirtualTime Bvt::effective(BvtAccount const& account, Parameters const& parameters)
{
    return account.actual - (account.warped ? parameters.warp / default_weight : 0);
}

// Where an entity is at least, whatever of its lead is borrowed, even if its limit is reached just now.
VirtualTime Bvt::unborrowed(BvtAccount const& account, Parameters const& parameters)
{
    return account.actual - (parameters.warping == Warp::enabled ? parameters.warp / default_weight : 0);
}

BvtAccount Bvt::account(Entity const& entity) const
{
    BvtAccount account = entity.account_;
    if (waits(entity))
        account.actual = Waiting::of(entity).actual + shift_;
    return account;
}

// The books as they would be if the time up to `now` had been accounted.
BvtAccount Bvt::account_at(Entity const& entity, Nanoseconds now) const
{
    BvtAccount account = this->account(entity);
    if (&entity == running_) {
        Nanoseconds const ran = now - accounted_until_;
        charge(account, entity.parameters_, ran);
        spend_warp(account, entity.parameters_, ran, now);
    }
    refresh_warp(account, entity.parameters_, now);
    return account;
}

// The same of one figure, without the rest of the books.
VirtualTime Bvt::actual_at(Entity const& entity, Nanoseconds now) const
{
    if (&entity != running_ || saturating_add(entity.account_.uncharged, now - accounted_until_) < charging_unit_)
        return entity.account_.actual;
    BvtAccount account = entity.account_;
    charge(account, entity.parameters_, now - accounted_until_);
    return account.actual;
}

VirtualTime Bvt::effective_at(Entity const& entity, Nanoseconds now) const
{
    if (waits(entity))
        return Waiting::of(entity).place.time + shift_;
    if (entity.parameters_.warping == Warp::disabled)
        return actual_at(entity, now);
    return effective(account_at(entity, now), entity.parameters_);
}

VirtualTime Bvt::unborrowed_at(Entity const& entity, Nanoseconds now) const
{
    if (waits(entity))
        return Waiting::of(entity).unborrowed + shift_;
    return unborrowed(account_at(entity, now), entity.parameters_);
}

// --- Who is where --------------------------------------------------------------------------------------------

void Bvt::put(Entity& entity)
{
    BvtAccount const& account = entity.account_;
    Parameters const& parameters = entity.parameters_;
    Standing standing = this->standing(entity, effective(account, parameters) - shift_);
    standing.actual = account.actual - shift_;
    standing.unborrowed = unborrowed(account, parameters) - shift_;
    if (parameters.warping == Warp::enabled && !account.warped)
        standing.due = saturating_add(account.warp_stopped, parameters.unwarp);
    if (entity.yielded_)
        standing.due = std::min(standing.due, entity.yielded_until_);
    entity.group_ = entity.yielded_ ? 1 - willing_ : willing_;
    waiting_[entity.group_].insert(entity, standing);
}

void Bvt::take(Entity& entity)
{
    entity.account_.actual = Waiting::of(entity).actual + shift_;
    entity.yielded_ = entity.group_ != willing_;
    waiting_[entity.group_].erase(entity);
}

template <class Change>
void Bvt::put_back(Entity& entity, Change change)
{
    bool const waits = this->waits(entity);
    if (waits)
        take(entity);
    change();
    if (waits)
        put(entity);
}

// It becomes runnable, or is so no more.
void Bvt::enter(Entity& entity)
{
    entity.state_ = Entity::State::runnable;
    entity.turn_ = ++turns_;
    weight_ += entity.parameters_.weight;
    put(entity);
}

void Bvt::leave(Entity& entity)
{
    if (&entity == running_)
        running_ = nullptr;
    else
        take(entity);
    weight_ -= entity.parameters_.weight;
}

// Puts those back who may warp again, or have let others go first for long enough.
void Bvt::catch_up(Nanoseconds now)
{
    if (next_due() > now) [[likely]]
        return;
    int left = most_due;
    for (Waiting const& group : waiting_)
        for (; left != 0 && group.all().due <= now; --left) {
            Entity& entity = *group.find([&](Standing const& s) { return s.due <= now; });
            put_back(entity, [&] {
                refresh_warp(entity.account_, entity.parameters_, now);
                entity.yielded_ = passed_over(entity, now);
            });
        }
}

void Bvt::affinity_changed(Entity& entity)
{
    put_back(entity, [] {});
}

// --- The choice ----------------------------------------------------------------------------------------------

bool Bvt::passed_over(Entity const& entity, Nanoseconds now) const
{
    return entity.yielded_ && after(entity.yielded_until_, now) > 0;
}

// By how much real time of its own the runner is past a rival.
Nanoseconds Bvt::lead_over(Entity const& runner, VirtualTime rival, Nanoseconds now) const
{
    std::int64_t const ahead = after(effective_at(runner, now), rival);
    return ahead <= 0 ? 0 : saturating_multiply(static_cast<std::uint64_t>(ahead), runner.parameters_.weight);
}

Bvt::Choice Bvt::choose(Nanoseconds now) const
{
    Entity* const best = (willing().empty() ? yielded() : willing()).all().first;
    if (running_ == nullptr)
        return {best, nullptr};
    if (best == nullptr)
        return {running_, nullptr};
    if (passed_over(*running_, now))
        return {best, nullptr};
    if (willing().empty())
        return {running_, nullptr};
    Nanoseconds const lead = lead_over(*running_, effective_at(*best, now), now);
    bool const over = lead != 0 && lead >= allowance_;
    return over ? Choice{best, running_} : Choice{running_, best};
}

// How long from now until the runner passes a rival by the allowance.  At that ns must_switch() says so.
Nanoseconds Bvt::slice(Entity const& runner, VirtualTime rival) const
{
    BvtAccount const& account = runner.account_;
    std::uint64_t const weight = runner.parameters_.weight;
    // Least lead, in whole units of virtual time, that uses the allowance up.
    std::uint64_t const lead = std::max<std::uint64_t>(1, allowance_ / weight + (allowance_ % weight != 0 ? 1 : 0));
    std::int64_t const distance = after(rival + lead, effective(account, runner.parameters_));
    if (distance <= 0)
        return charging_unit_ - account.uncharged;
    std::uint64_t const need = saturating_multiply(static_cast<std::uint64_t>(distance), weight);
    if (need == UINT64_MAX)
        return need;
    std::uint64_t const charge = need - account.remainder;  // remainder < weight <= need
    std::uint64_t const units = charge / charging_unit_ + (charge % charging_unit_ != 0 ? 1 : 0);
    std::uint64_t const total = saturating_multiply(units, charging_unit_);
    return total == UINT64_MAX ? total : total - account.uncharged;  // uncharged < charging_unit_ <= total
}

// The others that wait have been looked at when the slice was given out: only the new rival can make it shorter.
Nanoseconds Bvt::may_go_on(Entity const& woken, Nanoseconds now) const
{
    if (running_ == nullptr || woken.state_ != Entity::State::runnable || passed_over(*running_, now))
        return 0;
    if (woken.parameters_.warping == Warp::enabled && !woken.account_.warped)
        return 0;  // it may be able to warp again before
    VirtualTime const rival = effective_at(woken, now);
    Nanoseconds const lead = lead_over(*running_, rival, now);
    return lead != 0 && lead >= allowance_ ? 0 : slice(*running_, rival);
}

bool Bvt::must_switch(Nanoseconds now)
{
    catch_up(now);
    return choose(now).next != running_;
}

Decision Bvt::pick_next(Nanoseconds now)
{
    catch_up(now);
    settle(now);
    Choice choice = choose(now);
    Entity* const chosen = choice.next;
    if (chosen == nullptr) {
        publish();
        return {};
    }
    bool const goes_on = chosen == running_ && !chosen->yielded_;
    if (chosen != running_) {
        willing_ = chosen->group_;  // if everybody has yielded, all have let another go first, and start anew
        take(*chosen);
        Entity* const before = std::exchange(running_, chosen);
        if (before != nullptr) {
            refresh_warp(before->account_, before->parameters_, now);
            before->yielded_ = passed_over(*before, now);
            put(*before);
        }
    }
    accounted_until_ = now;
    running_->yielded_ = false;
    running_->turn_ = ++turns_;
    refresh_warp(running_->account_, running_->parameters_, now);

    // Now from the point of view of the one that runs.
    if (!goes_on)
        choice = choose(now);
    Nanoseconds until = std::max(next_due(), now + 1);  // more may be due than were put back
    Entity const* const rival = choice.next == running_ ? choice.rival : choice.next;
    if (rival != nullptr)
        until = std::min(until, saturating_add(now, slice(*running_, effective_at(*rival, now))));
    BvtAccount const& account = running_->account_;
    Parameters const& parameters = running_->parameters_;
    if (account.warped && parameters.warp_limit != 0)
        until = std::min(until, saturating_add(now, parameters.warp_limit - account.warp_used));
    else if (!account.warped && parameters.warping == Warp::enabled)
        until = std::min(until, saturating_add(account.warp_stopped, parameters.unwarp));
    publish();
    return {running_, std::min(until, look_again(now))};
}

// --- Events --------------------------------------------------------------------------------------------------

// The scheduler's virtual time, as it would be if the time up to `now` had been accounted: who wakes beside one that has run
// alone for long must not start where that one was when it was last accounted.
VirtualTime Bvt::virtual_time_at(Nanoseconds now) const
{
    std::optional<VirtualTime> least;
    if (running_ != nullptr)
        least = actual_at(*running_, now);
    for (Waiting const& group : waiting_)
        if (!group.empty())
            bring_to(least, group.all().actual + shift_);
    return least && after(*least, virtual_time_) > 0 ? *least : virtual_time_;
}

void Bvt::follow_virtual_time()
{
    virtual_time_ = virtual_time_at(accounted_until_);
    publish();
}

void Bvt::add(Entity& entity, Nanoseconds now)
{
    if (entity.state_ != Entity::State::detached)
        return;
    settle(now);
    if (pool_ == nullptr || entity.clock_ != pool_)
        entity.account_.actual = virtual_time_at(now) + entity.account_.lead;
    entity.yielded_ = false;
    entity.state_ = Entity::State::blocked;
    ++members_;
    publish();
}

void Bvt::remove(Entity& entity, Nanoseconds now)
{
    if (entity.state_ == Entity::State::detached)
        return;
    block(entity, now);
    detach(entity, now);
}

void Bvt::detach(Entity& entity, Nanoseconds now)
{
    std::int64_t const lead = after(entity.account_.actual, virtual_time_at(now));
    entity.account_.lead = lead > 0 ? static_cast<VirtualTime>(lead) : 0;
    entity.clock_ = pool_;
    entity.state_ = Entity::State::detached;
    --members_;
    publish();
}

void Bvt::wake(Entity& entity, Nanoseconds now)
{
    if (entity.state_ != Entity::State::blocked)
        return;
    settle(now);
    BvtAccount& account = entity.account_;
    VirtualTime start = virtual_time_at(now);
    if (pool_ != nullptr) {
        bound_lead(entity, start);
        // Beside one that has borrowed it does not start where that one is: it would take the lead along to other queues.
        if (running_ != nullptr)
            bring_to(start, unborrowed_at(*running_, now));
        for (Waiting const& group : waiting_)
            if (!group.empty())
                bring_to(start, group.all().unborrowed + shift_);
        if (after(virtual_time_, start) > 0 && after(virtual_time_, account.actual) > 0)
            virtual_time_ = after(start, account.actual) > 0 ? start : account.actual;
    }
    if (after(start, account.actual) > 0) {
        account.actual = start;  // sleep earns nothing ...
        account.remainder = 0;
    }
    // ... but one that slept as long as the unwarp requirement has its warp time back.
    if (account.warped && now - account.warp_stopped >= entity.parameters_.unwarp)
        account.warp_used = 0;
    refresh_warp(account, entity.parameters_, now);
    enter(entity);
    publish();
}

void Bvt::block(Entity& entity, Nanoseconds now)
{
    if (entity.state_ != Entity::State::runnable)
        return;
    leave(entity);
    if (entity.account_.warped)
        entity.account_.warp_stopped = now;
    entity.yielded_ = false;
    entity.state_ = Entity::State::blocked;
    virtual_time_ = virtual_time_at(accounted_until_);
    // Else pick_next() follows, and that shows it.  But whom the last one wakes while it blocks is to find its CPU idle.
    if (runnable() == 0)
        publish();
}

void Bvt::yield(Entity& entity, Nanoseconds now)
{
    if (entity.state_ != Entity::State::runnable)
        return;
    // Passed over until another has had a fair run, not only for an instant: it may still have the least E by far.
    put_back(entity, [&] {
        entity.yielded_ = true;
        entity.yielded_until_ = saturating_add(now, std::max(allowance_, charging_unit_));
    });
}

void Bvt::account(Entity& entity, Nanoseconds ran)
{
    if (entity.state_ == Entity::State::detached)
        return;
    VirtualTime before = 0;
    put_back(entity, [&] {
        before = entity.account_.actual;
        charge(entity.account_, entity.parameters_, ran);
    });
    if (&entity == running_) {
        accounted_until_ += ran;
        spend_warp(entity.account_, entity.parameters_, ran, accounted_until_);
    }
    if (entity.account_.actual == before)
        return;
    // Not shown: what others see of the queue is of a moment ago anyway, and the call that mostly follows shows it.
    virtual_time_ = virtual_time_at(accounted_until_);
}

Result<void> Bvt::set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds now)
{
    if (entity.state_ == Entity::State::detached)
        return Fail{Error::not_found};
    PVN_CHECK(check(parameters));

    if (entity.state_ == Entity::State::runnable)
        weight_ = weight_ - entity.parameters_.weight + parameters.weight;
    // What is not charged yet was run at the old weight: charge it to the ns, and carry the remainder over in the new unit.
    BvtAccount& account = entity.account_;
    std::uint64_t const old_weight = entity.parameters_.weight;
    if (parameters.weight != old_weight) {
        put_back(entity, [&] {
            std::uint64_t const rest = account.remainder + account.uncharged;
            account.actual += rest / old_weight;
            account.remainder = rest % old_weight * parameters.weight / old_weight;
            account.uncharged = 0;
        });
        // What it is ahead by it has had as real time, of which the new weight makes another amount of virtual time.
        VirtualTime const reached = virtual_time_at(now);
        put_back(entity, [&] {
            if (std::int64_t const lead = after(account.actual, reached); lead > 0) {
                auto const real = saturating_multiply(static_cast<std::uint64_t>(lead), old_weight);
                account.actual = account.actual - static_cast<std::uint64_t>(lead) + real / parameters.weight;
            }
        });
        follow_virtual_time();
    }

    bool const newly_enabled = parameters.warping == Warp::enabled && entity.parameters_.warping == Warp::disabled;
    put_back(entity, [&] {
        entity.parameters_ = parameters;
        if (newly_enabled || parameters.warping == Warp::disabled) {
            account.warp_used = 0;
            account.warped = false;
        } else if (account.warped && parameters.warp_limit != 0 && account.warp_used >= parameters.warp_limit) {
            account.warped = false;
            account.warp_stopped = now;
        }
        refresh_warp(account, parameters, now);
    });
    publish();
    return {};
}

// --- Several CPUs --------------------------------------------------------------------------------------------

VirtualTime Bvt::allowance_in(std::uint32_t weight) const
{
    return saturating_add(allowance_, charging_unit_) / weight + 1;
}

void Bvt::publish()
{
    if (pool_ == nullptr)
        return;
    QueueSummary::Reading shown{.members = members_, .runnable = runnable(), .weight = weight_, .time = virtual_time_};
    if (CpuMask const others = pool_->cpus().without(cpu_); !others.empty()) {
        std::optional<VirtualTime> contended, waiting;
        if (running_ != nullptr) {
            contended = unborrowed(running_->account_, running_->parameters_);
            shown.running_time = effective(running_->account_, running_->parameters_);
        }
        for (Waiting const& group : waiting_) {
            Standing const& all = group.all();
            if (group.empty())
                continue;
            bring_to(contended, all.unborrowed + shift_);
            if ((all.elsewhere & others).empty())
                continue;
            bring_to(waiting, all.mover.time + shift_);
            shown.waiting += group.movers();
            shown.waiting_cpus = shown.waiting_cpus | (all.elsewhere & others);
        }
        shown.contended_time = contended.value_or(0);
        shown.waiting_time = waiting.value_or(0);
    }
    pool_->queue(cpu_).write(shown);
}

// Brings a queue forward that is behind for no fault of the others: nobody waits in it who could run elsewhere.
void Bvt::settle(Nanoseconds now)
{
    if (pool_ == nullptr)
        return;
    CpuMask const others = pool_->cpus().without(cpu_);
    if (others.empty() || !((willing().all().elsewhere | yielded().all().elsewhere) & others).empty())
        return;
    std::optional<VirtualTime> const common = pool_->contended_time(cpu_);
    if (!common)
        return;
    if (runnable() == 0) {
        virtual_time_ = *common;
        return;
    }
    // A little behind may be a claim that is just being met: the less the least weight is, the more is a little.
    std::uint32_t weight = std::min(willing().all().weight, yielded().all().weight);
    if (running_ != nullptr)
        weight = std::min(weight, running_->parameters_.weight);
    std::int64_t const behind = after(*common - 2 * allowance_in(weight), virtual_time_at(now));
    if (behind <= 0)
        return;
    auto const shift = static_cast<VirtualTime>(behind);
    shift_ += shift;
    if (running_ != nullptr)
        running_->account_.actual += shift;
    virtual_time_ += shift;
}

void Bvt::bound_lead(Entity& entity, VirtualTime start) const
{
    if (runnable() == 0)
        return;
    VirtualTime const most = start + 2 * allowance_in(entity.parameters_.weight) + entity.parameters_.warp / default_weight;
    if (after(entity.account_.actual, most) > 0)
        entity.account_.actual = most;
}

// When to look for work elsewhere, if nothing happens before.
Nanoseconds Bvt::look_again(Nanoseconds now) const
{
    if (pool_ == nullptr)
        return no_deadline;
    CpuMask const others = pool_->cpus().without(cpu_);
    if (others.empty())
        return no_deadline;
    Nanoseconds const period = saturating_add(allowance_, charging_unit_);
    Nanoseconds wait = saturating_multiply(period, 2);
    for_each_queue(*pool_, others, cpu_, [&](Cpu, QueueSummary::Reading const& other) {
        if (other.waiting == 0 || !other.waiting_cpus.has(cpu_))
            return;
        // One that is due but was not to be had (its registers are live there, or another CPU was quicker) is not asked for at once.
        wait = std::min(wait, std::max(std::min(slice(*running_, other.waiting_time), period), period / 4));
    });
    return saturating_add(now, wait);
}

Wish Bvt::wish(Nanoseconds now)
{
    catch_up(now);
    Entity const* const next = choose(now).next;
    if (next == nullptr)
        return {.kind = Wish::Kind::anything};
    std::uint64_t const weight = next->parameters_.weight;
    VirtualTime const lead = std::max<VirtualTime>(1, allowance_ / weight + (allowance_ % weight != 0 ? 1 : 0));
    return {.kind = Wish::Kind::earlier, .time = effective_at(*next, now) - lead};
}

Entity* Bvt::give(Cpu to, Wish const& wish, MayMove may_move, Nanoseconds now)
{
    if (wish.kind == Wish::Kind::nothing || pool_ == nullptr || !pool_->cpus().has(to))
        return nullptr;
    catch_up(now);
    Waiting::Search search{to, may_move};
    if (wish.kind == Wish::Kind::earlier)
        search.limit = Place{wish.time - shift_, UINT64_MAX};
    for (Waiting const& group : waiting_)
        // Against its soft affinity only when it is an allowance more urgent.
        group.look_for(search, [&](Entity const& entity) { return entity.affinity_.soft.has(to) ? 0 : allowance_in(entity.parameters_.weight); });
    Entity* const best = search.found;
    if (best == nullptr)
        return nullptr;
    leave(*best);
    best->yielded_ = false;
    detach(*best, now);
    follow_virtual_time();
    return best;
}

void Bvt::receive(Entity& entity, Nanoseconds now)
{
    if (entity.state_ != Entity::State::detached)
        return;
    catch_up(now);
    settle(now);
    VirtualTime const here = virtual_time_at(now);
    BvtAccount& account = entity.account_;
    if (pool_ == nullptr || entity.clock_ != pool_)
        account.actual = here + account.lead;
    bound_lead(entity, here);
    if (Entity const* const displaced = choose(now).next; displaced != nullptr) {
        // One that borrows must not push its creditors forward: what counts is where it would be without.
        VirtualTime const time = unborrowed_at(*displaced, now);
        VirtualTime const least = (after(here, time) > 0 ? time : here) - 2 * allowance_in(displaced->parameters_.weight);
        if (after(least, account.actual) > 0)
            account.actual = least;
    }
    if (runnable() == 0 || after(virtual_time_, account.actual) > 0)
        virtual_time_ = account.actual;
    refresh_warp(account, entity.parameters_, now);
    enter(entity);
    ++members_;
    publish();
}

}  // namespace pvn::sched
