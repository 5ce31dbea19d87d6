// SPDX-License-Identifier: MIT
// The calls that divide processors into pools keep interrupts off no longer than others (`latency`), on a machine with as many domains and vCPUs as there can be.
// What the other processor does meanwhile is in these times: the clock counts the instructions of both.
#include "domains.hpp"
#include "latency.hpp"

char const guest_name[] = "latency_pools";

namespace {

using guest::bounded;
using guest::must;

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::prepare_bounds();
    guest::make_a_crowd(255);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_POOL_CREATE, PVN_SCHED_POLICY_BVT), 1);
    // The other processor clears what memory is free, and then sleeps: the count of instructions stands still between two calls.
    pvn_system_info before{}, after{};
    do {
        must(hypercall(PVN_SYSTEM_INFO, guest::in_memory(&before)));
        for (int i = 0; i < 1000; ++i) (void)hypercall(PVN_SYSTEM_VERSION);
        must(hypercall(PVN_SYSTEM_INFO, guest::in_memory(&after)));
    } while (after.uptime - before.uptime > 1000 * 400);
    // The other processor has half of the vCPUs, 8,000.  It sends them here eight at a time, and lets interrupts in between.
    must(hypercall(PVN_SYSTEM_TRACE, 1 << PVN_TRACE_WINDOW));
    must(hypercall(PVN_SYSTEM_POOL_TAKE_CPU, 1, 1));
    must(hypercall(PVN_SYSTEM_TRACE, 0));
    std::uint64_t windows = 0, last = 0;
    guest::for_each_record(1, [&](pvn_trace_record const& r) {
        CHECK(last == 0 || r.time - last < guest::longest);
        last = r.time;
        ++windows;
    });
    CHECK(windows > 1000);
    (void)guest::longest_stay();  // what this processor noted meanwhile
    must(hypercall(PVN_SYSTEM_POOL_TAKE_CPU, 0, 1));

    bounded(PVN_SYSTEM_SET_CPU, "off", [] { must(hypercall(PVN_SYSTEM_SET_CPU, 1, 0)); });
    bounded(PVN_SYSTEM_SET_CPU, "on", [] { must(hypercall(PVN_SYSTEM_SET_CPU, 1, 1)); });
    bounded(PVN_SYSTEM_POOL_TAKE_CPU, "", [] { must(hypercall(PVN_SYSTEM_POOL_TAKE_CPU, 1, 1)); });
    bounded(PVN_DOMAIN_TAKE_TO_POOL, "", [] { must(hypercall(PVN_DOMAIN_TAKE_TO_POOL, 7, 1)); });
    bounded(PVN_DOMAIN_TAKE_TO_POOL, "back", [] { must(hypercall(PVN_DOMAIN_TAKE_TO_POOL, 7, 0)); });
    bounded(PVN_SYSTEM_POOL_TAKE_CPU, "back", [] { must(hypercall(PVN_SYSTEM_POOL_TAKE_CPU, 0, 1)); });
    CHECK(guest::all_bounds_hold);
}
