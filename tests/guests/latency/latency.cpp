// SPDX-License-Identifier: MIT
// No hypercall keeps interrupts off for long, whatever it is asked for: each is given the most that it takes at once, and the time from
// every entry into the hypervisor to the return to the guest is looked up in the trace.  QEMU's clock is the count of instructions
// (`config`), so that the bound is one of instructions.  What lets interrupts in on its way, as the audit does, says so in the trace.
#include <span>

#include "smp.hpp"

char const guest_name[] = "latency";

namespace {

constexpr std::uint64_t longest = 100'000;  // ns
constexpr std::uint64_t address = 0x10000000;
pvn_trace_record records[PVN_TRACE_RECORDS];

void must(long result) { CHECK_EQUAL(result, 0); }
std::uint64_t in_memory(void const* p) { return reinterpret_cast<std::uint64_t>(p); }

void print_number(std::uint64_t n)
{
    char digits[20];
    std::size_t at = sizeof digits;
    do digits[--at] = static_cast<char>('0' + n % 10);
    while ((n /= 10) != 0);
    guest::print({digits + at, sizeof digits - at});
}

// The longest stay in the hypervisor since the trace began.
std::uint64_t longest_stay()
{
    std::uint64_t most = 0, since = 0;
    for (;;) {
        auto const count = hypercall(PVN_SYSTEM_TRACE_READ, 0, in_memory(records), PVN_TRACE_RECORDS);
        CHECK(count >= 0);
        if (count == 0) return most;
        for (auto const& r : std::span{records}.first(static_cast<std::size_t>(count))) {
            if (r.event != PVN_TRACE_ENTER && since != 0 && r.time - since > most) most = r.time - since;
            since = r.event == PVN_TRACE_LEAVE ? 0 : r.time;
        }
    }
}

bool all_well = true;

template <class Operation>
void bounded(char const* name, Operation operation)
{
    must(hypercall(PVN_SYSTEM_TRACE, 1 << PVN_TRACE_ENTER | 1 << PVN_TRACE_LEAVE | 1 << PVN_TRACE_WINDOW));
    operation();
    must(hypercall(PVN_SYSTEM_TRACE, 0));
    auto const most = longest_stay();
    guest::print("latency ");
    guest::print(name);
    guest::print(" ");
    print_number(most);
    guest::print(most > longest ? " TOO LONG\n" : "\n");
    all_well = all_well && most <= longest;
}

// --- page tables and memory ---

void page_tables()
{
    auto* const data = guest::allocate_page();
    must(guest::map_user(address, guest::pfn_of(data), 7));
    auto const table = guest::entry_of(address) & ~std::uint64_t{4095};
    auto const value = guest::p2m()[guest::pfn_of(data)] * 4096 | 7;
    static pvn_mmu_op ops[PVN_MMU_QUEUE_MAX];
    for (auto const entry : {value, std::uint64_t{0}}) {
        for (std::uint64_t i = 0; i < PVN_MMU_QUEUE_MAX; ++i) ops[i] = {PVN_MMU_OP_WRITE, 0, table + i % 512 * 8, entry, 0, 0};
        bounded(entry != 0 ? "mmu_queue_of_writes" : "mmu_queue_of_clears", [&] { must(hypercall(PVN_MMU_QUEUE, in_memory(ops), PVN_MMU_QUEUE_MAX)); });
        static std::uint64_t values[PVN_MMU_RUN_MAX];
        for (auto& v : values) v = entry;
        for (std::uint64_t i = 0; i < 256; ++i) ops[i] = {PVN_MMU_OP_WRITE_RUN, 0, table + i % 8 * PVN_MMU_RUN_MAX * 8, in_memory(values), 0, PVN_MMU_RUN_MAX};
        bounded(entry != 0 ? "mmu_queue_of_runs" : "mmu_queue_of_runs_of_clears", [&] { must(hypercall(PVN_MMU_QUEUE, in_memory(ops), 256)); });
    }
    // A level-1 table with 512 writable entries, and one with as many others.
    auto* const full = static_cast<std::uint64_t*>(guest::allocate_page());
    for (auto const entry : {value, value & ~std::uint64_t{2}}) {
        must(guest::protect(full, true));
        for (int i = 0; i < 512; ++i) full[i] = entry;
        must(guest::protect(full, false));
        bounded("promote_full_table", [&] { must(guest::promote(guest::pfn_of(full), 1)); });
        bounded("demote_full_table", [&] { must(guest::demote(guest::pfn_of(full))); });
        for (std::uint64_t i = 0; i < PVN_MMU_QUEUE_MAX; ++i) ops[i] = {i % 2 == 0 ? PVN_MMU_OP_PROMOTE : PVN_MMU_OP_DEMOTE, 0, guest::pfn_of(full), i % 2 == 0 ? 1u : 0u, 0, 0};
        bounded("mmu_queue_of_promotions", [&] { must(hypercall(PVN_MMU_QUEUE, in_memory(ops), 256)); });
    }
    for (std::uint64_t i = 0; i < PVN_MMU_QUEUE_MAX; ++i) ops[i] = {PVN_MMU_OP_SET_ROOT, 0, guest::start().tables_pfn, 0, 0, 0};
    bounded("mmu_queue_of_roots", [&] { must(hypercall(PVN_MMU_QUEUE, in_memory(ops), PVN_MMU_QUEUE_MAX)); });
}

void memory()
{
    static std::uint64_t pfns[4096];
    auto const first = guest::start().mapped_end_pfn + 1024;
    std::uint64_t count = 0;
    for (auto pfn = first; count < std::size(pfns) && pfn < guest::domain().p2m_frames; ++pfn)
        if (guest::p2m()[pfn] != PVN_NO_FRAME) pfns[count++] = pfn;
    if (count == 0) return;
    bounded("give_back", [&] { (void)hypercall(PVN_MEMORY_GIVE_BACK, in_memory(pfns), count); });
    bounded("populate", [&] { (void)hypercall(PVN_MEMORY_POPULATE, in_memory(pfns), count); });
}

void grants()
{
    auto* const table = static_cast<std::uint64_t*>(guest::allocate_page());
    auto const* const granted = guest::allocate_page();
    auto const* const own = guest::allocate_page();
    auto const word = PVN_GRANT_VALID | std::uint64_t{guest::start().domain_id} << PVN_GRANT_DOMAIN_SHIFT | guest::pfn_of(granted) << PVN_GRANT_PFN_SHIFT;
    for (unsigned i = 0; i < 512; ++i) table[i] = word;
    must(hypercall(PVN_GRANT_SET_TABLE, 0, guest::pfn_of(table)));
    static pvn_grant_copy copies[512];
    static pvn_grant_map maps[256];
    static pvn_grant_unmap ends[256];
    for (std::uint32_t i = 0; i < std::size(copies); ++i) copies[i] = {guest::pfn_of(own) * 4096, i, guest::start().domain_id, 0, 0, 4096, 0};
    bounded("grant_copy", [&] { (void)hypercall(PVN_GRANT_COPY, in_memory(copies), std::size(copies)); });
    for (std::uint32_t i = 0; i < std::size(maps); ++i) maps[i] = {guest::start().domain_id, 0, i, address + (100 + i) * 4096, 0, 0};
    bounded("grant_map", [&] { (void)hypercall(PVN_GRANT_MAP, in_memory(maps), std::size(maps)); });
    for (std::uint32_t i = 0; i < std::size(ends); ++i) ends[i] = {maps[i].handle, 0};
    bounded("grant_unmap", [&] { (void)hypercall(PVN_GRANT_UNMAP, in_memory(ends), std::size(ends)); });
}

// --- other domains ---

void domains()
{
    static std::uint64_t pfns[1024];
    pvn_domain_create create{};
    create.limit = 16384;
    create.p2m_frames = 262144;
    create.vcpus = 64;
    std::uint64_t id = 0;
    bounded("domain_create", [&] { id = static_cast<std::uint64_t>(hypercall(PVN_DOMAIN_CREATE, in_memory(&create))); });
    CHECK(static_cast<std::int64_t>(id) > 0);
    // Spread over the whole P2M.
    bounded("domain_populate", [&] {
        for (std::uint64_t i = 0; i < 8; ++i) CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, i * 32768, 1024), 1024);
    });
    bounded("domain_get_mfns", [&] { (void)hypercall(PVN_DOMAIN_GET_MFNS, id, 0, in_memory(pfns), 1024); });
    bounded("map_foreign", [&] {
        static std::uint64_t foreign[512];
        for (std::uint64_t i = 0; i < 512; ++i) foreign[i] = i;
        pvn_map_foreign map{static_cast<std::uint16_t>(id), 0, 512, address, in_memory(foreign)};
        must(hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&map)));
        for (auto& pfn : foreign) pfn = PVN_NO_FRAME;
        must(hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&map)));
    });
    bounded("offers_of_ports", [&] {
        for (std::uint64_t port = 0; port < 4096 && hypercall(PVN_DOMAIN_EVENT_ALLOC, id, 0) >= 0; ++port) {}
    });
    bounded("domain_pause", [&] { (void)hypercall(PVN_DOMAIN_PAUSE, id); });
    bounded("domain_destroy", [&] {
        long result;
        do result = hypercall(PVN_DOMAIN_DESTROY, id);
        while (result == -PVN_E_AGAIN);
        must(result);
    });
}

void system_calls()
{
    static char text[65536];
    for (auto& c : text) c = 'x';
    text[sizeof text - 1] = '\n';
    bounded("log_read", [&] { (void)hypercall(PVN_SYSTEM_LOG_READ, 0, in_memory(text), sizeof text); });
    bounded("trace_read", [&] {
        for (int i = 0; i < 1024; ++i) (void)hypercall(PVN_SYSTEM_VERSION);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE_READ, 0, in_memory(records), PVN_TRACE_RECORDS), 1024);
    });
    bounded("audit", [] { must(hypercall(PVN_DOMAIN_AUDIT)); });
    static pvn_call calls[64];
    static pvn_mmu_op ops[256];
    for (auto& op : ops) op = {PVN_MMU_OP_WRITE, 0, guest::entry_of(address), 0, 0, 0};
    for (auto& call : calls) call = {PVN_MMU_QUEUE, 0, {in_memory(ops), 256}};
    bounded("multi", [&] { must(hypercall(PVN_MULTI, in_memory(calls), 64)); });
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    must(hypercall(PVN_SYSTEM_TRACE, 1));  // the rings are made
    must(hypercall(PVN_SYSTEM_TRACE, 0));
    page_tables();
    memory();
    grants();
    domains();
    system_calls();
    CHECK(all_well);
}
