// SPDX-License-Identifier: MIT
// Two unprivileged domains share the CPU: each computes without ever giving it up and both come to an end, with time stolen from each.
#include "guest.hpp"

char const guest_name[] = "two_domains";

void guest_main()
{
    guest::install_traps();
    CHECK_EQUAL(guest::start().flags & PVN_START_PRIVILEGED, 0u);
    auto const& run = guest::vcpu().runstate;
    // Preempted 5 times: the other one ran meanwhile, without either having let go.
    int switches = 0;
    for (auto last = run.time[PVN_RUNSTATE_RUNNABLE]; switches < 5;) {
        auto const stolen = __atomic_load_n(&run.time[PVN_RUNSTATE_RUNNABLE], __ATOMIC_RELAXED);
        if (stolen != last) ++switches, last = stolen;
    }
    CHECK_EQUAL(guest::start().domain_id == 0, false);
    guest::print("shared the CPU\n");
}
