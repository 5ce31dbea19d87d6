// SPDX-License-Identifier: MIT
// A guest starts in ring 1 with events masked, on tables and a stack of its own, and start info that describes it.
#include "guest.hpp"

char const guest_name[] = "start";

void guest_main()
{
    auto const& info = guest::start();
    CHECK_EQUAL(info.magic, std::uint64_t{PVN_START_MAGIC});
    CHECK_EQUAL(info.abi_version, PVN_ABI_VERSION);
    std::uint64_t cs, ss;
    asm("mov %%cs, %0; mov %%ss, %1" : "=r"(cs), "=r"(ss));
    CHECK_EQUAL(cs & 0xffff, PVN_KERNEL_CS | 1);
    CHECK_EQUAL(ss & 0xfffc, 0u);
    CHECK(guest::vcpu().event_mask != 0);
    CHECK_EQUAL(guest::flags_register() & 0x200, 0x200u);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
    CHECK(info.frames > 0 && info.mapped_end_pfn >= info.first_free_pfn);
    for (auto pfn = info.start_info_pfn; pfn < info.mapped_end_pfn; ++pfn) CHECK_EQUAL(guest::m2p()[guest::p2m()[pfn]], pfn);
}
