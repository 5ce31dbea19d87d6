// SPDX-License-Identifier: MIT
// The vCPU page and the domain page are the guest's memory.  Random words are written over all of both, again and again, while
// hypercalls, traps and timer events use them: each domain goes on or ends, and the hypervisor serves the witness beside them.
#include "hostile.hpp"

char const guest_name[] = "hostile_vcpu_page";

void guest_main()
{
    guest::install_traps();
    guest::set_handler([](guest::Registers&) {});
    auto const number = guest::option("case");
    if (number == 0) {  // the witness
        for (auto const end = guest::now() + 3000000000; guest::now() < end;) (void)hypercall(PVN_SCHED_YIELD);
        return;
    }
    guest::Random random{0x9e3779b97f4a7c15 * number};
    guest::arm_timer(1000000);
    auto* const vcpu_words = reinterpret_cast<std::uint64_t volatile*>(PVN_SLOT_VCPU_PAGE);
    auto* const domain_words = reinterpret_cast<std::uint64_t volatile*>(PVN_SLOT_DOMAIN_PAGE);
    for (unsigned round = 0; round < 3000; ++round) {
        for (unsigned i = 0; i < 512; ++i) {
            vcpu_words[i] = random.next();
            domain_words[i] = random.next();
        }
        if (number >= 3 || round % 4 != 0) guest::install_traps();  // two domains soon end by a bad handler, the others go on
        if (number >= 3 || round % 8 > 4) guest::vcpu().event_mask = 1;
        (void)hypercall(PVN_VCPU_SET_TIMER, guest::now() + 1000);
        (void)hypercall(PVN_EVENT_UNMASK, 1);
        (void)hypercall(PVN_EVENT_BIND_IPI, 0);
        (void)hypercall(PVN_EVENT_SEND, random.below(8));
        (void)hypercall(PVN_EVENT_CLOSE, 2 + random.below(6));
        (void)hypercall(PVN_SCHED_YIELD);
        if (number % 2 == 0 || round % 64 == 63) (void)guest::catch_trap([] { asm volatile("ud2"); });
    }
    guest::finish();
}
