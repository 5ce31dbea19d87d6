// SPDX-License-Identifier: MIT
// No frame may be a page table and mapped writable at once, at any level and by any way in: that is what all memory safety rests on.
// Each attempt is refused with the documented error, and the entry it would have changed stays as it was.
#include "hostile.hpp"

char const guest_name[] = "hostile_page_table_writable";

namespace {

constexpr std::uint64_t base = 0x40000000;

std::uint64_t mfn(void const* page) { return guest::p2m()[guest::pfn_of(page)]; }

void* table(unsigned level)
{
    auto* const page = guest::allocate_page();
    CHECK_EQUAL(guest::protect(page, false), 0);
    CHECK_EQUAL(guest::promote(guest::pfn_of(page), level), 0);
    return page;
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    CHECK_EQUAL(guest::map_user(base, guest::pfn_of(guest::allocate_page()), 7), 0);
    auto const leaf = guest::entry_of(base + 0x1000);
    CHECK_EQUAL(guest::read_entry(leaf), 0u);

    for (unsigned level = 1; level <= 4; ++level) {
        auto* const page = table(level);
        // Its own mapping, and a second alias.
        auto const own = guest::entry_of(reinterpret_cast<std::uint64_t>(page));
        auto const before = guest::read_entry(own);
        CHECK_EQUAL(guest::write_entry(own, before | 2), -PVN_E_WRONG_TYPE);
        CHECK_EQUAL(guest::write_entry(own, before | 2, PVN_MMU_KEEP_AD), -PVN_E_WRONG_TYPE);
        CHECK_EQUAL(hypercall(PVN_MMU_UPDATE_VA, reinterpret_cast<std::uint64_t>(page), before | 2, 0), -PVN_E_WRONG_TYPE);
        CHECK_EQUAL(guest::read_entry(own) & 2, 0u);
        CHECK_EQUAL(guest::read_entry(own) | 0x60, before | 0x60);
        for (auto const flags : {3u, 7u, 0x13u, 0x83u})
            CHECK_EQUAL(guest::write_entry(leaf, mfn(page) * 4096 | flags), -PVN_E_WRONG_TYPE);
        // As the emulated store, in every form that is emulated: the store is the guest's own page fault.
        auto* const entry = reinterpret_cast<std::uint64_t volatile*>(guest::start().virtual_base + leaf);
        auto const wanted = mfn(page) * 4096 | 3;
        CHECK_EQUAL(guest::catch_trap([&] { *entry = wanted; }).vector, 14);
        CHECK_EQUAL(guest::catch_trap([&] { asm volatile("xchg %0, %1" : : "r"(wanted), "m"(*entry) : "memory"); }).vector, 14);
        CHECK_EQUAL(guest::catch_trap([&] { asm volatile("lock orq %0, %1" : : "r"(wanted), "m"(*entry) : "memory"); }).vector, 14);
        CHECK_EQUAL(guest::catch_trap([&] { asm volatile("lock cmpxchg %1, %2" : : "a"(0ul), "r"(wanted), "m"(*entry) : "memory"); }).vector, 14);
        CHECK_EQUAL(guest::read_entry(leaf), 0u);
        // A read-only alias is fine, and cannot become writable bit by bit.
        CHECK_EQUAL(guest::write_entry(leaf, mfn(page) * 4096 | 1), 0);
        CHECK_EQUAL(guest::catch_trap([&] { asm volatile("lock btsq $1, %0" : "+m"(*entry) : : "memory"); }).vector, 14);
        CHECK_EQUAL(guest::catch_trap([&] { asm volatile("lock orq $2, %0" : "+m"(*entry) : : "memory"); }).vector, 14);
        CHECK_EQUAL(guest::read_entry(leaf) & ~0x60ul, mfn(page) * 4096 | 1);
        CHECK_EQUAL(guest::write_entry(leaf, 0), 0);
        // Nor at another level.
        for (unsigned other = 1; other <= 4; ++other)
            CHECK_EQUAL(guest::promote(guest::pfn_of(page), other), other == level ? -PVN_E_EXISTS : -PVN_E_WRONG_TYPE);
    }

    // A page that is mapped writable, once or by an alias, does not become a table, and stays writable.
    auto* const page = static_cast<std::uint64_t volatile*>(guest::allocate_page());
    for (unsigned level = 1; level <= 4; ++level) CHECK_EQUAL(guest::promote(guest::pfn_of(const_cast<std::uint64_t*>(page)), level), -PVN_E_WRONG_TYPE);
    auto* const plain = const_cast<std::uint64_t*>(page);
    CHECK_EQUAL(guest::write_entry(leaf, mfn(plain) * 4096 | 3), 0);
    CHECK_EQUAL(guest::protect(plain, false), 0);
    CHECK_EQUAL(guest::promote(guest::pfn_of(plain), 1), -PVN_E_WRONG_TYPE);
    *reinterpret_cast<std::uint64_t volatile*>(base + 0x1000) = 7;
    CHECK_EQUAL(page[0], 7u);
    CHECK_EQUAL(guest::write_entry(leaf, 0), 0);
    // Now only its contents are wrong: an entry for a frame that is not ours.
    CHECK_EQUAL(guest::promote(guest::pfn_of(plain), 1), -PVN_E_RANGE);
    CHECK_EQUAL(guest::protect(plain, true), 0);
    page[0] = 0;
    CHECK_EQUAL(guest::protect(plain, false), 0);
    CHECK_EQUAL(guest::promote(guest::pfn_of(plain), 1), 0);
}
