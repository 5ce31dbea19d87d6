// SPDX-License-Identifier: MIT
#include "dispatcher/schedule.hpp"

#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "arch/x86/cpu_setup.hpp"
#include "arch/x86/slot_addresses.hpp"
#include "console/log.hpp"
#include "dispatcher/deadlines.hpp"
#include "dispatcher/notify.hpp"
#include "dispatcher/pools.hpp"
#include "dispatcher/run_queue.hpp"
#include "dispatcher/standstill.hpp"
#include "domain/domain.hpp"
#include "interrupts/local_apic.hpp"
#include "memory/free_frames.hpp"
#include "sched/balance.hpp"
#include "time/clock.hpp"
#include "trace/trace.hpp"
#include "traps/deliver.hpp"
#include "watchdog/watchdog.hpp"

namespace pvn::schedule {
namespace {

Vcpu& vcpu_of(sched::Entity& entity) { return reinterpret_cast<Vcpu&>(entity); }
Vcpu const& vcpu_of(sched::Entity const& entity) { return reinterpret_cast<Vcpu const&>(entity); }
static_assert(offsetof(Vcpu, entity) == 0);

// The running entity's time up to now is charged before the policy is asked anything.
std::uint64_t charge(RunQueue& queue) PVN_REQUIRES(queue.lock)
{
    auto const now = clock::now();
    if (queue.running != nullptr && now > queue.accounted_until) {
        auto const ran = now - queue.accounted_until;
        queue.policy->account(queue.running->entity, ran);
        queue.running->cpu_time += ran;
    }
    queue.accounted_until = std::max(now, queue.accounted_until);
    return queue.accounted_until;
}

// It is idle from now on, unless somebody else is picked soon.
void nobody_runs(RunQueue& queue, std::uint64_t now) PVN_REQUIRES(queue.lock)
{
    queue.running = nullptr;
    queue.idle_since = now;
}

// Run-state times of the guest's own view.
void enter_state(Vcpu& vcpu, std::uint32_t state, std::uint64_t now)
{
    auto& run = vcpu.page->runstate;
    auto const version = __atomic_load_n(&run.version, __ATOMIC_RELAXED) | 1;
    __atomic_store_n(&run.version, version, __ATOMIC_RELEASE);
    vcpu.state_time[vcpu.run_state] += now - vcpu.state_since;
    for (std::size_t i = 0; i < vcpu.state_time.size(); ++i) run.time[i] = vcpu.state_time[i];
    vcpu.run_state = state;
    vcpu.state_since = now;
    run.state = state;
    run.since = now;
    __atomic_store_n(&run.version, version + 1, __ATOMIC_RELEASE);
}

bool queued(Vcpu const& vcpu) { return vcpu.entity.state() == sched::Entity::State::runnable; }

std::uint64_t next_deadline(RunQueue& queue) PVN_REQUIRES(queue.lock);

// Mostly whoever runs here goes on when another wakes, only not for as long as without it: then there is nothing to choose.
bool runs_on_beside(RunQueue& queue, Vcpu const& woken, std::uint64_t now) PVN_REQUIRES(queue.lock)
{
    auto const& self = this_cpu();
    if (woken.home != self.id || self.reschedule) return false;
    auto const left = queue.policy->may_go_on(woken.entity, now);
    if (left == 0) return false;
    if (auto const until = sched::saturating_add(now, left); until < queue.slice_end) {
        queue.slice_end = until;
        clock::program(next_deadline(queue));
    }
    if (auto const helper = sched::balance::helper(pools::of(self.id), self.id)) kick(*all_cpus[*helper]);
    return true;
}

// Puts the policy's idea of a vCPU in line with ours.
void update(RunQueue& queue, Vcpu& vcpu) PVN_REQUIRES(queue.lock)
{
    if (vcpu.entity.state() == sched::Entity::State::detached) return;  // on its way to another home, or gone
    bool const wanted = vcpu.state == VcpuState::runnable && vcpu.domain->runnable();
    if (wanted == queued(vcpu)) return;
    auto const now = charge(queue);
    if (wanted) {
        queue.policy->wake(vcpu.entity, now);
        enter_state(vcpu, PVN_RUNSTATE_RUNNABLE, now);
        if (runs_on_beside(queue, vcpu, now)) return;
    } else {
        queue.policy->block(vcpu.entity, now);
        enter_state(vcpu, vcpu.state == VcpuState::offline ? PVN_RUNSTATE_OFFLINE : PVN_RUNSTATE_BLOCKED, now);
        if (queue.running != &vcpu) return;
        nobody_runs(queue, now);
    }
    kick(*all_cpus[vcpu.home]);  // even if it is not switched, its slice may become shorter
}

void update(Vcpu& vcpu)
{
    LockedHome const home{vcpu};
    auto& queue = *home;
    queue.lock.assert_held();
    update(queue, vcpu);
}

// --- Homes -----------------------------------------------------------------------------------------------------------
// A vCPU moves in two steps, with one queue locked at a time: it leaves the old one, and belongs to the new one from then on; then it
// arrives there.  In between its entity is detached, and whoever changes the vCPU's state meanwhile only changes that.

bool may_be_on(Vcpu const& vcpu, std::uint32_t cpu) { return sched::balance::may_be_on(pools::of(vcpu), vcpu.entity.affinity(), cpu); }

void put_into(Vcpu*& list, Vcpu& vcpu)
{
    vcpu.home_next = list;
    vcpu.home_link = &list;
    if (list != nullptr) list->home_link = &vcpu.home_next;
    list = &vcpu;
}

void take_out(Vcpu& vcpu)
{
    *vcpu.home_link = vcpu.home_next;
    if (vcpu.home_next != nullptr) vcpu.home_next->home_link = vcpu.home_link;
}

void note_unwelcome(RunQueue& queue, Vcpu& vcpu) PVN_REQUIRES(queue.lock)
{
    put_into(queue.unwelcome, vcpu);
    auto& cpu = *all_cpus[vcpu.home];
    cpu.send_away = true;
    kick(cpu);
}

// After its affinity or pool has changed.
void send_away_if_unwelcome(RunQueue& queue, Vcpu& vcpu) PVN_REQUIRES(queue.lock)
{
    if (vcpu.entity.state() == sched::Entity::State::detached || may_be_on(vcpu, vcpu.home)) return;  // enter() looks at who is on his way
    take_out(vcpu);
    note_unwelcome(queue, vcpu);
}

void enter(RunQueue& queue, Vcpu& vcpu) PVN_REQUIRES(queue.lock)
{
    if (may_be_on(vcpu, vcpu.home))
        put_into(queue.welcome, vcpu);
    else
        note_unwelcome(queue, vcpu);
    deadlines::file(queue, vcpu);
}

void leave(RunQueue& queue, Vcpu& vcpu) PVN_REQUIRES(queue.lock)
{
    take_out(vcpu);
    deadlines::forget(queue, vcpu);
}

void leave_home(RunQueue& queue, Vcpu& vcpu) PVN_REQUIRES(queue.lock)
{
    leave(queue, vcpu);
    queue.policy->remove(vcpu.entity, charge(queue));
}

// Whoever moved it on meanwhile finishes.
void arrive(Vcpu& vcpu, std::uint32_t cpu)
{
    auto& queue = queues[cpu];
    Guard const guard{queue.lock};
    if (vcpu.home.load() != cpu || vcpu.entity.state() != sched::Entity::State::detached) return;
    enter(queue, vcpu);
    queue.policy->add(vcpu.entity, charge(queue));
    update(queue, vcpu);
}

// Makes a vCPU that is not running runnable, on the CPU where it can run soonest.
void make_runnable(Vcpu& vcpu, VcpuState from)
{
    auto target = no_cpu;
    {
        LockedHome const home{vcpu};
        auto& queue = *home;
        queue.lock.assert_held();
        if (vcpu.state != from) return;
        bool const timed = vcpu.poll_deadline != 0;
        vcpu.poll_count = 0;
        vcpu.poll_deadline = 0;
        vcpu.state = VcpuState::runnable;
        if (vcpu.entity.state() == sched::Entity::State::detached) return;
        if (timed) deadlines::file(queue, vcpu);
        trace::note(PVN_TRACE_WAKE, vcpu.domain->id.raw(), vcpu.id.raw());
        target = vcpu.active == no_cpu ? sched::balance::place(pools::of(vcpu), vcpu.entity, vcpu.home) : vcpu.home.load();
        if (target == vcpu.home) return update(queue, vcpu);
        leave_home(queue, vcpu);
        vcpu.home = target;
    }
    arrive(vcpu, target);
}

// Takes work over from another CPU, if the policy thinks that this one should have it.
void take_over()
{
    auto const self = this_cpu().id;
    if (pools::of(self).cpus().without(self).empty()) return;
    auto& own = queues[self];
    std::optional<sched::balance::Source> source;
    {
        Guard const guard{own.lock};
        source = sched::balance::wanted(*own.policy, charge(own));
    }
    if (!source) return;
    sched::Entity* entity = nullptr;
    {
        auto& queue = queues[source->cpu];
        Guard const guard{queue.lock};
        auto const may_move = [](sched::Entity const& e) { return vcpu_of(e).active == no_cpu; };
        entity = queue.policy->give(self, source->wish, may_move, charge(queue));
        if (entity == nullptr) return;
        auto& vcpu = vcpu_of(*entity);
        leave(queue, vcpu);
        vcpu.home = self;
    }
    auto& vcpu = vcpu_of(*entity);
    trace::note(PVN_TRACE_MOVE, vcpu.domain->id.raw(), vcpu.id.raw());
    Guard const guard{own.lock};
    enter(own, vcpu);
    own.policy->receive(*entity, charge(own));
    update(own, vcpu);  // it may have been paused meanwhile
}

// --- Timers ----------------------------------------------------------------------------------------------------------

std::uint64_t next_deadline(RunQueue& queue) PVN_REQUIRES(queue.lock)
{
    return std::min({queue.slice_end, watchdog::next_look(), deadlines::next(queue)});
}

// Not too many at once, however many have chosen the same moment: the interrupt comes again for the others.
void look_at_some(std::uint64_t now)
{
    constexpr int at_once = 8;
    auto& queue = queues[this_cpu().id];
    for (int looks = 0; looks < at_once; ++looks) {
        deadlines::Look found;
        {
            Guard const guard{queue.lock};
            found = deadlines::look(queue, now);
        }
        if (found.vcpu == nullptr) return;
        if (found.due == deadlines::Due::timer) event::raise_vcpu_virq(*found.vcpu, PVN_VIRQ_TIMER);
        if (found.due == deadlines::Due::poll) wake(*found.vcpu);
    }
}

void put_away(Vcpu& vcpu);

// vCPUs that may not be here any more, because of affinity or pool or because this CPU is to run none, find another home.  Not too many at once:
// true if there may be more.
bool send_some_away()
{
    constexpr int at_once = 8;
    auto& self = this_cpu();
    auto& queue = queues[self.id];
    if (auto* const current = self.current.load(); current != nullptr && current->active == self.id && !may_be_on(*current, self.id)) put_away(*current);
    for (int sent = 0; sent < at_once; ++sent) {
        Vcpu* found = nullptr;
        auto target = no_cpu;
        {
            Guard const guard{queue.lock};
            found = queue.unwelcome;
            if (found != nullptr && may_be_on(*found, self.id)) {  // again
                take_out(*found);
                put_into(queue.welcome, *found);
                continue;
            }
            if (found == nullptr && (self.parked || queue.moving)) found = queue.welcome;
            if (found == nullptr) return false;
            target = sched::balance::choose_home(pools::of(*found), found->entity.affinity());
            auto const now = charge(queue);
            if (queue.running == found) enter_state(*found, PVN_RUNSTATE_RUNNABLE, now);
            leave_home(queue, *found);
            if (queue.running == found) nobody_runs(queue, now);
            found->home = target;
        }
        arrive(*found, target);
    }
    return true;
}

// The queue begins anew in its new pool, once nobody has his home here.
void change_pool()
{
    auto& self = this_cpu();
    auto& queue = queues[self.id];
    Guard const guard{queue.lock};
    if (queue.welcome != nullptr || queue.unwelcome != nullptr) return;  // somebody came late; enter() has asked for another round
    queue.policy.start(pools::kind_of(self.id), {}, pools::of(self.id), self.id);
    queue.moving = false;
}

bool any_poll_port_pending(Vcpu const& vcpu)
{
    for (std::uint32_t i = 0; i + 1 < vcpu.poll_count; ++i)
        if (event::is_pending(event::pages_of(*vcpu.domain), Port{vcpu.poll_ports[i]})) return true;
    return false;
}

// The vCPU's registers go from the CPU to where others can see them.
void put_away(Vcpu& vcpu)
{
    traps::sanitise(entry_registers());
    cpu::save(vcpu);
    vcpu.loaded_on = this_cpu().id;
    vcpu.active.store(no_cpu, std::memory_order_release);
}

void take_up(Vcpu& vcpu)
{
    auto& self = this_cpu();
    // If nobody else had the CPU, and nobody changed its context, everything is in place.
    if (self.current != &vcpu || vcpu.loaded_on != self.id) cpu::load(vcpu);
    clock::publish(vcpu);
}

}  // namespace

void initialise(std::string_view policy)
{
    auto const kind = sched::policy_kind(policy);
    if (!kind && !policy.empty()) log("there is no scheduling policy {}", policy);
    pools::initialise(kind.value_or(sched::policy_names[0].kind));
}

void add(Vcpu& vcpu)
{
    auto const cpu = sched::balance::choose_home(pools::of(vcpu), vcpu.entity.affinity());
    vcpu.home = cpu;
    arrive(vcpu, cpu);
}

Result<void> start(Vcpu& vcpu)
{
    if (vcpu.root.raw() == 0) return Fail{Error::invalid};
    {
        LockedHome const home{vcpu};
        if (vcpu.state != VcpuState::offline) return Fail{Error::busy};
    }
    make_runnable(vcpu, VcpuState::offline);
    return {};
}

Result<void> stop(Vcpu& vcpu)
{
    LockedHome const home{vcpu};
    auto& queue = *home;
    queue.lock.assert_held();
    if (vcpu.state == VcpuState::offline) return Fail{Error::invalid};
    vcpu.state = VcpuState::offline;
    update(queue, vcpu);
    enter_state(vcpu, PVN_RUNSTATE_OFFLINE, clock::now());
    return {};
}

void remove(Vcpu& vcpu)
{
    for (;;) {
        LockedHome const home{vcpu};
        auto& queue = *home;
        queue.lock.assert_held();
        vcpu.state = VcpuState::offline;
        if (vcpu.entity.state() == sched::Entity::State::detached) continue;  // on its way: whoever moves it is about to take this lock
        leave_home(queue, vcpu);
        return;
    }
}

void block(Vcpu& vcpu)
{
    {
        LockedHome const home{vcpu};
        auto& queue = *home;
        queue.lock.assert_held();
        if (vcpu.state != VcpuState::runnable) return;
        vcpu.state = VcpuState::blocked;
        update(queue, vcpu);
    }
    // Who raises an event sets the bit first and looks at the state then; here it is the other way round.
    if (__atomic_load_n(&vcpu.page->event_pending, __ATOMIC_SEQ_CST) != 0) wake(vcpu);
}

void poll(Vcpu& vcpu, std::uint64_t deadline)
{
    {
        LockedHome const home{vcpu};
        auto& queue = *home;
        queue.lock.assert_held();
        if (vcpu.state != VcpuState::runnable) return;
        vcpu.poll_deadline = deadline;
        if (deadline != 0) deadlines::file(queue, vcpu);
        vcpu.state = VcpuState::blocked;
        update(queue, vcpu);
    }
    if (any_poll_port_pending(vcpu)) wake(vcpu);
}

void wake(Vcpu& vcpu) { make_runnable(vcpu, VcpuState::blocked); }

void wake_poller(Vcpu& vcpu)
{
    bool pending = false;
    {
        LockedHome const home{vcpu};
        pending = vcpu.state == VcpuState::blocked && any_poll_port_pending(vcpu);
    }
    if (pending) wake(vcpu);
}

void yield(Vcpu& vcpu)
{
    LockedHome const home{vcpu};
    auto& queue = *home;
    queue.lock.assert_held();
    queue.policy->yield(vcpu.entity, charge(queue));
    this_cpu().reschedule = true;
}

void domain_changed(Domain& domain)
{
    for (auto* const vcpu : domain.all_vcpus()) {
        update(*vcpu);
        let_interrupts_in();
    }
}

Result<void> set_affinity(Vcpu& vcpu, sched::Affinity const& affinity)
{
    LockedHome const home{vcpu};
    auto& queue = *home;
    queue.lock.assert_held();
    if ((affinity.hard & pools::of(vcpu).cpus()).empty()) return Fail{Error::invalid};
    queue.policy->set_affinity(vcpu.entity, affinity);
    send_away_if_unwelcome(queue, vcpu);
    return {};
}

void send_where_it_may_be(Vcpu& vcpu)
{
    LockedHome const home{vcpu};
    auto& queue = *home;
    queue.lock.assert_held();
    send_away_if_unwelcome(queue, vcpu);
}

void fill_info(Vcpu& vcpu, pvn_vcpu_info& info)
{
    LockedHome const home{vcpu};
    info.vcpu = vcpu.id.raw();
    info.state = vcpu.run_state;
    info.cpu = vcpu.home;
    for (std::size_t i = 0; i < vcpu.state_time.size(); ++i) info.time[i] = vcpu.state_time[i];
    auto const now = clock::now();
    info.time[vcpu.run_state] += now > vcpu.state_since ? now - vcpu.state_since : 0;
    info.hard_affinity = vcpu.entity.affinity().hard.bits();
    info.soft_affinity = vcpu.entity.affinity().soft.bits();
    info.hypercalls = vcpu.hypercalls;
    info.traps = vcpu.traps;
    info.interrupts = vcpu.interrupts;
    info.emulated = vcpu.emulated;
}

void fill_info(PerCpu const& cpu, pvn_cpu_info& info)
{
    auto& queue = queues[cpu.id];
    Guard const guard{queue.lock};
    info.cpu = cpu.id;
    info.apic_id = cpu.apic_id;
    info.flags = static_cast<std::uint16_t>((cpu.parked ? 0u : PVN_CPU_ONLINE) | (queue.running != nullptr ? PVN_CPU_BUSY : 0u));
    info.pool = static_cast<std::uint16_t>(queue.pool);
    if (queue.running != nullptr) {
        info.domain = queue.running->domain->id.raw();
        info.vcpu = static_cast<std::uint16_t>(queue.running->id.raw());
    }
    info.homes = queue.policy->members();
    info.runnable = queue.policy->runnable();
    auto const now = clock::now();
    info.idle_time = queue.idle_time + (queue.running == nullptr && now > queue.idle_since ? now - queue.idle_since : 0);
    info.switches = queue.switches;
    info.guest_exits = cpu.stay.exits;
}

LockStatistics run_queue_locks()
{
    LockStatistics sum{};
    for (std::uint32_t cpu = 0; cpu < cpu_count; ++cpu) sum += queues[cpu].lock.statistics();
    return sum;
}

void wait_until_inactive(Vcpu const& vcpu)
{
    while (vcpu.active.load(std::memory_order_acquire) != no_cpu) cpu::pause();
}

void wait_until_inactive(Domain& domain)
{
    for (auto* const vcpu : domain.all_vcpus()) wait_until_inactive(*vcpu);
}

Result<void> set_parameters(Vcpu& vcpu, pvn_sched_parameters const& request)
{
    auto const parameters = PVN_TRY(sched::parameters_from(request));
    for (;;) {
        LockedHome const home{vcpu};
        auto& queue = *home;
        queue.lock.assert_held();
        if (vcpu.entity.state() == sched::Entity::State::detached && !vcpu.domain->dying) continue;  // on its way to another home
        PVN_CHECK(queue.policy->set_parameters(vcpu.entity, parameters, charge(queue)));
        kick(*all_cpus[vcpu.home]);
        return {};
    }
}

sched::Parameters parameters(Vcpu& vcpu)
{
    LockedHome const home{vcpu};
    return vcpu.entity.parameters();
}

std::uint64_t cpu_time(Vcpu& vcpu)
{
    LockedHome const home{vcpu};
    auto& queue = *home;
    queue.lock.assert_held();
    charge(queue);
    return vcpu.cpu_time;
}

void set_timer(Vcpu& vcpu, std::uint64_t deadline)
{
    {
        LockedHome const home{vcpu};
        auto& queue = *home;
        queue.lock.assert_held();
        deadlines::set_timer(queue, vcpu, deadline);
        if (deadline == 0 || deadline > clock::now()) return clock::program(next_deadline(queue));
    }
    look_at_some(clock::now());
    auto& queue = queues[this_cpu().id];
    Guard const guard{queue.lock};
    clock::program(next_deadline(queue));  // the next look, which the guest has been shown
}

void timer_fired()
{
    clock::timer_came();
    watchdog::look();
    auto const now = clock::now();
    look_at_some(now);
    auto& self = this_cpu();
    auto& queue = queues[self.id];
    Guard const guard{queue.lock};
    if (now >= queue.slice_end) {
        self.reschedule = true;
        queue.slice_end = sched::no_deadline;  // or the timer would fire again at once, for ever in let_interrupts_in(), before choose() is come to
    }
    clock::program(next_deadline(queue));
}

void let_interrupts_in()
{
    cpu::let_interrupts_in();
    trace::note(PVN_TRACE_WINDOW);
}

void kick(PerCpu& cpu)
{
    bool const asked_already = cpu.reschedule.exchange(true);
    if (asked_already || cpu.id == this_cpu().id) return;
    // Elsewhere in the hypervisor it looks before it goes on.
    if (cpu.stay.in_guest || cpu.idle) local_apic::interrupt(cpu.apic_id);
}

void notify(Vcpu& vcpu)
{
    auto const active = vcpu.active.load();
    if (active == no_cpu || active == this_cpu().id) return;
    if (all_cpus[active]->stay.in_guest) local_apic::interrupt(all_cpus[active]->apic_id);
}

void choose()
{
    auto& self = this_cpu();
    auto& queue = queues[self.id];
    while (self.reschedule.exchange(false)) {
        Vcpu* next = nullptr;
        bool loaded = false;
        standstill::stand_if_asked();
        if (self.send_away.exchange(false) || self.parked || queue.moving)
            while (send_some_away()) {
                let_interrupts_in();
                self.stay.count_exit();  // nothing is held here
            }
        if (queue.moving) change_pool();
        if (!self.parked && !queue.moving) take_over();
        {
            Guard const guard{queue.lock};
            auto const now = charge(queue);
            auto const decision = queue.policy->pick_next(now);
            next = decision.entity != nullptr ? &vcpu_of(*decision.entity) : nullptr;
            if (queue.running != next) {
                if (queue.running != nullptr) enter_state(*queue.running, PVN_RUNSTATE_RUNNABLE, now);
                if (next != nullptr) enter_state(*next, PVN_RUNSTATE_RUNNING, now);
                if (queue.running == nullptr) queue.idle_time += now - queue.idle_since;
                if (next == nullptr) queue.idle_since = now;
                queue.running = next;
                ++queue.switches;
                if (next != nullptr) trace::note(PVN_TRACE_SWITCH, next->domain->id.raw(), next->id.raw());
            }
            // Whoever blocked was put off the CPU where that happened, which may have been another one.
            if (next == nullptr && !queue.traced_idle) trace::note(PVN_TRACE_SWITCH, 0xffff);
            queue.traced_idle = next == nullptr;
            // Before anybody else can find that it may not run any more: from here on nobody takes it elsewhere.
            loaded = next == nullptr || next->active == self.id;
            if (next != nullptr) next->active = self.id;
            queue.slice_end = next == nullptr ? sched::no_deadline : decision.until;
            clock::program(next_deadline(queue));
        }
        auto* const current = self.current.load();
        if (current != nullptr && current != next && current->active == self.id) put_away(*current);
        if (auto const helper = sched::balance::helper(pools::of(self.id), self.id)) kick(*all_cpus[*helper]);
        if (next != nullptr) {
            if (!loaded) take_up(*next);
            continue;
        }
        // Idle: interrupts are let in only here.
        self.idle = true;
        while (free_frames::clear_some(self.reschedule) && !self.reschedule) {
            cpu::let_interrupts_in();
            self.stay.count_exit();  // it holds nothing that it found before
        }
        if (!self.reschedule) cpu::halt_with_interrupts();
        self.idle = false;
        self.stay.count_exit();
        self.reschedule = true;
    }
}

void run()
{
    auto& self = this_cpu();
    self.reschedule = true;
    traps::leave();
    reinterpret_cast<void (*)()>(slot_addresses.leave_to_guest)();
    __builtin_unreachable();
}

}  // namespace pvn::schedule
