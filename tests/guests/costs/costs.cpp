// SPDX-License-Identifier: MIT
// What the hypercalls that are made most cost: instructions of guest and hypervisor together, since QEMU's clock is the count of
// instructions (`config`) and this reads it.  `make bench` shows the figures; here they must be there, and the operations must do
// what they are to do.  Of the batches of each operation the cheapest counts.
#include "smp.hpp"

char const guest_name[] = "costs";

namespace {

constexpr std::uint64_t address = 0x10000000, batches = 8, in_batch = 32;

std::uint64_t tsc()
{
    std::uint32_t low, high;
    asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
    return std::uint64_t{high} << 32 | low;
}

void print_number(std::uint64_t n)
{
    char digits[20];
    std::size_t at = sizeof digits;
    do digits[--at] = static_cast<char>('0' + n % 10);
    while ((n /= 10) != 0);
    guest::print({digits + at, sizeof digits - at});
}

void report(char const* name, std::uint64_t cost)
{
    guest::print("cost ");
    guest::print(name);
    guest::print(" ");
    print_number(cost);
    guest::print("\n");
}

// Once in each round of the loop that tests/bench/profile.py looks at.
extern "C" void costs_round();
asm(".pushsection .text; .global costs_round; costs_round: ret; .popsection");

bool chosen(char const* name)
{
    char const* line = guest::start().command_line;
    for (; *name != 0 && *line == *name; ++name) ++line;
    return *name == 0 && *line == 0;
}

// `operation` does its work `units` times.
template <class Operation>
void measure(char const* name, Operation operation, std::uint64_t units = 1)
{
    operation();
    if (chosen(name)) {
        guest::print("looping\n");
        for (;; operation()) costs_round();
    }
    std::uint64_t cheapest = ~std::uint64_t{0};
    for (std::uint64_t batch = 0; batch < batches; ++batch) {
        auto const start = tsc();
        for (std::uint64_t i = 0; i < in_batch; ++i) operation();
        auto const cost = (tsc() - start) / (in_batch * units);
        if (cost < cheapest) cheapest = cost;
    }
    CHECK(cheapest > 0);
    report(name, cheapest);
}

void must(long result) { CHECK_EQUAL(result, 0); }

void queue(pvn_mmu_op* ops, std::uint64_t count) { must(raw_hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(ops), count)); }

// --- this vCPU alone ---

std::uint64_t volatile upcalls;

void on_trap(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, guest::event_vector);
    guest::vcpu().event_pending = 0;
    auto words = __atomic_exchange_n(&guest::vcpu().pending_words, 0, __ATOMIC_SEQ_CST);
    for (; words != 0; words &= words - 1) __atomic_store_n(&guest::domain().event_pending[__builtin_ctzll(words)], 0, __ATOMIC_SEQ_CST);
    upcalls = upcalls + 1;
}

void page_tables()
{
    auto* const page = guest::allocate_page();
    CHECK_EQUAL(guest::map_user(address, guest::pfn_of(page), 7), 0);
    auto const entry = guest::entry_of(address);
    auto const value = guest::p2m()[guest::pfn_of(page)] * 4096 | 7;
    bool there = true;
    auto const next = [&] { return (there = !there) ? value : 0; };

    measure("pte_by_address", [&] { must(raw_hypercall(PVN_MMU_UPDATE_VA, address, next())); });
    measure("pte_by_address_invalidated", [&] { must(raw_hypercall(PVN_MMU_UPDATE_VA, address, next(), PVN_MMU_INVALIDATE)); });
    measure("pte_write", [&] { must(raw_hypercall(PVN_MMU_WRITE, entry, next(), 0)); });
    static pvn_mmu_op ops[64];
    measure("pte_queue_of_1", [&] {
        ops[0] = {PVN_MMU_OP_WRITE, 0, entry, next(), 0, 0};
        queue(ops, 1);
    });
    measure("pte_queue_of_64_each", [&] {
        auto const v = next();
        for (std::uint64_t i = 0; i < 64; ++i) ops[i] = {PVN_MMU_OP_WRITE, 0, (entry & ~std::uint64_t{4095}) + i * 8, v, 0, 0};
        queue(ops, 64);
    }, 64);
    static std::uint64_t values[64];
    measure("pte_run_of_64_each", [&] {
        auto const v = next();
        for (auto& value : values) value = v;
        ops[0] = {PVN_MMU_OP_WRITE_RUN, 0, entry & ~std::uint64_t{4095}, reinterpret_cast<std::uint64_t>(values), 0, 64};
        queue(ops, 1);
    }, 64);
    measure("invalidate", [] { must(raw_hypercall(PVN_MMU_INVALIDATE_PAGE, address)); });
    measure("flush", [] { must(raw_hypercall(PVN_MMU_FLUSH)); });

    auto* const table = guest::allocate_page();
    CHECK_EQUAL(guest::protect(table, false), 0);
    measure("promote_demote", [&] {
        must(guest::promote(guest::pfn_of(table), 1));
        must(guest::demote(guest::pfn_of(table)));
    });

    // A second root that is a copy of the first.
    auto* const root = static_cast<std::uint64_t*>(guest::allocate_page());
    auto const* const old = static_cast<std::uint64_t const*>(guest::address_of(guest::start().tables_pfn));
    for (int i = 0; i < 512; ++i) root[i] = old[i];
    CHECK_EQUAL(guest::protect(root, false), 0);
    must(guest::promote(guest::pfn_of(root), 4));
    bool second = false;
    measure("set_root", [&] { must(raw_hypercall(PVN_MMU_SET_ROOT, (second = !second) ? guest::pfn_of(root) : guest::start().tables_pfn)); });
    must(raw_hypercall(PVN_MMU_SET_ROOT, guest::start().tables_pfn));
}

// To itself: a granter costs no other work than another one would.
void grants()
{
    auto* const table = static_cast<std::uint64_t*>(guest::allocate_page());
    auto const* const granted = guest::allocate_page();
    auto const* const own = guest::allocate_page();
    auto const word = PVN_GRANT_VALID | std::uint64_t{guest::start().domain_id} << PVN_GRANT_DOMAIN_SHIFT | guest::pfn_of(granted) << PVN_GRANT_PFN_SHIFT;
    for (unsigned i = 0; i < 32; ++i) table[i] = word;
    must(raw_hypercall(PVN_GRANT_SET_TABLE, 0, guest::pfn_of(table)));
    static pvn_grant_copy copies[32];
    static pvn_grant_map maps[32];
    static pvn_grant_unmap ends[32];
    auto const copy = [&](std::uint64_t count, std::uint16_t bytes) {
        for (std::uint32_t i = 0; i < count; ++i) copies[i] = {guest::pfn_of(own) * 4096, i, guest::start().domain_id, 0, 0, bytes, 0};
        must(raw_hypercall(PVN_GRANT_COPY, reinterpret_cast<std::uint64_t>(copies), count));
    };
    measure("grant_copy_of_64_bytes", [&] { copy(1, 64); });
    measure("grant_copy_of_page", [&] { copy(1, 4096); });
    measure("grant_copy_of_32_pages_each", [&] { copy(32, 4096); }, 32);
    measure("grant_map_and_unmap_32_each", [&] {
        for (unsigned i = 0; i < 32; ++i) maps[i] = {guest::start().domain_id, 0, i, address + (100 + i) * 4096, 0, 0};
        must(raw_hypercall(PVN_GRANT_MAP, reinterpret_cast<std::uint64_t>(maps), 32));
        for (unsigned i = 0; i < 32; ++i) ends[i] = {maps[i].handle, 0};
        must(raw_hypercall(PVN_GRANT_UNMAP, reinterpret_cast<std::uint64_t>(ends), 32));
    }, 32);
}

void one_vcpu()
{
    measure("empty_hypercall", [] { CHECK_EQUAL(raw_hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION); });
    page_tables();

    auto const port = static_cast<std::uint64_t>(raw_hypercall(PVN_EVENT_BIND_IPI, 0));
    must(raw_hypercall(PVN_EVENT_UNMASK, port));
    guest::vcpu().event_mask = 0;
    upcalls = 0;
    measure("event_to_self", [&] { must(raw_hypercall(PVN_EVENT_SEND, port)); });
    CHECK_EQUAL(upcalls, batches * in_batch + 1);
    guest::vcpu().event_mask = 1;
    must(raw_hypercall(PVN_EVENT_CLOSE, port));

    grants();

    measure("yield_alone", [] { must(raw_hypercall(PVN_SCHED_YIELD)); });
    measure("set_timer", [] { must(raw_hypercall(PVN_VCPU_SET_TIMER, 0)); });

    pvn_domain_create create{};
    create.p2m_frames = 4096;
    create.vcpus = 1;
    measure("domain_create_destroy", [&] {
        auto const id = raw_hypercall(PVN_DOMAIN_CREATE, reinterpret_cast<std::uint64_t>(&create));
        CHECK(id > 0);
        while (raw_hypercall(PVN_DOMAIN_DESTROY, static_cast<std::uint64_t>(id)) == -PVN_E_AGAIN) {}
    });
}

// --- two vCPUs, on one CPU and on two ---

constexpr std::uint64_t other = 1;
std::uint32_t to_other, to_first;
bool spin, spins;

void take(std::uint32_t port) { __atomic_fetch_and(&guest::domain().event_pending[port / 64], ~(std::uint64_t{1} << port % 64), __ATOMIC_SEQ_CST); }
void wait_for(std::uint32_t const& port)
{
    must(raw_hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(&port), 1, 0));
    take(port);
}

// Answers each event; while it is to spin it does that instead.
[[noreturn]] void answerer(std::uint64_t)
{
    guest::install_traps();
    for (;;) {
        wait_for(to_other);
        while (guest::load(spin)) {
            guest::store(spins, true);
            asm volatile("pause" : : : "memory");
        }
        guest::store(spins, false);
        must(raw_hypercall(PVN_EVENT_SEND, to_first));
    }
}

void pin(std::uint64_t vcpu, std::uint64_t cpus)
{
    must(raw_hypercall(PVN_DOMAIN_SET_AFFINITY, guest::start().domain_id, vcpu, cpus, cpus));
    must(raw_hypercall(PVN_SCHED_YIELD));
}

void ping_pong()
{
    must(raw_hypercall(PVN_EVENT_SEND, to_other));
    wait_for(to_first);
}

void two_vcpus()
{
    CHECK_EQUAL(guest::start().vcpus, 2u);
    alignas(8) static std::uint32_t ports[2];
    ports[0] = static_cast<std::uint32_t>(raw_hypercall(PVN_EVENT_BIND_IPI, other));
    ports[1] = static_cast<std::uint32_t>(raw_hypercall(PVN_EVENT_BIND_IPI, 0));
    to_other = ports[0], to_first = ports[1];
    pin(0, 1);
    guest::start_secondary(other, answerer);

    pin(other, 1);
    ping_pong();
    measure("ping_pong_on_one_cpu_hop", ping_pong, 2);
    pin(other, 2);
    ping_pong();
    measure("ping_pong_on_two_cpus_hop", ping_pong, 2);

    // With the other one in its guest, on its CPU.
    guest::store(spin, true);
    must(raw_hypercall(PVN_EVENT_SEND, to_other));
    guest::wait_until([] { return guest::load(spins); });
    measure("flush_of_other_vcpu", [] { must(raw_hypercall(PVN_MMU_FLUSH_VCPUS, 1 << other, PVN_MMU_FLUSH_ALL)); });
    guest::store(spin, false);
    wait_for(to_first);
    // And with it blocked.
    measure("flush_of_blocked_vcpu", [] { must(raw_hypercall(PVN_MMU_FLUSH_VCPUS, 1 << other, PVN_MMU_FLUSH_ALL)); });
}

// --- two domains ---

constexpr std::uint64_t partner = 1;

bool came(std::uint32_t port) { return (guest::load(guest::domain().event_pending[port / 64]) >> port % 64 & 1) != 0; }

// Waits for an event of `port`, and sends one there by the call that waits.
void send_and_wait(std::uint32_t port)
{
    for (std::uint64_t send = port; !came(port); send = 0) {
        guest::vcpu().event_pending = 0;
        if (!came(port)) must(raw_hypercall(PVN_SCHED_WAIT, send));
    }
    take(port);
}

// The other domain: offers three ports and answers each event of the last; once the second is pending, by the call that waits for the next.
[[noreturn]] void answer_domain()
{
    CHECK(raw_hypercall(PVN_EVENT_ALLOC, 0) > 0);
    auto const by_wait = static_cast<std::uint32_t>(raw_hypercall(PVN_EVENT_ALLOC, 0));
    alignas(8) static std::uint32_t port;
    port = static_cast<std::uint32_t>(raw_hypercall(PVN_EVENT_ALLOC, 0));
    wait_for(port);
    for (;;) {
        if (came(by_wait)) {
            send_and_wait(port);
        } else {
            must(raw_hypercall(PVN_EVENT_SEND, port));
            wait_for(port);
        }
    }
}

// The next port after `remote` that the other domain offers.
std::uint32_t bind_after(std::uint64_t& remote)
{
    for (;; must(raw_hypercall(PVN_SCHED_YIELD)))
        for (auto offered = remote + 1; offered < 16; ++offered)
            if (auto const port = raw_hypercall(PVN_EVENT_BIND_DOMAIN, partner, offered); port > 0) {
                remote = offered;
                return static_cast<std::uint32_t>(port);
            }
}

void two_domains()
{
    must(raw_hypercall(PVN_DOMAIN_SET_AFFINITY, partner, 0, 1, 1));
    std::uint64_t remote = 0;
    auto const masked = bind_after(remote);
    measure("event_to_domain_masked", [&] { must(raw_hypercall(PVN_EVENT_SEND, masked)); });

    auto const by_wait = bind_after(remote);
    alignas(8) static std::uint32_t port;
    port = bind_after(remote);
    take(port);  // whoever binds is told that something may have been sent before
    auto const there_and_back = [] {
        must(raw_hypercall(PVN_EVENT_SEND, port));
        wait_for(port);
    };
    auto const on_two_cpus = [] { must(raw_hypercall(PVN_DOMAIN_SET_AFFINITY, partner, 0, 2, 2)); };
    measure("ping_pong_of_domains_on_one_cpu_hop", there_and_back, 2);
    on_two_cpus();
    there_and_back();
    measure("ping_pong_of_domains_on_two_cpus_hop", there_and_back, 2);

    must(raw_hypercall(PVN_DOMAIN_SET_AFFINITY, partner, 0, 1, 1));
    must(raw_hypercall(PVN_EVENT_SEND, by_wait));
    there_and_back();
    auto const waiting = [] { send_and_wait(port); };
    measure("ping_pong_by_wait_on_one_cpu_hop", waiting, 2);
    on_two_cpus();
    waiting();
    measure("ping_pong_by_wait_on_two_cpus_hop", waiting, 2);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    if ((guest::start().flags & PVN_START_PRIVILEGED) == 0) answer_domain();
    guest::set_handler(on_trap);
    one_vcpu();
    two_vcpus();
    two_domains();
}
