// SPDX-License-Identifier: MIT
// What Paravane shows as its next look at the timer's deadline it keeps, also where no other interrupt comes: on one CPU, to a vCPU that
// is alone and does not give it up, and after a deadline that was over when it was told.  A kernel that believes what it is shown would
// lose its tick, and whoever runs then runs for ever.
#include "hostile.hpp"

char const guest_name[] = "timer_alone";

namespace {

constexpr std::uint64_t ms = 1000000, tick = 10 * ms;
std::uint64_t port;

bool pending() { return (__atomic_load_n(&guest::domain().event_pending[port / 64], __ATOMIC_SEQ_CST) >> port % 64 & 1) != 0; }
void clear() { __atomic_fetch_and(&guest::domain().event_pending[port / 64], ~(std::uint64_t{1} << port % 64), __ATOMIC_SEQ_CST); }

}  // namespace

void guest_main()
{
    guest::install_traps();
    auto volatile& page = guest::vcpu();
    page.event_mask = 1;
    port = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0));
    page.timer_interval = tick;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, 1), 0);
    CHECK(pending());
    for (unsigned i = 0; i < 5; ++i) {
        clear();
        auto const next = page.timer_look;
        CHECK(next != 0);
        page.timer_deadline = next;
        while (!pending()) CHECK(guest::now() < next + 5000 * ms);
        CHECK(guest::now() + 1000 >= next);
    }
}
