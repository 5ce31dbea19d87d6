// SPDX-License-Identifier: MIT
// A domain dies while grants are in use both ways: what it had mapped is given back; what others have mapped of it stays theirs until
// they unmap it, and only then is it gone.  Nothing is lost, and every count is right in between.
#include "guest.hpp"

char const guest_name[] = "grants_death";

namespace {

constexpr std::uint16_t dom0 = 0, victim = 1;
constexpr std::uint64_t base = 0x40000000;

std::uint64_t word(void const* page, std::uint64_t domain)
{
    return PVN_GRANT_VALID | domain << PVN_GRANT_DOMAIN_SHIFT | guest::pfn_of(page) << PVN_GRANT_PFN_SHIFT;
}

pvn_grant_map map(std::uint16_t domain, std::uint32_t ref, std::uint64_t address)
{
    pvn_grant_map op{domain, 0, ref, address, 0, 0};
    do {
        (void)hypercall(PVN_SCHED_YIELD);
        op.status = 0;
        CHECK(hypercall(PVN_GRANT_MAP, reinterpret_cast<std::uint64_t>(&op), 1) <= 1);
    } while (op.status == -PVN_E_DENIED || op.status == -PVN_E_INVALID || op.status == -PVN_E_AGAIN);
    return op;
}

std::uint64_t* set_up_table(std::uint64_t peer, void const* granted)
{
    auto* const table = static_cast<std::uint64_t*>(guest::allocate_page());
    table[0] = word(granted, peer);
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, 0, guest::pfn_of(table)), 0);
    CHECK_EQUAL(guest::map_user(base, guest::pfn_of(guest::allocate_page()), 7), 0);
    return table;
}

std::uint64_t free_frames()
{
    pvn_memory_info info{};
    CHECK_EQUAL(hypercall(PVN_MEMORY_QUERY, reinterpret_cast<std::uint64_t>(&info)), 0);
    return info.host_free;
}

pvn_grant_info query(std::uint64_t domain)
{
    pvn_grant_info info{};
    CHECK_EQUAL(hypercall(PVN_GRANT_QUERY, domain, reinterpret_cast<std::uint64_t>(&info)), 0);
    return info;
}

void victim_main()
{
    auto* const page = static_cast<std::uint64_t*>(guest::allocate_page());
    page[0] = 4711;
    set_up_table(dom0, page);
    auto const mapping = map(dom0, 0, base + 4096);
    CHECK_EQUAL(mapping.status, 0);
    *reinterpret_cast<std::uint64_t volatile*>(base + 4096) = 1;  // ready to die
    for (;;) (void)hypercall(PVN_SCHED_YIELD);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    if (guest::start().domain_id == victim) return victim_main();

    auto* const page = static_cast<std::uint64_t volatile*>(guest::allocate_page());
    auto* const table = set_up_table(victim, const_cast<std::uint64_t*>(page));
    auto const mapping = map(victim, 0, base + 4096);
    CHECK_EQUAL(mapping.status, 0);
    auto* const its = reinterpret_cast<std::uint64_t volatile*>(base + 4096);
    CHECK_EQUAL(its[0], 4711u);
    while (page[0] != 1) (void)hypercall(PVN_SCHED_YIELD);
    CHECK_EQUAL(query(dom0).in_use, 1u);
    CHECK_EQUAL(query(victim).in_use, 1u);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);

    auto const before = free_frames();
    long result;
    while ((result = hypercall(PVN_DOMAIN_DESTROY, victim)) == -PVN_E_AGAIN) (void)hypercall(PVN_SCHED_YIELD);
    CHECK_EQUAL(result, -PVN_E_BUSY);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
    CHECK_EQUAL(query(dom0).in_use, 0u);  // what it had mapped is given back
    CHECK_EQUAL(table[0], word(const_cast<std::uint64_t*>(page), victim));
    CHECK_EQUAL(its[0], 4711u);           // what we have mapped is not
    pvn_grant_map again{victim, 0, 0, base + 2 * 4096, 0, 0};
    CHECK_EQUAL(hypercall(PVN_GRANT_MAP, reinterpret_cast<std::uint64_t>(&again), 1), 1);
    CHECK_EQUAL(again.status, -PVN_E_NOT_FOUND);
    pvn_grant_copy copy{guest::pfn_of(const_cast<std::uint64_t*>(page)) * 4096, 0, victim, 0, 0, 8, 0};
    CHECK_EQUAL(hypercall(PVN_GRANT_COPY, reinterpret_cast<std::uint64_t>(&copy), 1), 1);
    CHECK_EQUAL(copy.status, -PVN_E_NOT_FOUND);

    pvn_grant_unmap end{mapping.handle, 0};
    CHECK_EQUAL(hypercall(PVN_GRANT_UNMAP, reinterpret_cast<std::uint64_t>(&end), 1), 0);
    CHECK_EQUAL(guest::catch_trap([&] { (void)its[0]; }).vector, 14);
    while ((result = hypercall(PVN_DOMAIN_DESTROY, victim)) == -PVN_E_AGAIN) (void)hypercall(PVN_SCHED_YIELD);
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_DESTROY, victim), -PVN_E_NOT_FOUND);
    pvn_grant_info none{};
    CHECK_EQUAL(hypercall(PVN_GRANT_QUERY, victim, reinterpret_cast<std::uint64_t>(&none)), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(query(dom0).handles, 0u);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
    CHECK(free_frames() >= before + 16 * 256);
}
