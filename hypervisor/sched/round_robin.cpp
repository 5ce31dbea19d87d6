// SPDX-License-Identifier: MIT
#include "sched/round_robin.hpp"

namespace pvn::sched {

void RoundRobin::add(Entity& entity, Nanoseconds)
{
    if (entity.state_ == Entity::State::detached)
        entity.state_ = Entity::State::blocked;
}

void RoundRobin::remove(Entity& entity, Nanoseconds now)
{
    block(entity, now);
    entity.state_ = Entity::State::detached;
}

void RoundRobin::wake(Entity& entity, Nanoseconds)
{
    if (entity.state_ != Entity::State::blocked)
        return;
    entity.state_ = Entity::State::runnable;
    queue_.append(entity);
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
    }
    if (running_ == nullptr)
        return {};
    running_->yielded_ = false;
    if (queue_.empty()) {
        slice_start_ = now;  // nobody waited: whoever comes next waits for one slice at most
        return {running_, no_deadline};
    }
    return {running_, saturating_add(now, slice_ - (now - slice_start_))};
}

Result<void> RoundRobin::set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds)
{
    if (entity.state_ == Entity::State::detached)
        return Fail{Error::not_found};
    PVN_CHECK(check(parameters));
    entity.parameters_ = parameters;
    return {};
}

}  // namespace pvn::sched
