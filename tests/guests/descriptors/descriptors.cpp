// SPDX-License-Identifier: MIT
// A guest sets its own descriptors and debug registers, but none that names another ring or watches the slot.
#include "guest.hpp"

char const guest_name[] = "descriptors";

extern "C" char at_break[];
static std::uint64_t watched;

void guest_main()
{
    guest::install_traps();
    constexpr std::uint64_t data = 0x00cff2000000ffff;  // present, DPL 3, data, writable, flat
    auto const set = [](std::uint64_t index, std::uint64_t d) { return hypercall(PVN_VCPU_SET_DESCRIPTOR, index, d); };
    for (std::uint64_t i = PVN_GDT_FIRST_OWN; i <= PVN_GDT_LAST_OWN; ++i) CHECK_EQUAL(set(i, data), 0);
    for (std::uint64_t const i : {0ull, 2ull, 11ull, 16ull, 1ull << 32 | 12}) CHECK_EQUAL(set(i, data), -PVN_E_INVALID);
    CHECK_EQUAL(set(12, data & ~(3ull << 45)), -PVN_E_INVALID);  // DPL 0
    CHECK_EQUAL(set(12, (data & ~(3ull << 45)) | 1ull << 45), -PVN_E_INVALID);
    CHECK_EQUAL(set(12, data | 1ull << 43), -PVN_E_INVALID);     // code
    CHECK_EQUAL(set(12, data & ~(1ull << 44)), -PVN_E_INVALID);  // a system descriptor
    asm volatile("mov %w0, %%fs" : : "r"(12 * 8 + 3));  // the refused ones changed nothing
    CHECK_EQUAL(set(13, 0), 0);
    auto const gone = guest::catch_trap([] { asm volatile("mov %w0, %%fs" : : "r"(13 * 8 + 3)); });
    CHECK_EQUAL(gone.vector, 13);
    CHECK_EQUAL(gone.error, 13u * 8);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_USER_GS, 12 * 8 + 3), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_USER_GS, 13 * 8 + 3), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_USER_GS, PVN_KERNEL_SS), -PVN_E_INVALID);

    // Debug registers.
    auto const debug = [](std::uint64_t n, std::uint64_t v) { return hypercall(PVN_VCPU_SET_DEBUG, n, v); };
    for (std::uint64_t const v : {std::uint64_t{PVN_SLOT_BASE}, std::uint64_t{PVN_SLOT_VCPU_PAGE}, std::uint64_t{PVN_SLOT_END - 1}, std::uint64_t{0x0000800000000000}})
        for (std::uint64_t n = 0; n < 4; ++n) CHECK_EQUAL(debug(n, v), -PVN_E_INVALID);
    CHECK_EQUAL(debug(7, 1 << 13), -PVN_E_INVALID);          // general detect
    CHECK_EQUAL(debug(7, 1 | 2 << 16), -PVN_E_INVALID);      // I/O
    for (std::uint64_t const n : {4ull, 5ull, 8ull}) CHECK_EQUAL(debug(n, 0), -PVN_E_INVALID);

    std::uint64_t place;
    asm volatile("lea at_break(%%rip), %0" : "=r"(place));
    CHECK_EQUAL(debug(0, place), 0);
    CHECK_EQUAL(debug(1, reinterpret_cast<std::uint64_t>(&watched)), 0);
    CHECK_EQUAL(debug(7, 1 | 4 | 1 << 20 | 3 << 22), 0);  // 0: execution; 1: writes of 4 bytes
    auto caught = guest::catch_trap([] { asm volatile(".global at_break\nat_break: nop"); });
    CHECK_EQUAL(caught.vector, 1);
    CHECK_EQUAL(caught.rip, place);
    CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 6) & 15, 1);
    CHECK_EQUAL(debug(6, 0), 0);
    caught = guest::catch_trap([] { *const_cast<std::uint64_t volatile*>(&watched) = 3; });
    CHECK_EQUAL(caught.vector, 1);
    CHECK_EQUAL(watched, 3u);
    CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 6) & 15, 2);
    CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 0), static_cast<long>(place));
    CHECK_EQUAL(debug(7, 0), 0);
    watched = 4;
}
