// SPDX-License-Identifier: MIT
#include "dispatcher/deadlines.hpp"

#include <algorithm>

namespace pvn::schedule::deadlines {
namespace {

std::uint64_t first_of(Vcpu const& vcpu)
{
    auto const or_never = [](std::uint64_t deadline) { return deadline != 0 ? deadline : sched::no_deadline; };
    return std::min(or_never(vcpu.timer.look()), or_never(vcpu.poll_deadline));
}

// What the guest reads, to know when a look comes by itself.
void show_look(Vcpu& vcpu) { __atomic_store_n(&vcpu.page->timer_look, vcpu.timer.look(), __ATOMIC_RELAXED); }

// A vCPU whose guest moved its deadline away meanwhile is not due.
bool timer_is_due(Vcpu& vcpu, std::uint64_t now)
{
    if (vcpu.timer.look() == 0 || vcpu.timer.look() > now) return false;
    auto& page = *vcpu.page;
    bool const due = vcpu.timer.due(__atomic_load_n(&page.timer_deadline, __ATOMIC_RELAXED), __atomic_load_n(&page.timer_interval, __ATOMIC_RELAXED), now);
    if (due) __atomic_store_n(&page.timer_deadline, std::uint64_t{0}, __ATOMIC_RELAXED);
    show_look(vcpu);
    return due;
}

bool poll_is_over(Vcpu& vcpu, std::uint64_t now)
{
    if (vcpu.poll_deadline == 0 || vcpu.poll_deadline > now) return false;
    vcpu.poll_deadline = 0;
    return true;
}

}  // namespace

void file(RunQueue& queue, Vcpu& vcpu)
{
    auto const deadline = first_of(vcpu);
    bool const filed = queue.deadlines.holds(vcpu);
    if (filed && queue.deadlines.key(vcpu) == deadline) return;
    if (filed) queue.deadlines.erase(vcpu);
    if (deadline != sched::no_deadline) queue.deadlines.insert(vcpu, deadline);
}

void forget(RunQueue& queue, Vcpu& vcpu)
{
    if (queue.deadlines.holds(vcpu)) queue.deadlines.erase(vcpu);
}

std::uint64_t next(RunQueue const& queue)
{
    auto const* const vcpu = queue.deadlines.first();
    return vcpu != nullptr ? queue.deadlines.key(*vcpu) : sched::no_deadline;
}

Look look(RunQueue& queue, std::uint64_t now)
{
    auto* const vcpu = queue.deadlines.first();
    if (vcpu == nullptr || queue.deadlines.key(*vcpu) > now) return {};
    auto const due = timer_is_due(*vcpu, now) ? Due::timer : poll_is_over(*vcpu, now) ? Due::poll : Due::nothing;
    file(queue, *vcpu);
    return {vcpu, due};
}

void set_timer(RunQueue& queue, Vcpu& vcpu, std::uint64_t deadline)
{
    __atomic_store_n(&vcpu.page->timer_deadline, deadline, __ATOMIC_RELAXED);
    vcpu.timer.set(deadline);
    show_look(vcpu);
    file(queue, vcpu);
}

}  // namespace pvn::schedule::deadlines
