// SPDX-License-Identifier: MIT
// No hypercall keeps interrupts off for long, whatever it is asked for: each is given the most that it takes at once, on a machine with as many
// domains and vCPUs as there can be, all on its one CPU, and the time from every entry into the hypervisor to the return to the guest is looked
// up in the trace.  QEMU's clock is the count of instructions (`config`), so that the bound is one of instructions.  What lets interrupts in on its
// way, as the audit does, says so in the trace.  documented.py looks that no call is left out.
#include "domains.hpp"
#include "latency.hpp"
#include "smp.hpp"

char const guest_name[] = "latency";

namespace {

using guest::bounded;
using guest::bounded_call;
using guest::in_memory;
using guest::must;
using guest::records;

constexpr std::uint64_t address = 0x10000000;

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
        bounded(PVN_MMU_QUEUE, entry != 0 ? "of writes" : "of clears", [&] { must(hypercall(PVN_MMU_QUEUE, in_memory(ops), PVN_MMU_QUEUE_MAX)); });
        static std::uint64_t values[PVN_MMU_RUN_MAX];
        for (auto& v : values) v = entry;
        for (std::uint64_t i = 0; i < 256; ++i) ops[i] = {PVN_MMU_OP_WRITE_RUN, 0, table + i % 8 * PVN_MMU_RUN_MAX * 8, in_memory(values), 0, PVN_MMU_RUN_MAX};
        bounded(PVN_MMU_QUEUE, entry != 0 ? "of runs" : "of runs of clears", [&] { must(hypercall(PVN_MMU_QUEUE, in_memory(ops), 256)); });
    }
    // A level-1 table with 512 writable entries, and one with as many others.
    auto* const full = static_cast<std::uint64_t*>(guest::allocate_page());
    for (auto const entry : {value, value & ~std::uint64_t{2}}) {
        must(guest::protect(full, true));
        for (int i = 0; i < 512; ++i) full[i] = entry;
        must(guest::protect(full, false));
        bounded(PVN_MMU_QUEUE, "to promote a full table", [&] { must(guest::promote(guest::pfn_of(full), 1)); });
        bounded(PVN_MMU_QUEUE, "to demote a full table", [&] { must(guest::demote(guest::pfn_of(full))); });
        for (std::uint64_t i = 0; i < PVN_MMU_QUEUE_MAX; ++i) ops[i] = {i % 2 == 0 ? PVN_MMU_OP_PROMOTE : PVN_MMU_OP_DEMOTE, 0, guest::pfn_of(full), i % 2 == 0 ? 1u : 0u, 0, 0};
        bounded(PVN_MMU_QUEUE, "of promotions", [&] { must(hypercall(PVN_MMU_QUEUE, in_memory(ops), 256)); });
    }
    for (std::uint64_t i = 0; i < PVN_MMU_QUEUE_MAX; ++i) ops[i] = {PVN_MMU_OP_SET_ROOT, 0, guest::start().tables_pfn, 0, 0, 0};
    bounded(PVN_MMU_QUEUE, "of roots", [&] { must(hypercall(PVN_MMU_QUEUE, in_memory(ops), PVN_MMU_QUEUE_MAX)); });
    bounded_call(PVN_MMU_WRITE, "", table, value);
    bounded_call(PVN_MMU_UPDATE_VA, "", address, value);
    bounded_call(PVN_MMU_SET_ROOT, "", guest::start().tables_pfn);
    bounded_call(PVN_MMU_FLUSH, "");
    bounded_call(PVN_MMU_INVALIDATE_PAGE, "", address);
    bounded_call(PVN_MMU_FLUSH_VCPUS, "", (1ul << guest::start().vcpus) - 1);
}

void memory()
{
    static std::uint64_t pfns[4096];
    auto const first = guest::start().mapped_end_pfn + 1024;
    std::uint64_t count = 0;
    for (auto pfn = first; count < std::size(pfns) && pfn < guest::domain().p2m_frames; ++pfn)
        if (guest::p2m()[pfn] != PVN_NO_FRAME) pfns[count++] = pfn;
    CHECK(count > 1024);
    bounded(PVN_MEMORY_GIVE_BACK, "", [&] { CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, in_memory(pfns), count), 1024); });
    bounded(PVN_MEMORY_POPULATE, "", [&] { CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, in_memory(pfns), 1024), 1024); });
    bounded_call(PVN_MEMORY_QUERY, "", in_memory(pfns));
}

void grants()
{
    auto* const table = static_cast<std::uint64_t*>(guest::allocate_page());
    auto const* const granted = guest::allocate_page();
    auto const* const own = guest::allocate_page();
    auto const word = PVN_GRANT_VALID | std::uint64_t{guest::start().domain_id} << PVN_GRANT_DOMAIN_SHIFT | guest::pfn_of(granted) << PVN_GRANT_PFN_SHIFT;
    for (unsigned i = 0; i < 512; ++i) table[i] = word;
    bounded_call(PVN_GRANT_SET_TABLE, "", 0, guest::pfn_of(table));
    static pvn_grant_copy copies[512];
    static pvn_grant_map maps[256];
    static pvn_grant_unmap ends[256];
    for (std::uint32_t i = 0; i < std::size(copies); ++i) copies[i] = {guest::pfn_of(own) * 4096, i, guest::start().domain_id, 0, 0, 4096, 0};
    bounded(PVN_GRANT_COPY, "", [&] { must(hypercall(PVN_GRANT_COPY, in_memory(copies), std::size(copies))); });
    static std::uint32_t word_to_set;
    bounded(PVN_SCHED_WAIT, "with copies", [&] {
        guest::vcpu().event_pending = 1;  // so it does not wait
        must(hypercall(PVN_SCHED_WAIT, 0, in_memory(copies), std::size(copies), in_memory(&word_to_set), 1));
        guest::vcpu().event_pending = 0;
    });
    CHECK_EQUAL(word_to_set, 1u);
    for (std::uint32_t i = 0; i < std::size(maps); ++i) maps[i] = {guest::start().domain_id, 0, i, address + (100 + i) * 4096, 0, 0};
    bounded(PVN_GRANT_MAP, "", [&] { must(hypercall(PVN_GRANT_MAP, in_memory(maps), std::size(maps))); });
    bounded_call(PVN_GRANT_QUERY, "", guest::start().domain_id, in_memory(copies));
    for (std::uint32_t i = 0; i < std::size(ends); ++i) ends[i] = {maps[i].handle, 0};
    bounded(PVN_GRANT_UNMAP, "", [&] { must(hypercall(PVN_GRANT_UNMAP, in_memory(ends), std::size(ends))); });
}

// --- events, interrupts and oneself ---

void events()
{
    auto const self = guest::start().domain_id;
    bounded(PVN_EVENT_ALLOC, "of all ports", [&] {
        while (hypercall(PVN_EVENT_ALLOC, self) >= 0) {}
    });
    constexpr std::uint64_t last = PVN_EVENT_PORTS - 1;
    auto const again = [&] { must(hypercall(PVN_EVENT_CLOSE, last)); };
    again();
    bounded(PVN_EVENT_BIND_DOMAIN, "", [&] { CHECK_EQUAL(hypercall(PVN_EVENT_BIND_DOMAIN, self, last - 1), static_cast<long>(last)); });
    bounded_call(PVN_EVENT_SEND, "", last);
    bounded_call(PVN_EVENT_UNMASK, "", last);
    bounded_call(PVN_EVENT_BIND_VCPU, "", last, 0);
    pvn_event_status status{};
    status.port = last;
    bounded_call(PVN_EVENT_STATUS, "", in_memory(&status));
    bounded(PVN_EVENT_CLOSE, "", [&] { must(hypercall(PVN_EVENT_CLOSE, last)); });
    bounded(PVN_EVENT_BIND_IPI, "", [&] { CHECK_EQUAL(hypercall(PVN_EVENT_BIND_IPI, 0), static_cast<long>(last)); });
    again();
    bounded(PVN_EVENT_BIND_VIRQ, "", [&] { CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_DEBUG, 0), static_cast<long>(last)); });
    again();

    long irq = 0;
    pvn_phys_msi message{};
    bounded(PVN_PHYS_MAP_MSI, "of all irqs but one", [&] {
        for (int i = 0; i < 95; ++i) message = {}, irq = hypercall(PVN_PHYS_MAP_MSI, in_memory(&message));
    });
    bounded(PVN_PHYS_MAP_GSI, "", [&] { irq = hypercall(PVN_PHYS_MAP_GSI, 10, PVN_GSI_LEVEL); });
    CHECK_EQUAL(irq, 95);
    bounded(PVN_EVENT_BIND_IRQ, "", [&] { CHECK_EQUAL(hypercall(PVN_EVENT_BIND_IRQ, 95), static_cast<long>(last)); });
    bounded_call(PVN_PHYS_EOI, "", 95);
    again();
    bounded_call(PVN_PHYS_UNMAP, "", 95);
    bounded_call(PVN_PHYS_IOAPIC_READ, "", 0xfec00000, 1);

    bounded_call(PVN_SCHED_YIELD, "");
    static std::uint32_t ports[64];
    for (auto& port : ports) port = 1;
    ports[63] = static_cast<std::uint32_t>(last - 1);
    guest::domain().event_pending[(last - 1) / 64] |= 1ul << (last - 1) % 64;
    bounded_call(PVN_SCHED_POLL, "", in_memory(ports), 64);
    guest::set_handler([](guest::Registers&) { guest::vcpu().event_pending = 0; });
    bounded(PVN_SCHED_BLOCK, "", [] {
        guest::vcpu().event_pending = 1;
        (void)hypercall(PVN_SCHED_BLOCK);
        guest::vcpu().event_mask = 1;
    });
}

void oneself()
{
    static std::uint64_t descriptors[8192] __attribute__((aligned(4096)));
    for (auto& d : descriptors) d = 0x00cff3000000ffff;  // data of ring 3
    bounded(PVN_VCPU_SET_LDT, "", [] { must(hypercall(PVN_VCPU_SET_LDT, in_memory(descriptors), 8192)); });
    bounded_call(PVN_VCPU_SET_USER_GS, "", 8191 << 3 | 7);
    bounded_call(PVN_VCPU_SET_LDT, "none", 0, 0);
    bounded(PVN_VCPU_SET_IO_BITMAP, "", [] { must(hypercall(PVN_VCPU_SET_IO_BITMAP, in_memory(descriptors), 8192)); });
    bounded_call(PVN_VCPU_SET_IO_BITMAP, "none", 0, 0);
    bounded_call(PVN_VCPU_SET_DESCRIPTOR, "", 12, descriptors[0]);
    bounded_call(PVN_VCPU_SET_DEBUG, "", 0, address);
    bounded_call(PVN_VCPU_GET_DEBUG, "", 0);
    std::uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    bounded_call(PVN_VCPU_SET_XCR0, "", std::uint64_t{high} << 32 | low);
    bounded_call(PVN_VCPU_SET_TIMER, "", 0);
    auto const context = guest::secondary_context(1, [](std::uint64_t) { for (;;) (void)hypercall(PVN_VCPU_DOWN, 1); });
    bounded(PVN_VCPU_INITIALISE, "", [&] { must(hypercall(PVN_VCPU_INITIALISE, 1, in_memory(&context))); });
    bounded_call(PVN_VCPU_UP, "", 1);
    bounded_call(PVN_VCPU_QUERY, "", 1);
    bounded_call(PVN_VCPU_DOWN, "", 1);
}

// --- other domains ---

// One with much memory, up to its end.
void one_domain()
{
    static std::uint64_t pfns[1024];
    pvn_domain_create create{};
    create.limit = 16384;
    create.p2m_frames = 262144;
    create.vcpus = 64;
    std::uint64_t id = 0;
    bounded(PVN_DOMAIN_CREATE, "", [&] { id = static_cast<std::uint64_t>(hypercall(PVN_DOMAIN_CREATE, in_memory(&create))); });
    CHECK(static_cast<std::int64_t>(id) > 0);
    // Spread over the whole P2M.
    bounded(PVN_DOMAIN_POPULATE, "", [&] {
        for (std::uint64_t i = 0; i < 8; ++i) CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, i * 32768, 1024), 1024);
    });
    bounded_call(PVN_DOMAIN_GET_MFNS, "", id, 0, in_memory(pfns), 1024);
    bounded(PVN_MEMORY_MAP_FOREIGN, "", [&] {
        static std::uint64_t foreign[512];
        for (std::uint64_t i = 0; i < 512; ++i) foreign[i] = i;
        pvn_map_foreign map{static_cast<std::uint16_t>(id), 0, 512, address, in_memory(foreign)};
        must(hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&map)));
        for (auto& pfn : foreign) pfn = PVN_NO_FRAME;
        must(hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&map)));
    });
    bounded(PVN_DOMAIN_EVENT_ALLOC, "of all ports", [&] {
        while (hypercall(PVN_DOMAIN_EVENT_ALLOC, id, 0) >= 0) {}
    });
    static pvn_mmu_op ops[4 + 512];
    for (std::uint64_t level = 1; level <= 4; ++level) ops[level - 1] = {PVN_MMU_OP_PROMOTE, 0, level, level, 0, 0};
    for (std::uint64_t i = 0; i < 512; ++i) ops[4 + i] = {PVN_MMU_OP_WRITE, 0, 4096 + i * 8, 0, 0, 0};
    bounded(PVN_DOMAIN_MMU_QUEUE, "", [&] { must(hypercall(PVN_DOMAIN_MMU_QUEUE, id, in_memory(ops), std::size(ops))); });
    pvn_vcpu_context context{};
    context.root_pfn = 4;
    bounded(PVN_DOMAIN_SET_CONTEXT, "", [&] { must(hypercall(PVN_DOMAIN_SET_CONTEXT, id, 0, in_memory(&context))); });
    bounded_call(PVN_DOMAIN_GET_CONTEXT, "", id, 0, in_memory(&context));
    bounded_call(PVN_DOMAIN_PAUSE, "", id);
    bounded_call(PVN_DOMAIN_UNPAUSE, "", id);
    bounded_call(PVN_DOMAIN_SET_LIMIT, "", id, 16384);
    pvn_sched_parameters parameters{};
    bounded_call(PVN_DOMAIN_GET_SCHED, "", id, in_memory(&parameters));
    bounded(PVN_DOMAIN_SET_SCHED, "", [&] { must(hypercall(PVN_DOMAIN_SET_SCHED, id, in_memory(&parameters))); });
    for (auto const call : {PVN_DOMAIN_REQUEST_POWER, PVN_DOMAIN_REQUEST_VCPUS})
        bounded(static_cast<std::uint64_t>(call), "not listened to", [=] { CHECK_EQUAL(hypercall(static_cast<std::uint64_t>(call), id, 1), -PVN_E_NOT_LISTENING); });
    bounded_call(PVN_DOMAIN_VCPU_INFO, "", id, 63, in_memory(pfns));
    bounded_call(PVN_DOMAIN_SET_AFFINITY, "", id, 63, 1, 1);
    bounded_call(PVN_DOMAIN_GET_TRAPS, "", 0, in_memory(records), 64);
    bounded(PVN_DOMAIN_DESTROY, "", [&] { must(guest::destroy_domain(id)); });
}

// What looks at all domains.
void all_domains()
{
    static pvn_domain_info all[256];
    bounded(PVN_DOMAIN_INFO, "of all", [] { CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, 0, in_memory(all), 256), 255); });
    bounded_call(PVN_TIME_SET_WALL_CLOCK, "", 4102444800, 0, 0);
    bounded(PVN_SYSTEM_LOCKS, "", [] { CHECK(hypercall(PVN_SYSTEM_LOCKS, in_memory(all), 64) > 0); });
    bounded(PVN_SYSTEM_POOL_CREATE, "", [] { CHECK_EQUAL(hypercall(PVN_SYSTEM_POOL_CREATE, PVN_SCHED_POLICY_BVT), 1); });
    bounded(PVN_SYSTEM_POOL_INFO, "of all", [] { CHECK_EQUAL(hypercall(PVN_SYSTEM_POOL_INFO, 0, in_memory(all), 64), 2); });
    bounded(PVN_SYSTEM_POOL_DESTROY, "", [] { must(hypercall(PVN_SYSTEM_POOL_DESTROY, 1)); });
    bounded_call(PVN_SYSTEM_CPU_INFO, "", 0, in_memory(all), 64);
    bounded(PVN_DOMAIN_AUDIT, "", [] { must(hypercall(PVN_DOMAIN_AUDIT)); });
    bounded_call(PVN_SYSTEM_DEBUG_KEY, "for help", 'h');
    bounded_call(PVN_SYSTEM_DEBUG_KEY, "for an audit", 'a');
    bounded_call(PVN_SYSTEM_DEBUG_KEY, "for events", 'v');
}

// What says a line of each vCPU, and lets interrupts in after each: of a few, as the machine's serial port may make it wait otherwise.
void lines()
{
    auto const id = guest::create_domain(1, 1, 64);
    CHECK(id > 0);
    bounded_call(PVN_SYSTEM_DEBUG_KEY, "for domains", 'd');
    bounded_call(PVN_SYSTEM_DEBUG_KEY, "for run queues", 'r');
    must(guest::destroy_domain(static_cast<std::uint64_t>(id)));
}

void system_calls()
{
    static char text[65536];
    for (auto& c : text) c = 'x';
    text[sizeof text - 1] = '\n';
    bounded_call(PVN_SYSTEM_VERSION, "");
    bounded_call(PVN_SYSTEM_INFO, "", in_memory(text));
    bounded_call(PVN_SYSTEM_CONSOLE_WRITE, "", in_memory(text + sizeof text - 4096), 4096);
    bounded_call(PVN_SYSTEM_CONSOLE_READ, "", in_memory(text), 4096);
    bounded_call(PVN_SYSTEM_LOG_READ, "", in_memory(text), sizeof text);
    bounded_call(PVN_SYSTEM_FAIL_ALLOCATION, "", 0);
    bounded_call(PVN_SYSTEM_TRACE, "", 1 << PVN_TRACE_ENTER | 1 << PVN_TRACE_LEAVE | 1 << PVN_TRACE_WINDOW);
    bounded(PVN_SYSTEM_TRACE_READ, "", [&] {
        for (int i = 0; i < 1024; ++i) (void)hypercall(PVN_SYSTEM_VERSION);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE_READ, 0, in_memory(records), PVN_TRACE_RECORDS), 1024);
    });
    static pvn_call calls[64];
    static pvn_mmu_op ops[256];
    for (auto& op : ops) op = {PVN_MMU_OP_WRITE, 0, guest::entry_of(address), 0, 0, 0};
    for (auto& call : calls) call = {PVN_MMU_QUEUE, 0, {in_memory(ops), 256}};
    bounded(PVN_MULTI, "of queues", [&] { must(hypercall(PVN_MULTI, in_memory(calls), 64)); });
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::prepare_bounds();
    lines();
    guest::make_a_crowd(254);
    page_tables();
    memory();
    grants();
    events();
    oneself();
    one_domain();
    system_calls();
    all_domains();
    CHECK(guest::all_bounds_hold);
}
