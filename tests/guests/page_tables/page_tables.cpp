// SPDX-License-Identifier: MIT
// Direct paging as a ported kernel uses it: tables are promoted, linked, changed by hypercall or by a store that faults, switched and
// demoted again.  A store that Paravane carries out has the value and the status flags that the instruction has on bare metal.
#include "guest.hpp"

char const guest_name[] = "page_tables";

namespace {

struct Result { std::uint64_t flags, reg, rax; };

// `source` in RDX, RAX given; all status flags set before.
#define STORE(text)                                                                                                              \
    [](std::uint64_t* p, std::uint64_t source, std::uint64_t rax) {                                                              \
        Result r{0, source, rax};                                                                                                \
        asm volatile("pushfq; orq $0x8d5, (%%rsp); popfq\n" text "\npushfq; pop %0" : "=&r"(r.flags), "+d"(r.reg), "+a"(r.rax) \
                     : "D"(p) : "memory", "cc");                                                                                 \
        r.flags &= 0x8d5;                                                                                                        \
        return r;                                                                                                                \
    }
using Operation = Result (*)(std::uint64_t*, std::uint64_t, std::uint64_t);

}  // namespace

void guest_main()
{
    guest::install_traps();
    auto const mfn = [](void const* page) { return guest::p2m()[guest::pfn_of(page)]; };
    auto* const data = static_cast<std::uint64_t*>(guest::allocate_page());
    data[0] = 0x1234;
    constexpr std::uint64_t address = 0x10000000;
    CHECK_EQUAL(guest::map_user(address, guest::pfn_of(data), 7), 0);
    CHECK_EQUAL(*reinterpret_cast<std::uint64_t volatile*>(address), 0x1234u);

    // Leaf entries: by virtual address, with accessed and dirty kept or not.
    auto const entry = guest::entry_of(address);
    CHECK_EQUAL(guest::read_entry(entry) & 0x20, 0x20u);
    *reinterpret_cast<std::uint64_t volatile*>(address) = 0x1235;
    CHECK_EQUAL(guest::read_entry(entry) & 0x60, 0x60u);
    CHECK_EQUAL(guest::write_entry(entry, mfn(data) * 4096 | 5, PVN_MMU_KEEP_AD), 0);
    CHECK_EQUAL(guest::read_entry(entry), mfn(data) * 4096 | 0x65);
    auto const refused = guest::catch_trap([] { *reinterpret_cast<std::uint64_t volatile*>(address) = 1; });
    CHECK_EQUAL(refused.vector, 14);
    CHECK_EQUAL(refused.error, 3u);
    CHECK_EQUAL(hypercall(PVN_MMU_UPDATE_VA, address, mfn(data) * 4096 | 7, PVN_MMU_INVALIDATE), 0);
    CHECK_EQUAL(guest::read_entry(entry), mfn(data) * 4096 | 7);
    *reinterpret_cast<std::uint64_t volatile*>(address) = 0x1236;
    CHECK_EQUAL(data[0], 0x1236u);
    CHECK_EQUAL(hypercall(PVN_MMU_UPDATE_VA, address, 0, 0), 0);
    CHECK_EQUAL(guest::catch_trap([] { (void)*reinterpret_cast<std::uint64_t volatile*>(address); }).vector, 14);
    CHECK_EQUAL(hypercall(PVN_MMU_UPDATE_VA, address, 0, 4), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MMU_UPDATE_VA, PVN_SLOT_VCPU_PAGE, 0, 0), -PVN_E_BAD_ADDRESS);

    // Addresses that are none, with and without a flush.
    for (auto const none : {0x0000800000000000ul, 0xffff7fffffffffful, 0x8000000000000000ul}) {
        CHECK_EQUAL(hypercall(PVN_MMU_INVALIDATE_PAGE, none), -PVN_E_INVALID);
        for (auto const flags : {0ul, std::uint64_t{PVN_MMU_INVALIDATE}}) CHECK_EQUAL(hypercall(PVN_MMU_UPDATE_VA, none, 0, flags), -PVN_E_BAD_ADDRESS);
    }
    for (auto const any : {0ul, address, PVN_SLOT_BASE, 0xfffffffffffffffful}) CHECK_EQUAL(hypercall(PVN_MMU_INVALIDATE_PAGE, any), 0);
    CHECK_EQUAL(hypercall(PVN_MMU_FLUSH_VCPUS, std::uint64_t{1} << 63, PVN_MMU_FLUSH_ALL), -PVN_E_NOT_FOUND);

    // Within a batch, each call sees what the one before it has done to the tables above the entry.
    auto* const other_table = static_cast<std::uint64_t*>(guest::allocate_page());
    CHECK_EQUAL(guest::protect(other_table, false), 0);
    CHECK_EQUAL(guest::promote(guest::pfn_of(other_table), 1), 0);
    auto const above = guest::entry_of(address, 2);
    auto const first_table = guest::read_entry(above);
    constexpr std::uint64_t index = address >> 12 & 511;
    auto const marked = [&](std::uint64_t n) { return mfn(data) * 4096 | 5 | n << 9; };  // bits that are the guest's own
    pvn_call batch[] = {
        {PVN_MMU_UPDATE_VA, 77, {address, marked(1)}},
        {PVN_MMU_WRITE, 77, {above, mfn(other_table) * 4096 | 7}},
        {PVN_MMU_UPDATE_VA, 77, {address, marked(2)}},
        {PVN_MMU_WRITE, 77, {above, first_table}},
        {PVN_MMU_UPDATE_VA, 77, {address, marked(3)}},
        {PVN_MMU_WRITE, 77, {above, 0}},
        {PVN_MMU_UPDATE_VA, 77, {address, marked(4)}},
        {PVN_MMU_WRITE, 77, {above, first_table}},
    };
    CHECK_EQUAL(hypercall(PVN_MULTI, reinterpret_cast<std::uint64_t>(batch), 8), 0);
    for (unsigned i = 0; i < 8; ++i) CHECK_EQUAL(batch[i].result, i == 6 ? -PVN_E_BAD_ADDRESS : 0);
    CHECK_EQUAL(guest::read_entry(entry), marked(3));
    CHECK_EQUAL(other_table[index], marked(2));

    // The same by the place of the entry.
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, entry, mfn(data) * 4096 | 7, 0), 0);
    data[0] = 0;
    *reinterpret_cast<std::uint64_t volatile*>(address) = 0x1236;
    CHECK_EQUAL(data[0], 0x1236u);
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, entry, mfn(data) * 4096 | 5, PVN_MMU_KEEP_AD), 0);
    CHECK_EQUAL(guest::read_entry(entry), mfn(data) * 4096 | 0x65);
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, entry, 0, 2), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, entry, 0, 1ull << 32), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, entry + 4, 0, 0), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, ~7ull, 0, 0), -PVN_E_RANGE);
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, guest::pfn_of(data) * 4096, 0, 0), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, entry, guest::p2m()[guest::start().tables_pfn] * 4096 | 7, 0), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(guest::read_entry(entry), mfn(data) * 4096 | 0x65);
    CHECK_EQUAL(hypercall(PVN_MMU_WRITE, entry, 0, 0), 0);
    CHECK_EQUAL(guest::catch_trap([] { (void)*reinterpret_cast<std::uint64_t volatile*>(address); }).vector, 14);

    // Runs of neighbouring entries: all, or up to the first that is refused, and which that is.
    static std::uint64_t values[PVN_MMU_RUN_MAX];
    auto const run = [&](std::uint64_t at, std::uint32_t count, std::uint32_t flags = 0) {
        return pvn_mmu_op{PVN_MMU_OP_WRITE_RUN, flags, at, reinterpret_cast<std::uint64_t>(values), 7, count};
    };
    auto const submit = [](pvn_mmu_op& op) { return hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(&op), 1); };
    for (unsigned i = 0; i < PVN_MMU_RUN_MAX; ++i) values[i] = mfn(data) * 4096 | 7 | std::uint64_t{i} << 52;
    auto whole = run(entry, PVN_MMU_RUN_MAX);
    CHECK_EQUAL(submit(whole), 0);
    CHECK_EQUAL(whole.result, 7);
    for (unsigned i = 0; i < PVN_MMU_RUN_MAX; ++i) CHECK_EQUAL(guest::read_entry(entry + i * 8), values[i]);
    CHECK_EQUAL(guest::read_entry(entry + PVN_MMU_RUN_MAX * 8), 0u);
    for (unsigned i = 0; i < PVN_MMU_RUN_MAX; ++i) *reinterpret_cast<std::uint64_t volatile*>(address + i * 4096 + 8) = i;
    CHECK_EQUAL(data[1], PVN_MMU_RUN_MAX - 1u);
    for (auto& value : values) value = mfn(data) * 4096 | 5;
    auto kept = run(entry + 8, 2, PVN_MMU_KEEP_AD);
    CHECK_EQUAL(submit(kept), 0);
    CHECK_EQUAL(guest::read_entry(entry + 8), mfn(data) * 4096 | 0x65);
    CHECK_EQUAL(guest::read_entry(entry + 16), mfn(data) * 4096 | 0x65);
    CHECK_EQUAL(guest::read_entry(entry + 24), mfn(data) * 4096 | 0x67 | 3ull << 52);
    for (auto& value : values) value = 0;
    values[37] = guest::p2m()[guest::start().tables_pfn] * 4096 | 7;
    auto broken = run(entry, PVN_MMU_RUN_MAX);
    CHECK_EQUAL(submit(broken), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(broken.result, -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(broken.count, PVN_MMU_RUN_MAX - 37u);
    CHECK_EQUAL(broken.target, entry + 37 * 8);
    for (unsigned i = 0; i < PVN_MMU_RUN_MAX; ++i) CHECK_EQUAL((guest::read_entry(entry + i * 8) & 1), i < 37 ? 0u : 1u);
    values[37] = 0;
    CHECK_EQUAL(submit(broken), 0);
    for (unsigned i = 0; i < PVN_MMU_RUN_MAX; ++i) CHECK_EQUAL(guest::read_entry(entry + i * 8), 0u);

    // Stores to a level-1 table.  The entry is not present, so any value is the guest's to keep.
    auto* const table = reinterpret_cast<std::uint64_t*>(guest::start().virtual_base + entry);
    constexpr std::uint64_t top = 1ull << 63;
    struct { char const* name; Operation run; std::uint64_t old, source, rax, value, flags, reg, rax_after; } const stores[] = {
        {"mov", STORE("mov %%rdx, (%%rdi)"), 0, 0x1000, 5, 0x1000, 0x8d5, 0x1000, 5},
        {"mov immediate", STORE("movq $-0x1000, (%%rdi)"), 0, 3, 5, ~0xfffull, 0x8d5, 3, 5},
        {"xchg", STORE("xchg %%rdx, (%%rdi)"), 0x2000, 0x4000, 5, 0x4000, 0x8d5, 0x2000, 5},
        {"cmpxchg equal", STORE("lock cmpxchg %%rdx, (%%rdi)"), 0x2000, 0x4000, 0x2000, 0x4000, 0x44, 0x4000, 0x2000},
        {"cmpxchg below", STORE("lock cmpxchg %%rdx, (%%rdi)"), 0x2000, 0x4000, 0x1000, 0x2000, 0x85, 0x4000, 0x2000},
        {"cmpxchg overflow", STORE("lock cmpxchg %%rdx, (%%rdi)"), 0x10, 0x4000, top, 0x10, 0x804, 0x4000, 0x10},
        {"cmpxchg adjust", STORE("lock cmpxchg %%rdx, (%%rdi)"), 0x8, 0x4000, 0x10, 0x8, 0x10, 0x4000, 0x8},
        {"bts", STORE("lock btsq %%rdx, (%%rdi)"), 0x2000, 9, 5, 0x2200, 0x8d4, 9, 5},
        {"bts set", STORE("lock btsq $13, (%%rdi)"), 0x2000, 9, 5, 0x2000, 0x8d5, 9, 5},
        {"btr", STORE("lock btrq $13, (%%rdi)"), 0x2200, 9, 5, 0x200, 0x8d5, 9, 5},
        {"btc", STORE("lock btcq $13, (%%rdi)"), 0x200, 9, 5, 0x2200, 0x8d4, 9, 5},
        {"and", STORE("lock andq %%rdx, (%%rdi)"), 0x2200, ~0x2200ull, 5, 0, 0x44, ~0x2200ull, 5},
        {"and immediate", STORE("lock andq $-3, (%%rdi)"), top | 0x202, 9, 5, top | 0x200, 0x84, 9, 5},
        {"or", STORE("lock orq %%rdx, (%%rdi)"), 0x10, 0x200, 5, 0x210, 0, 0x200, 5},
        {"xor", STORE("xorq %%rdx, (%%rdi)"), 0x30, 0x10, 5, 0x20, 0, 0x10, 5},
    };
    for (auto const& s : stores) {
        CHECK_EQUAL(guest::write_entry(entry, s.old), 0);
        auto const r = s.run(table, s.source, s.rax);
        // BTS, BTR, BTC leave all but CF undefined or unchanged; AF is undefined after a logic operation.
        bool const logic = s.name[0] == 'a' || s.name[0] == 'o' || (s.name[0] == 'x' && s.name[1] == 'o');
        auto const defined = s.name[0] == 'b' ? 1u : logic ? 0x8c5u : 0x8d5u;
        if (guest::read_entry(entry) != s.value || ((r.flags ^ s.flags) & defined) != 0) guest::print(s.name), guest::print("\n");
        CHECK_EQUAL(guest::read_entry(entry), s.value);
        CHECK_EQUAL(r.flags & defined, s.flags & defined);
        CHECK_EQUAL(r.reg, s.reg);
        CHECK_EQUAL(r.rax, s.rax_after);
    }
    // A store that is not allowed is the guest's page fault, at its own address.
    static std::uint64_t* place;
    place = table;
    auto const fault = guest::catch_trap([] { *static_cast<std::uint64_t volatile*>(place) = guest::p2m()[guest::start().tables_pfn] * 4096 | 3; });
    CHECK_EQUAL(fault.vector, 14);
    CHECK_EQUAL(fault.address, reinterpret_cast<std::uint64_t>(table));
    CHECK_EQUAL(guest::write_entry(entry, 0), 0);

    // A top-level table of its own: promoted, switched to, in use so not to be demoted, switched away from, demoted, writable.
    auto* const root = static_cast<std::uint64_t*>(guest::allocate_page());
    auto const* const old_root = static_cast<std::uint64_t const*>(guest::address_of(guest::start().tables_pfn));
    for (unsigned i = 0; i < 512; ++i) root[i] = old_root[i];
    auto const root_pfn = guest::pfn_of(root);
    CHECK_EQUAL(hypercall(PVN_MMU_SET_ROOT, root_pfn), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(guest::promote(root_pfn, 4), -PVN_E_WRONG_TYPE);  // mapped writable
    CHECK_EQUAL(guest::protect(root, false), 0);
    CHECK_EQUAL(guest::promote(root_pfn, 4), 0);
    CHECK_EQUAL(guest::promote(root_pfn, 4), -PVN_E_EXISTS);
    CHECK_EQUAL(guest::protect(root, true), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(hypercall(PVN_MMU_SET_ROOT, root_pfn), 0);
    CHECK_EQUAL(guest::demote(root_pfn), -PVN_E_BUSY);
    // A change of the live root is seen at once; the old root does not have it.
    auto const low = guest::entry_of(address, 4);
    CHECK_EQUAL(guest::write_entry(guest::entry_of(address), mfn(data) * 4096 | 7), 0);
    CHECK_EQUAL(*reinterpret_cast<std::uint64_t volatile*>(address), 0x1236u);
    CHECK_EQUAL(guest::write_entry(root_pfn * 4096 + low % 4096, 0), 0);
    CHECK_EQUAL(guest::catch_trap([] { (void)*reinterpret_cast<std::uint64_t volatile*>(address); }).vector, 14);
    CHECK_EQUAL(guest::write_entry(root_pfn * 4096 + PVN_SLOT_INDEX * 8, 0), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MMU_SET_ROOT, guest::start().tables_pfn), 0);
    CHECK_EQUAL(*reinterpret_cast<std::uint64_t volatile*>(address), 0x1236u);
    CHECK_EQUAL(guest::demote(root_pfn), 0);
    CHECK_EQUAL(guest::demote(root_pfn), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(guest::protect(root, true), 0);
    root[0] = 1;

    // A queue stops at the first error and says where.
    pvn_mmu_op queue[3] = {{PVN_MMU_OP_WRITE, 0, entry, 0x5000, 7, 0}, {PVN_MMU_OP_PROMOTE, 0, 1ull << 40, 1, 7, 0}, {PVN_MMU_OP_WRITE, 0, entry, 0x6000, 7, 0}};
    CHECK_EQUAL(hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(queue), 3), -PVN_E_RANGE);
    CHECK_EQUAL(guest::read_entry(entry), 0x5000u);
    CHECK_EQUAL(queue[0].result, 7);
    CHECK_EQUAL(queue[1].result, -PVN_E_RANGE);
    CHECK_EQUAL(queue[2].result, 7);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
}
