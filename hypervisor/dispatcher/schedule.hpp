// SPDX-License-Identifier: MIT
// Which vCPU this CPU runs: carries out what the policy (sched/) decides.
#pragma once

#include <cstdint>

#include "domain/vcpu.hpp"
#include "lib/result.hpp"

namespace pvn {
struct Domain;
}

namespace pvn::schedule {

void initialise();
char const* policy_name();
void add(Vcpu&);                 // known to the policy; offline
void start(Vcpu&);               // offline -> runnable
void remove(Vcpu&);              // for good
void block(Vcpu&);               // waits for wake()
void wake(Vcpu&);                // does nothing unless it is blocked
void yield(Vcpu&);
void domain_changed(Domain&);    // paused, unpaused, shut down
Result<void> set_parameters(Vcpu&, pvn_sched_parameters const&);

void set_timer(Vcpu&, std::uint64_t deadline);
void timer_fired();

// Picks who runs next if that is in question, waits while there is nobody, and loads it.
void choose();
// The first guest starts; the boot stack is left for good.
[[noreturn]] void run();

}  // namespace pvn::schedule
