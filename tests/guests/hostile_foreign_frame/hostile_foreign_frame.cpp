// SPDX-License-Identifier: MIT
// An unprivileged domain maps its own frames and no other: not another domain's, not the hypervisor's, not free ones, no device
// memory and nothing beyond.  Every frame of the machine is tried.
#include "hostile.hpp"

char const guest_name[] = "hostile_foreign_frame";

void guest_main()
{
    guest::install_traps();
    constexpr std::uint64_t base = 0x40000000;
    CHECK_EQUAL(guest::map_user(base, guest::pfn_of(guest::allocate_page()), 7), 0);
    auto const leaf = guest::entry_of(base + 0x1000);

    auto const frames = guest::domain().m2p_frames;
    CHECK(frames >= 0x1000);
    std::uint64_t own = 0, others = 0;
    for (std::uint64_t mfn = 0; mfn < frames; ++mfn) {
        bool mine = false;
        auto const pfn = guest::m2p()[mfn];
        if (pfn < guest::domain().p2m_frames) mine = guest::p2m()[pfn] == mfn;
        for (auto const flags : {1u, 3u}) {
            auto const got = guest::write_entry(leaf, mfn * 4096 | flags);
            if (mine) {
                if (got != 0) CHECK_EQUAL(got, -PVN_E_WRONG_TYPE);
                if (flags == 1) CHECK_EQUAL(got, 0);
                if (got == 0) CHECK_EQUAL(guest::write_entry(leaf, 0), 0);
            } else {
                CHECK_EQUAL(got, -PVN_E_RANGE);
            }
        }
        ++(mine ? own : others);
    }
    CHECK_EQUAL(own, guest::start().frames);
    CHECK(others > 0x1000);
    CHECK_EQUAL(guest::read_entry(leaf), 0u);

    // Device memory, and frames beyond all memory.
    for (auto const address : {0xb8000ul, 0xfec00000ul, 0xfee00000ul, 0xe0000000ul, 0xfffff000ul, 0x100000000ul, frames * 4096, 0xfffff0000ul})
        for (auto const flags : {1u, 3u, 0x1bu}) {
            CHECK_EQUAL(guest::write_entry(leaf, address | flags), -PVN_E_RANGE);
            CHECK_EQUAL(hypercall(PVN_MMU_UPDATE_VA, base + 0x1000, address | flags, 0), -PVN_E_RANGE);
            CHECK_EQUAL(hypercall(PVN_MMU_WRITE, leaf, address | flags, 0), -PVN_E_RANGE);
        }
    CHECK_EQUAL(guest::read_entry(leaf), 0u);

    // As a table, and as the name of a table.
    for (auto const pfn : {guest::domain().p2m_frames, guest::start().frames, frames, ~0ul, ~0ul / 4096, 1ul << 40, 1ul << 52}) {
        CHECK_EQUAL(guest::promote(pfn, 1), -PVN_E_RANGE);
        CHECK_EQUAL(guest::demote(pfn), -PVN_E_RANGE);
        CHECK_EQUAL(hypercall(PVN_MMU_SET_ROOT, pfn), -PVN_E_RANGE);
        std::uint64_t list = pfn;
        CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, reinterpret_cast<std::uint64_t>(&list), 1), -PVN_E_RANGE);
    }
    auto const upper = guest::entry_of(base, 2) + 8;
    for (std::uint64_t mfn = 0; mfn < frames; mfn += 61)
        if (auto const pfn = guest::m2p()[mfn]; pfn >= guest::domain().p2m_frames || guest::p2m()[pfn] != mfn)
            CHECK_EQUAL(guest::write_entry(upper, mfn * 4096 | 7), -PVN_E_RANGE);
    CHECK_EQUAL(guest::read_entry(upper), 0u);
}
