// SPDX-License-Identifier: MIT
#include "sched/round_robin.hpp"

namespace pvn::sched {

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
    queue_.append(entity);
    publish();
}

void RoundRobin::block(Entity& entity, Nanoseconds)
{
    if (entity.state_ != Entity::State::runnable)
        return;
    if (&entity == running_)
        running_ = nullptr;
    else
        queue_.remove(entity);
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

bool RoundRobin::must_switch(Nanoseconds now) const
{
    if (queue_.empty())
        return false;
    return running_ == nullptr || running_->yielded_ || now - slice_start_ >= slice_;
}

Decision RoundRobin::pick_next(Nanoseconds now)
{
    if (must_switch(now)) {
        Entity& next = *queue_.first();
        queue_.remove(next);
        if (running_ != nullptr)
            queue_.append(*running_);
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
    entity.parameters_ = parameters;
    publish();
    return {};
}

// --- Several CPUs: only the lengths of the queues count ---

void RoundRobin::publish()
{
    if (pool_ == nullptr)
        return;
    QueueSummary::Reading shown{.members = members_, .runnable = runnable()};
    if (running_ != nullptr)
        shown.weight = running_->parameters_.weight;
    for (Entity const* entity = somebody_looks() ? queue_.first() : nullptr; entity != nullptr; entity = entity->next()) {
        shown.weight += entity->parameters_.weight;
        CpuMask const cpus = elsewhere(*entity);
        if (cpus.empty())
            continue;
        ++shown.waiting;
        shown.waiting_cpus = shown.waiting_cpus | cpus;
    }
    pool_->queue(cpu_).write(shown);
}

// A queue takes from one that is longer by two; for equal shares where the numbers do not come out even, whoever has waited
// longest would have to go round all CPUs, and this policy is to stay plain.
Wish RoundRobin::wish(Nanoseconds) const
{
    if (runnable() == 0)
        return {.kind = Wish::Kind::anything};
    return {.kind = Wish::Kind::longer, .runnable = runnable() + 2};
}

Entity* RoundRobin::give(Cpu to, Wish const& wish, MayMove may_move, Nanoseconds)
{
    if (wish.kind == Wish::Kind::nothing || pool_ == nullptr)
        return nullptr;
    Entity* best = nullptr;
    bool best_is_liked = false;
    for (Entity* entity = queue_.first(); entity != nullptr; entity = entity->next()) {
        bool const liked = entity->affinity_.soft.has(to);
        if (!elsewhere(*entity).has(to) || !may_move(*entity) || (best != nullptr && (best_is_liked || !liked)))
            continue;
        best = entity;
        best_is_liked = liked;
    }
    if (best == nullptr || (wish.kind == Wish::Kind::longer && (runnable() < wish.runnable || !best_is_liked)))
        return nullptr;
    queue_.remove(*best);
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
