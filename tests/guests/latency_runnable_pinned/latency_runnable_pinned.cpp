// SPDX-License-Identifier: MIT
// As `latency_runnable`, with another processor that looks for work, while all that want to run are pinned to this one, or to several of which
// this is the only one in the pool.  The other sleeps, so the clock counts the instructions of this one.
#include "runners.hpp"

char const guest_name[] = "latency_runnable_pinned";

void guest_main()
{
    static constexpr guest::runners::Way ways[] = {{"beside those that give way, pinned", gives_way, PVN_SCHED_YIELD, 0, 0, 0, 1},
                                                   {"beside those that sleep and warp, pinned", sleeps, PVN_SCHED_POLL, 1'000'000'000, 0, 0, 1},
                                                   {"beside those that warp, pinned to several", spins, 0, 1000, 0, 0, 1 | 1 << 5},
                                                   {"beside those that spin, pinned to several", spins, 0, 0, 0, 0, 1 | 1 << 5},
                                                   {"beside those that spin, pinned", spins, 0, 0, 0, 0, 1}};
    guest::runners::measure_beside(ways);
}
