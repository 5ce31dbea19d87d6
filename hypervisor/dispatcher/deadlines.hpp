// SPDX-License-Identifier: MIT
// When a CPU has to look at one of the vCPUs of its run queue: at its timer, or because it polls only until then.
#pragma once

#include <cstdint>

#include "dispatcher/run_queue.hpp"

namespace pvn::schedule::deadlines {

// The vCPU has its home in the queue, and its timer or poll_deadline may have changed.
void file(RunQueue& queue, Vcpu&) PVN_REQUIRES(queue.lock);
// It leaves its home.
void forget(RunQueue& queue, Vcpu&) PVN_REQUIRES(queue.lock);

// System time of the next look; sched::no_deadline: there is none.
std::uint64_t next(RunQueue const& queue) PVN_REQUIRES(queue.lock);

enum class Due : std::uint8_t { nothing, timer, poll };
struct Look {
    Vcpu* vcpu = nullptr;  // null: the time of none has come
    Due due = Due::nothing;
};
// Looks at one whose time has come.  What is due then is so no more.
Look look(RunQueue& queue, std::uint64_t now) PVN_REQUIRES(queue.lock);

// The guest of the running vCPU asks for a look at a system time; 0: for none.
void set_timer(RunQueue& queue, Vcpu&, std::uint64_t deadline) PVN_REQUIRES(queue.lock);

}  // namespace pvn::schedule::deadlines
