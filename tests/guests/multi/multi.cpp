// SPDX-License-Identifier: MIT
// A batch does its calls in order, each whatever came of the others, and says of each what came of it.
#include "guest.hpp"

char const guest_name[] = "multi";

void guest_main()
{
    guest::install_traps();
    pvn_call calls[64]{};
    auto const list = reinterpret_cast<std::uint64_t>(calls);
    std::uint64_t const numbers[] = {PVN_SYSTEM_VERSION, 0x1234, PVN_EVENT_CLOSE, PVN_MULTI, PVN_SCHED_SHUTDOWN, PVN_SCHED_BLOCK, PVN_SCHED_POLL,
                                     PVN_SCHED_WAIT, PVN_VCPU_DOWN, PVN_VCPU_QUERY, PVN_EVENT_ALLOC, PVN_EVENT_BIND_DOMAIN, PVN_SYSTEM_VERSION};
    std::int64_t const results[] = {PVN_ABI_VERSION, -PVN_E_NOT_IMPLEMENTED, -PVN_E_NOT_FOUND, -PVN_E_INVALID, -PVN_E_INVALID, -PVN_E_INVALID,
                                    -PVN_E_INVALID, -PVN_E_INVALID, -PVN_E_INVALID, PVN_RUNSTATE_RUNNING, 1, 2, PVN_ABI_VERSION};
    for (unsigned i = 0; i < 13; ++i) calls[i].number = numbers[i], calls[i].result = 77;
    calls[2].argument[0] = 900;
    calls[11].argument[1] = 1;  // the port that the call before it made
    CHECK_EQUAL(hypercall(PVN_MULTI, list, 13), 0);
    for (unsigned i = 0; i < 13; ++i) CHECK_EQUAL(calls[i].result, results[i]);

    for (auto& call : calls) call = {PVN_SYSTEM_VERSION, 0, {}};
    CHECK_EQUAL(hypercall(PVN_MULTI, list, 64), 0);
    CHECK_EQUAL(calls[63].result, PVN_ABI_VERSION);
    CHECK_EQUAL(hypercall(PVN_MULTI, list, 65), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MULTI, list + 4, 1), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MULTI, 0, 0), 0);
    CHECK_EQUAL(hypercall(PVN_MULTI, 0x1000, 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_MULTI, PVN_SLOT_TEXT, 1), -PVN_E_BAD_ADDRESS);
}
