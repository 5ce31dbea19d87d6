// SPDX-License-Identifier: MIT
// Each allocation of a domain's whole life fails once: whoever asked gets NO_MEMORY, or less than it asked for, and afterwards nothing is missing
// or left over.  The life is that of a domain as tools make one, and of a vCPU's own tables; it is lived with the first allocation failing,
// then the second, until one life has fewer allocations than that.
#include "domains.hpp"

char const guest_name[] = "nth_allocation_fails";

namespace {

using guest::free_frames;
using guest::in_memory;

// False, and nothing else may be wrong, if there is no memory.
bool done(long result)
{
    if (result >= 0) return true;
    CHECK_EQUAL(result, -PVN_E_NO_MEMORY);
    return false;
}

constexpr std::uint64_t frames = 96, foreign = 0x20000000;

bool populate(std::uint64_t id)
{
    for (std::uint64_t first = 0; first < frames;) {
        auto const some = hypercall(PVN_DOMAIN_POPULATE, id, first, frames - first);
        if (!done(some)) return false;
        first += static_cast<std::uint64_t>(some);
    }
    return true;
}

// Tables in its frames, one of each level, and dom0's window on it.
bool fill(std::uint64_t id)
{
    std::uint64_t mfns[frames];
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_MFNS, id, 0, in_memory(mfns), frames), static_cast<long>(frames));
    pvn_mmu_op ops[8];
    std::uint64_t count = 0;
    for (std::uint64_t level = 1; level <= 4; ++level) {
        ops[count++] = {PVN_MMU_OP_PROMOTE, 0, level, level, 0, 0};
        if (level > 1) ops[count++] = {PVN_MMU_OP_WRITE, 0, level * 4096 + 8, mfns[level - 1] * 4096 | 7, 0, 0};
    }
    if (!done(hypercall(PVN_DOMAIN_MMU_QUEUE, id, in_memory(ops), count))) return false;
    static std::uint64_t pfns[16];
    for (std::uint64_t i = 0; i < 16; ++i) pfns[i] = 16 + i;
    pvn_map_foreign map{static_cast<std::uint16_t>(id), 0, 16, foreign, in_memory(pfns)};
    if (!done(hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&map)))) return false;
    for (auto& pfn : pfns) pfn = PVN_NO_FRAME;
    CHECK_EQUAL(hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&map)), 0);
    return done(hypercall(PVN_DOMAIN_EVENT_ALLOC, id, 0));
}

bool live()
{
    auto const id = guest::create_domain(1024, 4096, 3);
    if (!done(id)) return false;
    auto const whole = populate(static_cast<std::uint64_t>(id)) && fill(static_cast<std::uint64_t>(id));
    CHECK_EQUAL(guest::destroy_domain(static_cast<std::uint64_t>(id)), 0);
    return whole;
}

alignas(4096) std::uint64_t table[512];

// The vCPU's own: descriptors, and ports of ring 3.
bool own_tables()
{
    table[0] = 0x00cff3000000ffff;  // data of ring 3
    auto const whole = done(hypercall(PVN_VCPU_SET_LDT, in_memory(table), 512)) && done(hypercall(PVN_VCPU_SET_IO_BITMAP, in_memory(table), 4096));
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_LDT, 0, 0), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_IO_BITMAP, 0, 0), 0);
    return whole;
}

// Calls that take one frame or run of frames, and have to be refused without it.
void alone()
{
    auto const refused = [](std::uint64_t number, std::uint64_t a0 = 0, std::uint64_t a1 = 0) {
        CHECK_EQUAL(hypercall(PVN_SYSTEM_FAIL_ALLOCATION, 1), 0);
        CHECK_EQUAL(hypercall(number, a0, a1), -PVN_E_NO_MEMORY);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_FAIL_ALLOCATION, 0), 0);
    };
    auto const grants = guest::pfn_of(guest::allocate_page());
    refused(PVN_GRANT_SET_TABLE, 0, grants);
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, 0, grants), 0);
    refused(PVN_SYSTEM_TRACE, 1);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE, 1), 0);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE, 0), 0);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_FAIL_ALLOCATION, 1), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);  // makes do with less
    CHECK_EQUAL(hypercall(PVN_SYSTEM_FAIL_ALLOCATION, 0), 0);
}

// A domain has all there is: whoever asks for more is refused, until it has gone.
void nothing_left()
{
    auto const before = free_frames();
    // dom0's own page goes, too, and dom0 has to have that very one.
    auto const* const page = guest::allocate_page();
    std::uint64_t const list = guest::pfn_of(page);
    CHECK_EQUAL(guest::write_entry(guest::entry_of(in_memory(page)), 0), 0);
    CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, in_memory(&list), 1), 1);
    auto const id = static_cast<std::uint64_t>(guest::create_domain(before, before, 1));
    CHECK(id < 256);
    std::uint64_t given = 0;
    for (long some = 0; (some = hypercall(PVN_DOMAIN_POPULATE, id, given, 1024)) > 0;) given += static_cast<std::uint64_t>(some);
    CHECK_EQUAL(free_frames(), 0u);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, given, 1), -PVN_E_NO_MEMORY);
    CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, in_memory(&list), 1), -PVN_E_NO_MEMORY);
    CHECK_EQUAL(guest::create_domain(1, 1, 1), -PVN_E_NO_MEMORY);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), -PVN_E_NO_MEMORY);
    CHECK_EQUAL(guest::destroy_domain(id), 0);
    CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, in_memory(&list), 1), 1);
    CHECK_EQUAL(free_frames(), before);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    // The tables for the window, which stay.
    CHECK_EQUAL(guest::map_user(foreign, guest::pfn_of(guest::allocate_page()), 3), 0);
    CHECK_EQUAL(guest::write_entry(guest::entry_of(foreign), 0), 0);
    alone();
    CHECK(live() && own_tables());
    nothing_left();
    auto const before = free_frames();
    CHECK(live() && own_tables());
    CHECK_EQUAL(free_frames(), before);

    std::uint64_t n = 0, failures = 0;
    for (std::uint64_t left = 0; left == 0;) {
        CHECK_EQUAL(hypercall(PVN_SYSTEM_FAIL_ALLOCATION, ++n), 0);
        auto const lived = live(), own = own_tables(), whole = lived && own;
        left = static_cast<std::uint64_t>(hypercall(PVN_SYSTEM_FAIL_ALLOCATION, 0));
        CHECK(whole || left == 0);  // who had all the memory has done all
        failures += whole ? 0 : 1;
        CHECK_EQUAL(free_frames(), before);
        CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
    }
    guest::print("allocations that failed ");
    guest::print_hex(n - 1);
    guest::print(", lives that ended early ");
    guest::print_hex(failures);
    guest::print("\n");
    CHECK(n > 100 && failures > 10);
}
