// SPDX-License-Identifier: MIT
// One domain grants frames to another: what was granted can be mapped and copied, for as much as was granted, until it is given back,
// and nothing else can; the granter sees what is in use, takes back what is not, and cannot make anything else of what is.
#include "guest.hpp"

extern "C" void* memset(void*, int, std::size_t);

char const guest_name[] = "grants";

namespace {

constexpr std::uint16_t granter = 1, user = 2;

// References.  What each names is said in granter_main().
enum : std::uint32_t { sync_ref, data_ref, constant_ref, others_ref, no_frame_ref, table_ref, reserved_ref, changing_ref, first_of_many };

std::uint64_t word(std::uint64_t pfn, std::uint64_t bits = PVN_GRANT_VALID, std::uint64_t domain = user)
{
    return bits | domain << PVN_GRANT_DOMAIN_SHIFT | pfn << PVN_GRANT_PFN_SHIFT;
}

void step(std::uint64_t volatile* sync, std::uint64_t n) { __atomic_store_n(const_cast<std::uint64_t*>(sync), n, __ATOMIC_RELEASE); }
void wait_for(std::uint64_t volatile* sync, std::uint64_t n)
{
    while (__atomic_load_n(const_cast<std::uint64_t*>(sync), __ATOMIC_ACQUIRE) < n) (void)hypercall(PVN_SCHED_YIELD);
}

pvn_grant_info query(std::uint64_t domain)
{
    pvn_grant_info info{};
    CHECK_EQUAL(hypercall(PVN_GRANT_QUERY, domain, reinterpret_cast<std::uint64_t>(&info)), 0);
    return info;
}

void granter_main()
{
    auto* const table = static_cast<std::uint64_t*>(guest::allocate_page());
    auto* const sync = static_cast<std::uint64_t*>(guest::allocate_page());
    auto* const data = static_cast<std::uint64_t*>(guest::allocate_page());
    auto* const constant = static_cast<std::uint64_t*>(guest::allocate_page());
    auto* const page_table = guest::allocate_page();
    for (unsigned i = 0; i < 512; ++i) constant[i] = 0x1111 * i;

    auto const pfn = guest::pfn_of(table);
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, 1, pfn), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, ~0ul, pfn), -PVN_E_NO_SPACE);
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, 0, guest::domain().p2m_frames), -PVN_E_RANGE);
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, 0, guest::start().tables_pfn), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, 0, pfn), 0);
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, 0, pfn), -PVN_E_EXISTS);
    CHECK_EQUAL(query(granter).pages, 1u);

    CHECK_EQUAL(guest::protect(page_table, false), 0);
    CHECK_EQUAL(guest::promote(guest::pfn_of(page_table), 1), 0);
    table[data_ref] = word(guest::pfn_of(data));
    table[constant_ref] = word(guest::pfn_of(constant), PVN_GRANT_VALID | PVN_GRANT_READ_ONLY);
    table[others_ref] = word(guest::pfn_of(data), PVN_GRANT_VALID, 3);
    table[no_frame_ref] = word(guest::domain().p2m_frames);
    table[table_ref] = word(guest::pfn_of(page_table));
    table[reserved_ref] = word(guest::pfn_of(data), PVN_GRANT_VALID | 0x10);
    for (std::uint32_t i = first_of_many; i < PVN_GRANTS_PER_PAGE; ++i) table[i] = word(guest::pfn_of(data));
    __atomic_store_n(&table[sync_ref], word(guest::pfn_of(sync)), __ATOMIC_RELEASE);

    // Until 1 one of the words is now of this page and now of that, also while the other one looks at it.
    for (bool turn = false; __atomic_load_n(sync, __ATOMIC_ACQUIRE) < 1; turn = !turn)
        __atomic_store_n(&table[changing_ref], word(guest::pfn_of(turn ? data : constant), PVN_GRANT_VALID | PVN_GRANT_READ_ONLY), __ATOMIC_RELEASE);
    table[changing_ref] = 0;

    // 1: the other one has it all mapped.
    CHECK_EQUAL(table[data_ref], word(guest::pfn_of(data), PVN_GRANT_VALID | PVN_GRANT_WRITING));
    CHECK_EQUAL(table[constant_ref], word(guest::pfn_of(constant), PVN_GRANT_VALID | PVN_GRANT_READ_ONLY | PVN_GRANT_READING));
    CHECK_EQUAL(table[others_ref], word(guest::pfn_of(data), PVN_GRANT_VALID, 3));
    CHECK_EQUAL(query(granter).in_use, 3u);
    CHECK_EQUAL(data[7], 0x7777u);
    // Its frames stay what they are, also when this domain does not map them itself.
    for (auto* const page : {data, constant}) CHECK_EQUAL(guest::write_entry(guest::entry_of(reinterpret_cast<std::uint64_t>(page)), 0), 0);
    CHECK_EQUAL(guest::promote(guest::pfn_of(data), 1), -PVN_E_WRONG_TYPE);
    for (auto* const page : {data, constant}) {
        std::uint64_t list = guest::pfn_of(page);
        CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, reinterpret_cast<std::uint64_t>(&list), 1), -PVN_E_BUSY);
    }
    step(sync, 2);

    // 3: and has unmapped all but `sync`.
    wait_for(sync, 3);
    CHECK_EQUAL(query(granter).in_use, 1u);
    auto expected = word(guest::pfn_of(data));
    CHECK(__atomic_compare_exchange_n(&table[data_ref], &expected, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    expected = word(guest::pfn_of(sync));
    CHECK(!__atomic_compare_exchange_n(&table[sync_ref], &expected, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    CHECK_EQUAL(guest::promote(guest::pfn_of(data), 1), -PVN_E_RANGE);  // of the entries that stand there by chance; nothing else is in the way
    step(sync, 4);

    // 5: the user has cleared its entry of `sync` behind our back, and ended the mapping after that.
    while ((__atomic_load_n(&table[sync_ref], __ATOMIC_ACQUIRE) & PVN_GRANT_IN_USE) != 0) (void)hypercall(PVN_SCHED_YIELD);
    CHECK_EQUAL(query(granter).in_use, 0u);
    CHECK_EQUAL(sync[1], 55u);
}

pvn_grant_map map(std::uint32_t ref, std::uint64_t address, std::uint16_t flags = 0, std::uint16_t domain = granter)
{
    pvn_grant_map op{domain, flags, ref, address, 77, 77};
    auto const failed = hypercall(PVN_GRANT_MAP, reinterpret_cast<std::uint64_t>(&op), 1);
    CHECK_EQUAL(failed, op.status == 0 ? 0 : 1);
    CHECK_EQUAL(op.status == 0, op.handle != PVN_GRANT_NONE);
    return op;
}
std::int32_t unmap(std::uint32_t handle)
{
    pvn_grant_unmap op{handle, 77};
    CHECK_EQUAL(hypercall(PVN_GRANT_UNMAP, reinterpret_cast<std::uint64_t>(&op), 1), op.status == 0 ? 0 : 1);
    return op.status;
}
std::int32_t copy(std::uint64_t local, std::uint32_t ref, std::uint16_t flags, std::uint16_t offset, std::uint16_t bytes)
{
    pvn_grant_copy op{local, ref, granter, flags, offset, bytes, 77};
    CHECK_EQUAL(hypercall(PVN_GRANT_COPY, reinterpret_cast<std::uint64_t>(&op), 1), op.status == 0 ? 0 : 1);
    return op.status;
}

void user_main()
{
    // A level-1 table with places to map at.
    constexpr std::uint64_t base = 0x40000000;
    CHECK_EQUAL(guest::map_user(base, guest::pfn_of(guest::allocate_page()), 7), 0);
    auto const place = [](std::uint64_t n) { return base + n * 4096; };
    auto* const sync = reinterpret_cast<std::uint64_t volatile*>(place(1));

    auto mapping = map(sync_ref, place(1));
    while (mapping.status != 0) {
        CHECK(mapping.status == -PVN_E_DENIED || mapping.status == -PVN_E_INVALID || mapping.status == -PVN_E_AGAIN);
        (void)hypercall(PVN_SCHED_YIELD);
        mapping = map(sync_ref, place(1));
    }
    auto const sync_handle = mapping.handle;

    auto const data_mapping = map(data_ref, place(2), PVN_GRANT_MAP_USER);
    CHECK_EQUAL(data_mapping.status, 0);
    auto* const data = reinterpret_cast<std::uint64_t volatile*>(place(2));
    CHECK_EQUAL(map(constant_ref, place(3)).status, -PVN_E_DENIED);
    auto const constant_mapping = map(constant_ref, place(3), PVN_GRANT_MAP_READ_ONLY);
    CHECK_EQUAL(constant_mapping.status, 0);
    auto* const constant = reinterpret_cast<std::uint64_t volatile*>(place(3));
    for (unsigned i = 0; i < 512; ++i) CHECK_EQUAL(constant[i], 0x1111u * i);
    data[7] = 0x7777;
    CHECK_EQUAL(guest::catch_trap([&] { constant[0] = 1; }).vector, 14);
    CHECK_EQUAL(query(user).handles, 3u);
    pvn_grant_info info{};
    CHECK_EQUAL(hypercall(PVN_GRANT_QUERY, granter, reinterpret_cast<std::uint64_t>(&info)), -PVN_E_DENIED);
    for (auto const address : {0ul, PVN_SLOT_DOMAIN_PAGE, 0x0000800000000000ul}) CHECK_EQUAL(hypercall(PVN_GRANT_QUERY, user, address), -PVN_E_BAD_ADDRESS);

    // What must not be mapped, and where.
    CHECK_EQUAL(map(others_ref, place(4)).status, -PVN_E_DENIED);
    CHECK_EQUAL(map(no_frame_ref, place(4)).status, -PVN_E_RANGE);
    CHECK_EQUAL(map(table_ref, place(4)).status, -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(map(reserved_ref, place(4)).status, -PVN_E_INVALID);
    for (auto const ref : {512u, 1u << 31, PVN_GRANT_NONE}) CHECK_EQUAL(map(ref, place(4)).status, -PVN_E_INVALID);
    for (auto const domain : {0, 3, 255, 256, 0x7ff0, 0xfffe, 0xffff}) CHECK_EQUAL(map(data_ref, place(4), 0, static_cast<std::uint16_t>(domain)).status, -PVN_E_NOT_FOUND);
    CHECK_EQUAL(map(0, place(4), 0, user).status, -PVN_E_INVALID);  // oneself, without a table
    CHECK_EQUAL(map(data_ref, place(4), 4).status, -PVN_E_INVALID);
    CHECK_EQUAL(map(data_ref, place(4) + 8).status, -PVN_E_INVALID);
    CHECK_EQUAL(map(data_ref, place(3)).status, -PVN_E_EXISTS);
    for (auto const address : {0x0000800000000000ul, PVN_SLOT_BASE, PVN_SLOT_DOMAIN_PAGE, 0x7f0000000000ul})
        CHECK_EQUAL(map(data_ref, address).status, -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(guest::read_entry(guest::entry_of(place(4))), 0u);
    // Its entry cannot be copied or widened.
    auto const entry = guest::read_entry(guest::entry_of(place(3)));
    CHECK_EQUAL(guest::write_entry(guest::entry_of(place(4)), entry), -PVN_E_RANGE);
    CHECK_EQUAL(guest::write_entry(guest::entry_of(place(3)), entry | 2), -PVN_E_RANGE);

    // Many at once; the calls' own arguments.
    static pvn_grant_map many[130];
    static pvn_grant_unmap ends[131];
    for (std::uint32_t i = 0; i < 130; ++i) many[i] = {granter, 0, first_of_many + i, place(100 + i), 0, 77};
    many[50].ref = others_ref;
    CHECK_EQUAL(hypercall(PVN_GRANT_MAP, reinterpret_cast<std::uint64_t>(many), 130), 1);
    CHECK_EQUAL(many[50].status, -PVN_E_DENIED);
    CHECK_EQUAL(query(user).handles, 132u);
    for (std::uint32_t i = 0; i < 130; ++i) ends[i] = {many[i].handle, 77};
    ends[130] = ends[129];  // twice
    CHECK_EQUAL(hypercall(PVN_GRANT_UNMAP, reinterpret_cast<std::uint64_t>(ends), 131), 2);
    CHECK_EQUAL(ends[50].status, -PVN_E_NOT_FOUND);
    CHECK_EQUAL(ends[129].status, 0);
    CHECK_EQUAL(ends[130].status, -PVN_E_NOT_FOUND);
    for (auto const call : {PVN_GRANT_MAP, PVN_GRANT_UNMAP, PVN_GRANT_COPY}) {
        auto const number = static_cast<std::uint64_t>(call);
        CHECK_EQUAL(hypercall(number, 0, 1), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(number, reinterpret_cast<std::uint64_t>(many) + 4, 1), -PVN_E_INVALID);
        CHECK_EQUAL(hypercall(number, reinterpret_cast<std::uint64_t>(many), PVN_GRANT_BATCH + 1), -PVN_E_INVALID);
        CHECK_EQUAL(hypercall(number, 0, 0), 0);
    }

    // As many as there can be, of one grant too; then no more until one ends.
    constexpr std::uint64_t large = 0x50000000, most = 4096, per_table = 512;
    static pvn_grant_map batch[PVN_GRANT_BATCH];
    static pvn_grant_unmap last[PVN_GRANT_BATCH];
    for (std::uint64_t n = 0; n <= most; n += per_table) {
        CHECK_EQUAL(guest::map_user(large + n * 4096, guest::pfn_of(guest::allocate_page()), 7), 0);
        CHECK_EQUAL(guest::write_entry(guest::entry_of(large + n * 4096), 0), 0);
    }
    std::uint64_t had = query(user).handles;
    auto const first_handles = had;
    for (std::uint64_t n = 0; n < most; n += PVN_GRANT_BATCH) {
        auto const room = most - had < PVN_GRANT_BATCH ? most - had : PVN_GRANT_BATCH;
        for (std::uint64_t i = 0; i < PVN_GRANT_BATCH; ++i) batch[i] = {granter, 0, first_of_many, large + (n + i) * 4096, 0, 77};
        CHECK_EQUAL(hypercall(PVN_GRANT_MAP, reinterpret_cast<std::uint64_t>(batch), PVN_GRANT_BATCH), static_cast<long>(PVN_GRANT_BATCH - room));
        for (std::uint64_t i = 0; i < PVN_GRANT_BATCH; ++i) CHECK_EQUAL(batch[i].status, i < room ? 0 : -PVN_E_NO_SPACE);
        had += room;
    }
    CHECK_EQUAL(query(user).handles, most);
    CHECK_EQUAL(map(first_of_many, large + most * 4096).status, -PVN_E_NO_SPACE);
    CHECK_EQUAL(unmap(batch[0].handle), 0);
    auto const again = map(first_of_many, large + most * 4096);
    CHECK_EQUAL(again.status, 0);
    CHECK_EQUAL(unmap(again.handle), 0);
    for (std::uint32_t handle = 0; handle < most; handle += PVN_GRANT_BATCH) {  // they are numbered from 0
        for (std::uint32_t i = 0; i < PVN_GRANT_BATCH; ++i) {
            auto const kept = handle + i == sync_handle || handle + i == data_mapping.handle || handle + i == constant_mapping.handle;
            last[i] = {kept ? PVN_GRANT_NONE : handle + i, 77};
        }
        (void)hypercall(PVN_GRANT_UNMAP, reinterpret_cast<std::uint64_t>(last), PVN_GRANT_BATCH);
    }
    CHECK_EQUAL(query(user).handles, first_handles);

    // Copies, in both directions and of odd sizes.
    auto* const own = static_cast<unsigned char*>(guest::allocate_page());
    auto const local = guest::pfn_of(own) * 4096;
    CHECK_EQUAL(copy(local + 3, constant_ref, 0, 9, 1001), 0);
    for (unsigned i = 0; i < 1001; ++i) CHECK_EQUAL(own[3 + i], reinterpret_cast<unsigned char volatile const*>(constant)[9 + i]);
    CHECK_EQUAL(own[2], 0u);
    CHECK_EQUAL(own[1004], 0u);
    for (unsigned i = 0; i < 4096; ++i) own[i] = static_cast<unsigned char>(i * 7);
    CHECK_EQUAL(copy(local, data_ref, PVN_GRANT_COPY_TO, 0, 4096), 0);
    for (unsigned i = 0; i < 4096; ++i) CHECK_EQUAL(reinterpret_cast<unsigned char volatile const*>(data)[i], static_cast<unsigned char>(i * 7));
    data[7] = 0x7777;
    CHECK_EQUAL(copy(local, constant_ref, PVN_GRANT_COPY_TO, 0, 8), -PVN_E_DENIED);
    CHECK_EQUAL(copy(local, table_ref, PVN_GRANT_COPY_TO, 0, 8), -PVN_E_WRONG_TYPE);
    CHECK_EQUAL(copy(local, table_ref, 0, 0, 8), 0);  // may be read
    CHECK_EQUAL(copy(local, data_ref, 2, 0, 8), -PVN_E_INVALID);
    CHECK_EQUAL(copy(local, data_ref, 0, 0, 0), -PVN_E_INVALID);
    CHECK_EQUAL(copy(local, data_ref, 0, 4096, 1), -PVN_E_INVALID);
    CHECK_EQUAL(copy(local, data_ref, 0, 4095, 2), -PVN_E_INVALID);
    CHECK_EQUAL(copy(local + 4095, data_ref, 0, 0, 2), -PVN_E_INVALID);
    CHECK_EQUAL(copy(local, data_ref, 0, 0, 4097), -PVN_E_INVALID);
    CHECK_EQUAL(copy(guest::domain().p2m_frames * 4096, data_ref, 0, 0, 8), -PVN_E_RANGE);
    CHECK_EQUAL(copy(~0ul - 4095, data_ref, 0, 0, 8), -PVN_E_RANGE);
    auto const tables = guest::start().tables_pfn * 4096;
    CHECK_EQUAL(copy(tables, data_ref, 0, 0, 8), -PVN_E_WRONG_TYPE);  // not into one's own page tables either
    CHECK_EQUAL(copy(tables, data_ref, PVN_GRANT_COPY_TO, 256, 8), 0);

    // A word that is changed between the look at it and the mark of its use: refused, or what it was, and never half of each.
    for (bool again_of_map = false, again_of_copy = false; !again_of_map || !again_of_copy;) {
        auto const copied = copy(local, changing_ref, 0, 8, 8);
        CHECK(copied == 0 || copied == -PVN_E_AGAIN);
        again_of_copy = again_of_copy || copied != 0;
        if (copied == 0) CHECK(*reinterpret_cast<std::uint64_t*>(own) == data[1] || *reinterpret_cast<std::uint64_t*>(own) == constant[1]);
        auto const mapped = map(changing_ref, place(4), PVN_GRANT_MAP_READ_ONLY);
        CHECK(mapped.status == 0 || mapped.status == -PVN_E_AGAIN);
        again_of_map = again_of_map || mapped.status != 0;
        if (mapped.status == 0) CHECK_EQUAL(unmap(mapped.handle), 0);
    }

    step(sync, 1);
    wait_for(sync, 2);
    CHECK_EQUAL(unmap(data_mapping.handle), 0);
    CHECK_EQUAL(unmap(data_mapping.handle), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(unmap(constant_mapping.handle), 0);
    for (auto const handle : {500u, 4096u, PVN_GRANT_NONE}) CHECK_EQUAL(unmap(handle), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(guest::catch_trap([&] { (void)data[0]; }).vector, 14);
    CHECK_EQUAL(guest::catch_trap([&] { (void)constant[0]; }).vector, 14);
    step(sync, 3);
    wait_for(sync, 4);
    CHECK_EQUAL(map(data_ref, place(2)).status, -PVN_E_DENIED);
    CHECK_EQUAL(copy(local, data_ref, 0, 0, 8), -PVN_E_DENIED);
    CHECK_EQUAL(query(user).handles, 1u);

    sync[1] = 55;
    CHECK_EQUAL(guest::write_entry(guest::entry_of(place(1)), 0), 0);
    CHECK_EQUAL(unmap(sync_handle), 0);
    CHECK_EQUAL(query(user).handles, 0u);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::start().domain_id == granter ? granter_main() : user_main();
}
