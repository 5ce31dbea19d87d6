// SPDX-License-Identifier: MIT
#include "dispatcher/schedule.hpp"

#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "arch/x86/cpu_setup.hpp"
#include "arch/x86/per_cpu.hpp"
#include "arch/x86/slot_addresses.hpp"
#include "dispatcher/notify.hpp"
#include "domain/domain.hpp"
#include "sched/bvt.hpp"
#include "time/clock.hpp"

namespace pvn::schedule {
namespace {

constinit sched::Bvt bvt{};
constexpr std::uint64_t never = ~std::uint64_t{0};

Vcpu& vcpu_of(sched::Entity& entity) { return reinterpret_cast<Vcpu&>(entity); }
static_assert(offsetof(Vcpu, entity) == 0);

// The running entity's time up to now is charged before the policy is asked anything.
std::uint64_t charge()
{
    auto const now = clock::now();
    auto& self = this_cpu();
    if (self.running != nullptr && now > self.accounted_until) {
        auto const ran = now - self.accounted_until;
        bvt.account(self.running->entity, ran);
        self.running->cpu_time += ran;
    }
    self.accounted_until = now;
    return now;
}

// Run-state times of the guest's own view.
void enter_state(Vcpu& vcpu, std::uint32_t state, std::uint64_t now)
{
    auto& run = vcpu.page->runstate;
    auto const version = __atomic_load_n(&run.version, __ATOMIC_RELAXED) | 1;
    __atomic_store_n(&run.version, version, __ATOMIC_RELEASE);
    if (vcpu.run_state < 4) run.time[vcpu.run_state] += now - vcpu.state_since;
    vcpu.run_state = state;
    vcpu.state_since = now;
    run.state = state;
    run.since = now;
    __atomic_store_n(&run.version, version + 1, __ATOMIC_RELEASE);
}

// Puts the policy's idea of a vCPU in line with ours.
void update(Vcpu& vcpu)
{
    bool const wanted = vcpu.state == VcpuState::runnable && vcpu.domain->runnable();
    bool const queued = vcpu.entity.state() == sched::Entity::State::runnable;
    if (wanted == queued) return;
    auto const now = charge();
    if (wanted) {
        bvt.wake(vcpu.entity, now);
        enter_state(vcpu, PVN_RUNSTATE_RUNNABLE, now);
        this_cpu().reschedule = true;  // even if it is not switched, its slice may become shorter
    } else {
        bvt.block(vcpu.entity, now);
        enter_state(vcpu, vcpu.state == VcpuState::offline ? PVN_RUNSTATE_OFFLINE : PVN_RUNSTATE_BLOCKED, now);
        if (this_cpu().running == &vcpu) {
            this_cpu().running = nullptr;
            this_cpu().reschedule = true;
        }
    }
}

std::uint64_t next_deadline()
{
    auto earliest = this_cpu().slice_end;
    for (auto* domain = domains::first_from(0); domain != nullptr; domain = domains::first_from(domain->id.raw() + 1u)) {
        if (domain->vcpu.timer != 0) earliest = std::min(earliest, domain->vcpu.timer);
        if (domain->vcpu.poll_deadline != 0) earliest = std::min(earliest, domain->vcpu.poll_deadline);
    }
    return earliest;
}

void fire_due(std::uint64_t now)
{
    for (auto* domain = domains::first_from(0); domain != nullptr; domain = domains::first_from(domain->id.raw() + 1u)) {
        auto& vcpu = domain->vcpu;
        if (vcpu.timer != 0 && vcpu.timer <= now) {
            vcpu.timer = 0;
            event::raise_vcpu_virq(vcpu, PVN_VIRQ_TIMER);
        }
        if (vcpu.poll_deadline != 0 && vcpu.poll_deadline <= now) {
            vcpu.poll_deadline = 0;
            wake(vcpu);
        }
    }
}

}  // namespace

void initialise() {}
char const* policy_name() { return bvt.name(); }

void add(Vcpu& vcpu) { bvt.add(vcpu.entity, charge()); }

void start(Vcpu& vcpu)
{
    if (vcpu.state != VcpuState::offline) return;
    vcpu.state = VcpuState::runnable;
    update(vcpu);
}

void remove(Vcpu& vcpu)
{
    vcpu.state = VcpuState::offline;
    update(vcpu);
    bvt.remove(vcpu.entity, charge());
    if (this_cpu().current == &vcpu) this_cpu().current = nullptr;
}

void block(Vcpu& vcpu)
{
    vcpu.state = VcpuState::blocked;
    update(vcpu);
}

void wake(Vcpu& vcpu)
{
    if (vcpu.state != VcpuState::blocked) return;
    vcpu.poll_count = 0;
    vcpu.poll_deadline = 0;
    vcpu.state = VcpuState::runnable;
    update(vcpu);
}

void yield(Vcpu& vcpu)
{
    auto const now = charge();
    bvt.yield(vcpu.entity, now);
    this_cpu().reschedule = true;
}

void domain_changed(Domain& domain) { update(domain.vcpu); }

Result<void> set_parameters(Vcpu& vcpu, pvn_sched_parameters const& request)
{
    auto const parameters = PVN_TRY(sched::parameters_from(request));
    auto const now = charge();
    PVN_CHECK(bvt.set_parameters(vcpu.entity, parameters, now));
    this_cpu().reschedule = true;
    return {};
}

void set_timer(Vcpu& vcpu, std::uint64_t deadline)
{
    vcpu.timer = deadline;
    auto const now = clock::now();
    if (deadline != 0 && deadline <= now) return fire_due(now);
    clock::program(next_deadline());
}

void timer_fired()
{
    auto const now = clock::now();
    fire_due(now);
    if (now >= this_cpu().slice_end) this_cpu().reschedule = true;
    clock::program(next_deadline());
}

void choose()
{
    auto& self = this_cpu();
    while (self.reschedule) {
        self.reschedule = false;
        auto const now = charge();
        auto const decision = bvt.pick_next(now);
        self.slice_end = decision.until == sched::no_deadline ? never : decision.until;
        clock::program(next_deadline());
        if (decision.entity == nullptr) {
            // Idle: interrupts are let in only here.
            cpu::halt_with_interrupts();
            self.reschedule = true;
            continue;
        }
        auto& next = vcpu_of(*decision.entity);
        if (self.running != nullptr && self.running != &next) enter_state(*self.running, PVN_RUNSTATE_RUNNABLE, now);
        if (self.current != &next) {
            if (self.current != nullptr) cpu::save(*self.current);
            cpu::load(next);
        }
        if (self.running != &next) {
            self.running = &next;
            enter_state(next, PVN_RUNSTATE_RUNNING, now);
            clock::publish(next);
        }
        self.accounted_until = clock::now();
    }
}

void run()
{
    this_cpu().reschedule = true;
    this_cpu().accounted_until = clock::now();
    choose();
    reinterpret_cast<void (*)()>(slot_addresses.leave_to_guest)();
    __builtin_unreachable();
}

}  // namespace pvn::schedule
