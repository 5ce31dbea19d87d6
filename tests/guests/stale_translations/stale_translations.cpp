// SPDX-License-Identifier: MIT
// What other CPUs remember of page tables can hurt nobody.  Two vCPUs write to a page without end, through their own TLBs; meanwhile
// the page becomes a page table, or is given back, without the guest ever asking for a flush.  After the promotion not one
// more store may arrive; after it was given back, the frame that takes its place is never written.  And a flush that is asked for is
// done when the call returns.
#include "smp.hpp"

char const guest_name[] = "stale_translations";

namespace {

constexpr std::uint64_t address = 0x10000000;
std::uint64_t writes[64], faults[64];
std::uint64_t volatile& word(std::uint64_t n) { return *reinterpret_cast<std::uint64_t volatile*>(address + n * 8); }

extern "C" char write_word[], write_word_end[];
asm(R"(
.pushsection .text
.global write_word, write_word_end
write_word:
    mov %rsi, (%rdi)
write_word_end:
    ret
.popsection
)");

// A store that may fault; the handler steps over it.
void try_to_write(std::uint64_t volatile* to, std::uint64_t value)
{
    asm volatile("call write_word" : : "D"(to), "S"(value) : "memory", "cc");
}

void on_trap(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, 14u);
    CHECK_EQUAL(r.rip, reinterpret_cast<std::uint64_t>(write_word));
    r.rip = reinterpret_cast<std::uint64_t>(write_word_end);
    __atomic_fetch_add(&faults[guest::vcpu().vcpu_id], 1, __ATOMIC_SEQ_CST);
}

[[noreturn]] void writer(std::uint64_t number)
{
    guest::install_traps();
    for (std::uint64_t i = 2;; i += 2) {  // bit 0 clear: an entry that is not present
        try_to_write(&word(number), i);
        __atomic_fetch_add(&writes[number], 1, __ATOMIC_SEQ_CST);
    }
}

// Everybody has tried again since.
void let_all_write(std::uint64_t count)
{
    for (std::uint64_t n = 1; n < count; ++n) {
        auto const before = guest::load(writes[n]);
        guest::wait_until([&] { return guest::load(writes[n]) >= before + 3; });
    }
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(on_trap);
    auto const count = guest::start().vcpus;
    CHECK(count >= 3);
    auto* const page = static_cast<std::uint64_t*>(guest::allocate_page());
    auto const pfn = guest::pfn_of(page);
    CHECK_EQUAL(guest::map_user(address, pfn, 3), 0);
    auto const entry = guest::entry_of(address);
    for (std::uint64_t n = 1; n < count; ++n) guest::start_secondary(n, [](std::uint64_t number) { writer(number); });
    let_all_write(count);
    CHECK_EQUAL(guest::protect(page, false), 0);

    auto const mapped = guest::p2m()[pfn] * 4096;
    for (int round = 0; round < 20; ++round) {
        // Writable, and in everybody's TLB.
        CHECK_EQUAL(guest::write_entry(entry, mapped | 3), 0);
        let_all_write(count);
        // No longer, but they may not know; then a page table.
        CHECK_EQUAL(guest::write_entry(entry, mapped | 1), 0);
        CHECK_EQUAL(guest::promote(pfn, 1), 0);
        std::uint64_t seen[64];
        for (std::uint64_t n = 0; n < 64; ++n) seen[n] = page[n];
        let_all_write(count);
        for (std::uint64_t n = 0; n < 64; ++n) CHECK_EQUAL(page[n], seen[n]);
        CHECK_EQUAL(guest::demote(pfn), 0);
    }

    // Given back while it is in their TLBs: the next owner of the frame sees zeroes.
    for (int round = 0; round < 10; ++round) {
        auto const frame = guest::p2m()[pfn];
        CHECK_EQUAL(guest::write_entry(entry, frame * 4096 | 3), 0);
        let_all_write(count);
        CHECK_EQUAL(guest::write_entry(entry, 0), 0);
        auto const mirror = guest::entry_of(reinterpret_cast<std::uint64_t>(page));
        CHECK_EQUAL(guest::write_entry(mirror, 0), 0);
        std::uint64_t list[1] = {pfn};
        CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, reinterpret_cast<std::uint64_t>(list), 1), 1);
        CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, reinterpret_cast<std::uint64_t>(list), 1), 1);
        CHECK_EQUAL(guest::write_entry(mirror, guest::p2m()[pfn] * 4096 | 1), 0);
        CHECK_EQUAL(hypercall(PVN_MMU_INVALIDATE_PAGE, reinterpret_cast<std::uint64_t>(page)), 0);
        let_all_write(count);
        for (std::uint64_t n = 0; n < 64; ++n) CHECK_EQUAL(page[n], 0u);
    }

    // A flush of others that was asked for.
    auto* const other = static_cast<std::uint64_t*>(guest::allocate_page());
    for (int round = 0; round < 10; ++round) {
        CHECK_EQUAL(guest::write_entry(entry, guest::p2m()[guest::pfn_of(other)] * 4096 | 3), 0);
        CHECK_EQUAL(hypercall(PVN_MMU_FLUSH_VCPUS, (std::uint64_t{1} << count) - 2, address), 0);
        let_all_write(count);
        for (std::uint64_t n = 1; n < count; ++n) CHECK(other[n] != 0);
        CHECK_EQUAL(guest::write_entry(entry, 0), 0);
        CHECK_EQUAL(hypercall(PVN_MMU_FLUSH_VCPUS, (std::uint64_t{1} << count) - 2, PVN_MMU_FLUSH_ALL), 0);
        for (std::uint64_t n = 0; n < 64; ++n) other[n] = 0;
        let_all_write(count);
        for (std::uint64_t n = 0; n < 64; ++n) CHECK_EQUAL(other[n], 0u);
    }
    CHECK_EQUAL(hypercall(PVN_MMU_FLUSH_VCPUS, std::uint64_t{1} << 63, 0), count == 64 ? 0 : -PVN_E_NOT_FOUND);
    for (std::uint64_t n = 1; n < count; ++n) CHECK(guest::load(faults[n]) != 0);
    for (std::uint64_t n = 1; n < count; ++n) CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, n), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
}
