// SPDX-License-Identifier: MIT
// However many vCPUs want to run on a processor, interrupts are not kept off for long: all 16,000 that there can be spin, or give way at once
// whenever they run, or sleep and wake all at the same moments, some of them warped, for as long as they like or for a while.  Those that sleep
// and warp do so beside whoever comes after them.  The time from every entry into the hypervisor to the return to whichever guest is looked up
// in the trace (`latency`), while dom0 waits beside them, and in what it does to their domains.
#include "runners.hpp"

char const guest_name[] = "latency_runnable";

void guest_main()
{
    static constexpr guest::runners::Way ways[] = {{"beside those that give way", gives_way, PVN_SCHED_YIELD},
                                                   {"beside those that sleep", sleeps, PVN_SCHED_POLL},
                                                   {"beside those that sleep and warp", sleeps, PVN_SCHED_POLL, 1'000'000'000},
                                                   {"beside those that may warp", spins, 0, 1000},
                                                   {"beside those that warp and give way", gives_way, PVN_SCHED_YIELD, 1000},
                                                   {"beside those that warp for a while", spins, 0, 2'000'000'000, 10'000, 20'000'000},
                                                   {"beside those that spin", spins, 0}};
    guest::runners::measure_beside(ways);
}
