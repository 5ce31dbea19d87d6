// SPDX-License-Identifier: MIT
#include "sched/round_robin.hpp"

namespace pvn::sched {

void RoundRobin::put(Entity& entity) { queue_.insert(entity, standing(entity, 0)); }

void RoundRobin::append(Entity& entity)
{
    entity.turn_ = ++turns_;
    put(entity);
}

// It is runnable no more.
void RoundRobin::leave(Entity& entity)
{
    weight_ -= entity.parameters_.weight;
    if (&entity == running_)
        running_ = nullptr;
    else
        queue_.erase(entity);
}

void RoundRobin::affinity_changed(Entity& entity)
{
    if (entity.state_ != Entity::State::runnable || &entity == running_)
        return;
    queue_.erase(entity);
    put(entity);
}

void RoundRobin::add(Entity& entity, Nanoseconds)
{
    if (entity.state_ != Entity::State::detached)
        return;
    entity.state_ = Entity::State::blocked;
    ++members_;
    publish();
}

void RoundRobin::remove(Entity& entity, Nanoseconds now)
{
    if (entity.state_ == Entity::State::detached)
        return;
    block(entity, now);
    entity.state_ = Entity::State::detached;
    --members_;
    publish();
}

void RoundRobin::wake(Entity& entity, Nanoseconds)
{
    if (entity.state_ != Entity::State::blocked)
        return;
    entity.state_ = Entity::State::runnable;
    weight_ += entity.parameters_.weight;
    append(entity);
    publish();
}

void RoundRobin::block(Entity& entity, Nanoseconds)
{
    if (entity.state_ != Entity::State::runnable)
        return;
    leave(entity);
    entity.yielded_ = false;
    entity.state_ = Entity::State::blocked;
    publish();
}

void RoundRobin::yield(Entity& entity, Nanoseconds)
{
    if (&entity == running_)  // one that waits has already let the others go first
        entity.yielded_ = true;
}

void RoundRobin::account(Entity&, Nanoseconds) {}

bool RoundRobin::must_switch(Nanoseconds now)
{
    if (queue_.empty())
        return false;
    return running_ == nullptr || running_->yielded_ || now - slice_start_ >= slice_;
}

Decision RoundRobin::pick_next(Nanoseconds now)
{
    if (must_switch(now)) {
        Entity& next = *queue_.all().first;
        queue_.erase(next);
        if (running_ != nullptr)
            append(*running_);
        running_ = &next;
        slice_start_ = now;
        publish();
    }
    if (running_ == nullptr)
        return {};
    running_->yielded_ = false;
    if (queue_.empty()) {
        slice_start_ = now;  // nobody waited: whoever comes next waits for one slice at most
        bool const alone = pool_ == nullptr || pool_->cpus().without(cpu_).empty();
        return {running_, alone ? no_deadline : saturating_add(now, saturating_multiply(slice_, 4))};
    }
    return {running_, saturating_add(now, slice_ - (now - slice_start_))};
}

Result<void> RoundRobin::set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds)
{
    if (entity.state_ == Entity::State::detached)
        return Fail{Error::not_found};
    PVN_CHECK(check(parameters));
    if (entity.state_ == Entity::State::runnable)
        weight_ = weight_ - entity.parameters_.weight + parameters.weight;
    entity.parameters_ = parameters;
    publish();
    return {};
}

// --- Several CPUs: only the lengths of the queues count ---

void RoundRobin::publish()
{
    if (pool_ == nullptr)
        return;
    QueueSummary::Reading shown{.members = members_, .runnable = runnable(), .weight = weight_};
    shown.waiting_cpus = queue_.all().elsewhere & pool_->cpus().without(cpu_);
    shown.waiting = shown.waiting_cpus.empty() ? 0 : queue_.movers();
    pool_->queue(cpu_).write(shown);
}

// A queue takes from one that is longer by two; for equal shares where the numbers do not come out even, whoever has waited
// longest would have to go round all CPUs, and this policy is to stay plain.
Wish RoundRobin::wish(Nanoseconds)
{
    if (runnable() == 0)
        return {.kind = Wish::Kind::anything};
    return {.kind = Wish::Kind::longer, .runnable = runnable() + 2};
}

Entity* RoundRobin::give(Cpu to, Wish const& wish, MayMove may_move, Nanoseconds)
{
    if (wish.kind == Wish::Kind::nothing || pool_ == nullptr || !pool_->cpus().has(to))
        return nullptr;
    Waiting::Search search{to, may_move};
    if (wish.kind == Wish::Kind::longer) {
        if (runnable() < wish.runnable)
            return nullptr;
        search.limit = Place{1, 0};  // nobody against its soft affinity
    }
    queue_.look_for(search, [&](Entity const& entity) { return VirtualTime{entity.affinity_.soft.has(to) ? 0U : 1U}; });
    Entity* const best = search.found;
    if (best == nullptr)
        return nullptr;
    leave(*best);
    best->yielded_ = false;
    best->state_ = Entity::State::detached;
    --members_;
    publish();
    return best;
}

void RoundRobin::receive(Entity& entity, Nanoseconds now)
{
    add(entity, now);
    wake(entity, now);
}

}  // namespace pvn::sched
