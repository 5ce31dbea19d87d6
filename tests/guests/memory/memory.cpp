// SPDX-License-Identifier: MIT
// An unprivileged domain gives frames back and gets others: zeroed, counted, in P2M and M2P; a frame in use cannot be given away.
#include "guest.hpp"

char const guest_name[] = "memory";

void guest_main()
{
    guest::install_traps();
    CHECK_EQUAL(guest::start().flags & PVN_START_PRIVILEGED, 0u);
    auto const query = [] {
        pvn_memory_info info{};
        CHECK_EQUAL(hypercall(PVN_MEMORY_QUERY, reinterpret_cast<std::uint64_t>(&info)), 0);
        return info;
    };
    auto const before = query();
    CHECK_EQUAL(before.frames, guest::start().frames);
    CHECK_EQUAL(before.limit, before.frames);
    CHECK_EQUAL(before.host_free, 0u);
    CHECK_EQUAL(before.p2m_frames, guest::domain().p2m_frames);

    auto* const page = static_cast<std::uint64_t*>(guest::allocate_page());
    page[7] = 0xfeed;
    std::uint64_t pfns[2] = {guest::pfn_of(page), before.p2m_frames};
    auto const list = reinterpret_cast<std::uint64_t>(pfns);
    CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, list, 1), -PVN_E_BUSY);  // mapped
    CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, list, 1), -PVN_E_EXISTS);
    auto const entry = guest::entry_of(reinterpret_cast<std::uint64_t>(page));
    CHECK_EQUAL(guest::write_entry(entry, 0), 0);
    std::uint64_t const thrice[] = {pfns[0], pfns[0], pfns[0]};
    CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, reinterpret_cast<std::uint64_t>(thrice), 3), 1);
    CHECK_EQUAL(query().frames, before.frames - 1);
    CHECK_EQUAL(guest::p2m()[pfns[0]], PVN_NO_FRAME);
    CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, list, 1), -PVN_E_RANGE);
    CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, list, 2), 1);
    CHECK_EQUAL(query().frames, before.frames);
    auto const mfn = guest::p2m()[pfns[0]];
    CHECK_EQUAL(guest::m2p()[mfn], pfns[0]);
    CHECK_EQUAL(guest::write_entry(entry, mfn * 4096 | 3), 0);
    for (unsigned i = 0; i < 512; ++i) CHECK_EQUAL(page[i], 0u);

    CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, reinterpret_cast<std::uint64_t>(pfns + 1), 1), -PVN_E_RANGE);
    CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, list + 4, 1), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, 0x1000, 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, list, 0), 0);
    CHECK_EQUAL(hypercall(PVN_MEMORY_QUERY, 0x1000), -PVN_E_BAD_ADDRESS);
    // What the machine has is none of its business.
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), -PVN_E_DENIED);
    CHECK_EQUAL(hypercall(PVN_MEMORY_MAP_FOREIGN, list), -PVN_E_DENIED);
}
