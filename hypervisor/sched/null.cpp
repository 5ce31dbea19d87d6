// SPDX-License-Identifier: MIT
#include "sched/null.hpp"

namespace pvn::sched {

void Null::add(Entity& entity, Nanoseconds)
{
    if (entity.state_ != Entity::State::detached)
        return;
    entity.state_ = Entity::State::blocked;
    ++members_;
    if (owner_ == nullptr)
        owner_ = &entity;
    publish();
}

void Null::remove(Entity& entity, Nanoseconds now)
{
    if (entity.state_ == Entity::State::detached)
        return;
    block(entity, now);
    entity.state_ = Entity::State::detached;
    --members_;
    if (&entity == owner_) {
        owner_ = waiting_.all().first;
        if (owner_ != nullptr)
            waiting_.erase(*owner_);
    }
    publish();
}

void Null::wake(Entity& entity, Nanoseconds)
{
    if (entity.state_ != Entity::State::blocked)
        return;
    entity.state_ = Entity::State::runnable;
    if (owner_ == nullptr)
        owner_ = &entity;
    entity.turn_ = ++turns_;
    if (&entity != owner_)
        waiting_.insert(entity, standing(entity, 0));
    publish();
}

void Null::block(Entity& entity, Nanoseconds)
{
    if (entity.state_ != Entity::State::runnable)
        return;
    if (&entity == owner_)
        running_ = false;
    else
        waiting_.erase(entity);
    entity.state_ = Entity::State::blocked;
    publish();
}

bool Null::must_switch(Nanoseconds)
{
    return !running_ && owner_ != nullptr && owner_->state_ == Entity::State::runnable;
}

Decision Null::pick_next(Nanoseconds now)
{
    running_ = running_ || must_switch(now);
    return running_ ? Decision{owner_, no_deadline} : Decision{};
}

Result<void> Null::set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds)
{
    if (entity.state_ == Entity::State::detached)
        return Fail{Error::not_found};
    PVN_CHECK(check(parameters));
    entity.parameters_ = parameters;
    return {};
}

// --- Several CPUs: an owned CPU counts as busy ---

void Null::publish()
{
    if (pool_ == nullptr)
        return;
    // An owner counts, asleep or not.
    QueueSummary::Reading shown{.members = members_, .runnable = waiting_.size() + (owner_ != nullptr ? 1U : 0U)};
    shown.waiting_cpus = waiting_.all().elsewhere & pool_->cpus().without(cpu_);
    shown.waiting = shown.waiting_cpus.empty() ? 0 : waiting_.movers();
    pool_->queue(cpu_).write(shown);
}

void Null::affinity_changed(Entity& entity)
{
    if (entity.state_ != Entity::State::runnable || &entity == owner_)
        return;
    waiting_.erase(entity);
    waiting_.insert(entity, standing(entity, 0));
}

Wish Null::wish(Nanoseconds)
{
    return {.kind = owner_ == nullptr ? Wish::Kind::anything : Wish::Kind::nothing};
}

Entity* Null::give(Cpu to, Wish const& wish, MayMove may_move, Nanoseconds)
{
    if (wish.kind != Wish::Kind::anything || pool_ == nullptr || !pool_->cpus().has(to))
        return nullptr;
    Waiting::Search search{to, may_move};
    waiting_.look_for(search, [](Entity const&) { return VirtualTime{0}; });
    if (search.found == nullptr)
        return nullptr;
    waiting_.erase(*search.found);
    search.found->state_ = Entity::State::detached;
    --members_;
    publish();
    return search.found;
}

void Null::receive(Entity& entity, Nanoseconds now)
{
    add(entity, now);
    wake(entity, now);
}

}  // namespace pvn::sched
