// SPDX-License-Identifier: MIT
// Which vCPU each CPU runs: carries out what the policy (sched/) decides.
#pragma once

#include <cstdint>
#include <string_view>

#include "domain/vcpu.hpp"
#include "lib/lock.hpp"
#include "lib/result.hpp"

namespace pvn {
struct Domain;
struct PerCpu;
}

namespace pvn::schedule {

// At boot, before any vCPU is made: the policy of that name, or the first one.
void initialise(std::string_view policy);
void add(Vcpu&);                 // known to the policy; offline
Result<void> start(Vcpu&);       // offline -> runnable.  busy: it is not offline; invalid: it has no context yet
Result<void> stop(Vcpu&);        // -> offline, where it was; a caller that stops itself goes on when it is started.  invalid: offline
void remove(Vcpu&);              // for good; it is not active
void block(Vcpu&);               // waits for wake(), unless an event is pending
void poll(Vcpu&, std::uint64_t deadline);  // waits for one of its poll_ports or that system time (0: none), unless one is pending
void wake(Vcpu&);                // does nothing unless it is blocked
void wake_poller(Vcpu&);         // the same, if one of the ports that it polls is pending
void yield(Vcpu&);
void domain_changed(Domain&);    // paused, unpaused, shut down, dying.  No lock is held: interrupts are let in after each vCPU
void wait_until_inactive(Domain&);  // of a domain that may not run; no lock is held
void wait_until_inactive(Vcpu const&);
Result<void> set_parameters(Vcpu&, pvn_sched_parameters const&);
sched::Parameters parameters(Vcpu&);
std::uint64_t cpu_time(Vcpu&);   // ns

// invalid: no CPU of its pool is in it.
Result<void> set_affinity(Vcpu&, sched::Affinity const&);
// After its domain has changed the pool.
void send_where_it_may_be(Vcpu&);
void fill_info(Vcpu&, pvn_vcpu_info&);
void fill_info(PerCpu const&, pvn_cpu_info&);
LockStatistics run_queue_locks();

void set_timer(Vcpu&, std::uint64_t deadline);  // of the running one
void timer_fired();

// For what takes long, in a hypercall and with no lock held.
void let_interrupts_in();

// The CPU looks at its queue, or its vCPU at its events, as soon as may be.
void kick(PerCpu&);
// The vCPU is to hear of its events, wherever it is active.
void notify(Vcpu&);

// Picks who runs next if that is in question, waits while there is nobody, and loads it.
void choose();
// The first guest starts; the boot stack is left for good.
[[noreturn]] void run();

}  // namespace pvn::schedule
