// SPDX-License-Identifier: MIT
// Entries and operations that no table may hold or do: reserved bits, large pages, the slot's entry, tables that name tables of the
// wrong level or themselves, a table in use that is demoted, and malformed operations.  Each is refused, and nothing changes.
#include "hostile.hpp"

char const guest_name[] = "hostile_entries";

namespace {

std::uint64_t mfn(void const* page) { return guest::p2m()[guest::pfn_of(page)]; }

long operation(std::uint32_t kind, std::uint64_t target, std::uint64_t value, std::uint32_t flags = 0, std::uint32_t reserved = 0)
{
    pvn_mmu_op op{kind, flags, target, value, 0, reserved};
    auto const result = hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(&op), 1);
    CHECK_EQUAL(op.result, result);
    return result;
}

std::uint64_t* page_with(unsigned index, std::uint64_t entry)
{
    auto* const page = static_cast<std::uint64_t*>(guest::allocate_page());
    page[index] = entry;
    CHECK_EQUAL(guest::protect(page, false), 0);
    return page;
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    auto const root = guest::start().tables_pfn;
    auto* const data = guest::allocate_page();
    std::uint64_t* tables[5] = {};
    for (unsigned level = 1; level <= 4; ++level) {
        tables[level] = level == 1 ? page_with(5, mfn(data) * 4096 | 3) : page_with(5, mfn(tables[level - 1]) * 4096 | 7);
        CHECK_EQUAL(guest::promote(guest::pfn_of(tables[level]), level), 0);
    }

    for (unsigned level = 2; level <= 4; ++level) {
        auto const entry = guest::pfn_of(tables[level]) * 4096 + 6 * 8;
        auto const good = mfn(tables[level - 1]) * 4096 | 7;
        // PS, PWT, PCD, G, a protection key, address bits beyond the machine: on write and on promotion.
        for (auto const bit : {0x80ul, 0x8ul, 0x10ul, 0x100ul, 1ul << 59, 1ul << 62}) {
            CHECK_EQUAL(guest::write_entry(entry, good | bit), -PVN_E_INVALID);
            CHECK_EQUAL(guest::write_entry(entry, good | bit, PVN_MMU_KEEP_AD), -PVN_E_INVALID);
            CHECK_EQUAL(guest::promote(guest::pfn_of(page_with(511, good | bit)), level), -PVN_E_INVALID);
            // Over an entry of the same frame: no bit gets in as a change of flags.
            CHECK_EQUAL(guest::write_entry(entry - 8, good | bit), -PVN_E_INVALID);
        }
        // Children of every wrong level, data, and itself.
        for (unsigned other = 0; other <= 4; ++other) {
            if (other + 1 == level) continue;
            auto const child = other == 0 ? mfn(data) : mfn(tables[other]);
            CHECK_EQUAL(guest::write_entry(entry, child * 4096 | 7), -PVN_E_WRONG_TYPE);
            CHECK_EQUAL(guest::write_entry(entry, child * 4096 | 1), -PVN_E_WRONG_TYPE);
            CHECK_EQUAL(guest::promote(guest::pfn_of(page_with(0, child * 4096 | 5)), level), -PVN_E_WRONG_TYPE);
        }
        auto* const self = static_cast<std::uint64_t*>(guest::allocate_page());
        self[0] = mfn(self) * 4096 | 1;
        CHECK_EQUAL(guest::protect(self, false), 0);
        CHECK_EQUAL(guest::promote(guest::pfn_of(self), level), -PVN_E_WRONG_TYPE);
        CHECK_EQUAL(guest::protect(self, true), 0);  // the refusal left no reference behind
        CHECK_EQUAL(guest::read_entry(entry), 0u);
        CHECK_EQUAL(guest::read_entry(entry - 8), good);
        CHECK_EQUAL(guest::demote(guest::pfn_of(tables[level - 1])), -PVN_E_BUSY);
    }
    // A large page in a level-2 entry, over RAM of our own.
    CHECK_EQUAL(guest::write_entry(guest::pfn_of(tables[2]) * 4096 + 56, 0x200083), -PVN_E_INVALID);
    // Address bits beyond the physical width; in a leaf too.
    for (unsigned level = 1; level <= 4; ++level) {
        auto const got = guest::write_entry(guest::pfn_of(tables[level]) * 4096 + 48, 1ul << 51 | 1);
        CHECK(got == -PVN_E_INVALID || got == -PVN_E_RANGE);
    }

    // The slot's entry: at promotion, written, emulated, and not even when it is not present.
    auto const slot = PVN_SLOT_INDEX * 8ul;
    CHECK_EQUAL(guest::promote(guest::pfn_of(page_with(PVN_SLOT_INDEX, mfn(tables[3]) * 4096 | 7)), 4), -PVN_E_INVALID);
    for (auto const table : {root, guest::pfn_of(tables[4])})
        for (auto const value : {mfn(tables[3]) * 4096 | 7, 0ul, 2ul, ~1ul, ~0ul}) {
            CHECK_EQUAL(guest::write_entry(table * 4096 + slot, value), -PVN_E_INVALID);
            auto* const entry = reinterpret_cast<std::uint64_t volatile*>(guest::start().virtual_base + table * 4096 + slot);
            CHECK_EQUAL(guest::catch_trap([&] { *entry = value; }).vector, 14);
            CHECK_EQUAL(*entry, 0u);
        }

    // Roots: only level 4.
    for (unsigned level = 1; level <= 3; ++level) {
        CHECK_EQUAL(hypercall(PVN_MMU_SET_ROOT, guest::pfn_of(tables[level])), -PVN_E_WRONG_TYPE);
        CHECK_EQUAL(operation(PVN_MMU_OP_SET_ROOT, guest::pfn_of(tables[level]), 0), -PVN_E_WRONG_TYPE);
    }
    CHECK_EQUAL(hypercall(PVN_MMU_SET_ROOT, guest::pfn_of(data)), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(guest::demote(root), -PVN_E_BUSY);
    CHECK_EQUAL(guest::demote(guest::pfn_of(data)), -PVN_E_WRONG_TYPE);

    // Malformed operations.
    auto const target = guest::pfn_of(tables[1]) * 4096 + 8;
    for (std::uint64_t off = 1; off < 8; ++off) CHECK_EQUAL(operation(PVN_MMU_OP_WRITE, target + off, 0), -PVN_E_INVALID);
    for (auto const level : {0ul, 5ul, 6ul, ~0ul, 1ul << 32 | 1}) CHECK_EQUAL(operation(PVN_MMU_OP_PROMOTE, guest::pfn_of(data), level), -PVN_E_INVALID);
    for (std::uint32_t kind = 0; kind <= PVN_MMU_OP_DEMOTE; ++kind) {
        CHECK_EQUAL(operation(kind, target, 1, 0, 1), -PVN_E_INVALID);
        for (unsigned bit = kind == PVN_MMU_OP_WRITE ? 1 : 0; bit < 32; ++bit) CHECK_EQUAL(operation(kind, target, 1, 1u << bit), -PVN_E_INVALID);
    }
    CHECK_EQUAL(operation(PVN_MMU_OP_DEMOTE, guest::pfn_of(tables[4]), 1), -PVN_E_INVALID);
    for (auto const kind : {8u, 9u, 0x100u, 0x7fffffffu, 0x80000000u, ~0u}) CHECK_EQUAL(operation(kind, target, 0), -PVN_E_NOT_IMPLEMENTED);
    for (std::uint32_t kind = PVN_MMU_OP_SET_ROOT; kind <= PVN_MMU_OP_FLUSH_VCPUS; ++kind) {
        CHECK_EQUAL(operation(kind, root, 0, 1), -PVN_E_INVALID);
        CHECK_EQUAL(operation(kind, root, 0, 0, 1), -PVN_E_INVALID);
    }
    // A mask of vCPUs with one that there is not.
    for (auto const vcpu : {guest::start().vcpus + 0u, 63u}) CHECK_EQUAL(operation(PVN_MMU_OP_FLUSH_VCPUS, 1 | 1ul << vcpu, PVN_MMU_FLUSH_ALL), -PVN_E_NOT_FOUND);
    // Runs: empty, too long, past the end of the table, of values that cannot be read or are not aligned, with unknown flags.
    static std::uint64_t values[PVN_MMU_RUN_MAX + 1];
    auto const run = [&](std::uint64_t at, std::uint64_t where, std::uint32_t count, std::uint32_t flags, long error, std::uint32_t done) {
        pvn_mmu_op op{PVN_MMU_OP_WRITE_RUN, flags, at, where, 0, count};
        CHECK_EQUAL(hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(&op), 1), error);
        CHECK_EQUAL(op.result, error);
        CHECK_EQUAL(op.count, count - done);
        CHECK_EQUAL(op.target, at + done * 8);
        CHECK_EQUAL(op.value, where + done * 8);
    };
    auto const table = guest::pfn_of(tables[1]) * 4096;
    auto const readable = reinterpret_cast<std::uint64_t>(values);
    for (auto& value : values) value = 0x1000;
    for (auto const count : {0u, PVN_MMU_RUN_MAX + 1u, 512u, 0x80000000u, ~0u}) run(table, readable, count, 0, -PVN_E_INVALID, 0);
    run(table + 511 * 8, readable, 2, 0, -PVN_E_INVALID, 0);
    run(table + 449 * 8, readable, PVN_MMU_RUN_MAX, 0, -PVN_E_INVALID, 0);
    run(table + 4, readable, 1, 0, -PVN_E_INVALID, 0);
    run(table, readable + 4, 1, 0, -PVN_E_INVALID, 0);
    for (unsigned bit = 1; bit < 32; ++bit) run(table, readable, 1, 1u << bit, -PVN_E_INVALID, 0);
    for (auto const where : {0ul, 1ul << 63, PVN_SLOT_BASE, ~7ul}) run(table, where, 1, 0, -PVN_E_BAD_ADDRESS, 0);
    run(guest::pfn_of(data) * 4096, readable, 4, 0, -PVN_E_WRONG_TYPE, 0);
    run(~4095ul, readable, 4, 0, -PVN_E_RANGE, 0);
    for (unsigned i = 0; i < 512; ++i) CHECK_EQUAL(guest::read_entry(table + i * 8), i == 5 ? mfn(data) * 4096 | 3 : 0);
    // Over the slot's entry: up to it.
    for (auto& value : values) value = 0;
    run(guest::pfn_of(tables[4]) * 4096 + slot - 24, readable, 8, 0, -PVN_E_INVALID, 3);
    run(guest::pfn_of(tables[4]) * 4096 + slot, readable, 1, 0, -PVN_E_INVALID, 0);
    // One that breaks the rules among many that do not.
    values[9] = mfn(tables[1]) * 4096 | 3;
    run(table + 64, readable, 32, 0, -PVN_E_WRONG_TYPE, 9);
    values[9] = 1ul << 51 | 1;
    run(guest::pfn_of(tables[2]) * 4096 + 64, readable, 32, 0, -PVN_E_INVALID, 9);
    CHECK_EQUAL(hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(data), PVN_MMU_QUEUE_MAX + 1), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(data) + 4, 1), -PVN_E_INVALID);

    // An operation that fails stops the queue: what was before it is done, what comes after is not.
    pvn_mmu_op ops[3] = {{PVN_MMU_OP_WRITE, 0, target, 0x1000, 0, 0}, {PVN_MMU_OP_WRITE, 0, target + 1, 0, 0, 0}, {PVN_MMU_OP_WRITE, 0, target, 0x2000, 0, 0}};
    CHECK_EQUAL(hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(ops), 3), -PVN_E_INVALID);
    CHECK_EQUAL(guest::read_entry(target), 0x1000u);

    // All of it comes apart again from the top.
    for (unsigned level = 4; level >= 1; --level) {
        CHECK_EQUAL(guest::demote(guest::pfn_of(tables[level])), 0);
        CHECK_EQUAL(guest::protect(tables[level], true), 0);
    }
}
