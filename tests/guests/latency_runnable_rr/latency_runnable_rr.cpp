// SPDX-License-Identifier: MIT
// As `latency_runnable_pinned`, by the round-robin policy.  None spins: dom0 would wait for the slices of all.
#include "runners.hpp"

char const guest_name[] = "latency_runnable_rr";

void guest_main()
{
    static constexpr guest::runners::Way ways[] = {{"beside those that give way, pinned", gives_way, PVN_SCHED_YIELD, 0, 0, 0, 1},
                                                   {"beside those that sleep, pinned", sleeps, PVN_SCHED_POLL, 0, 0, 0, 1},
                                                   {"beside those that give way, pinned to several", gives_way, PVN_SCHED_YIELD, 0, 0, 0, 1 | 1 << 5}};
    guest::runners::measure_beside(ways);
}
