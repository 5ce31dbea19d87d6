// SPDX-License-Identifier: MIT
// The life of virtual CPUs: initialised, up, down, up again where they were; each with a page of its own at the one address; events
// between them reach the one that is meant, running or blocked.  More vCPUs than CPUs, so that they also share.
#include "smp.hpp"

char const guest_name[] = "vcpus";

namespace {

constexpr std::uint64_t most = 64;
std::uint64_t ids[most], rounds[most], upcalls[most], gs[most];
bool stopped[most];
std::uint64_t kick[most];  // IPI port of each

void on_event(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, guest::event_vector);
    auto& page = guest::vcpu();
    auto const id = page.vcpu_id;
    page.event_pending = 0;
    auto words = __atomic_exchange_n(&page.pending_words, 0, __ATOMIC_SEQ_CST);
    CHECK_EQUAL(words & ~(kick[id] / 64 == 0 ? 1ull : 3ull), 0u);
    auto const bit = std::uint64_t{1} << kick[id] % 64;
    auto const before = __atomic_fetch_and(&guest::domain().event_pending[kick[id] / 64], ~bit, __ATOMIC_SEQ_CST);
    if ((before & bit) != 0) __atomic_fetch_add(&upcalls[id], 1, __ATOMIC_SEQ_CST);
}

void secondary(std::uint64_t number)
{
    auto& page = guest::vcpu();
    CHECK_EQUAL(page.event_mask, 1u);
    guest::install_traps();
    page.kernel_sp = 0;  // no ring 3 here
    guest::store(ids[number], std::uint64_t{page.vcpu_id} + 100);
    asm volatile("wrgsbase %0" : : "r"(number * 0x1000));
    while (guest::load(kick[number]) == 0) asm volatile("pause");
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, kick[number]), 0);
    // Blocked between events.
    for (;;) {
        page.event_mask = 1;
        if (guest::load(stopped[number])) {
            guest::store(stopped[number], false);
            CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, number), 0);  // comes back when it is up again
        }
        asm volatile("call *%0" : : "r"(std::uint64_t{PVN_VDSO_BLOCK}) : "rax", "rcx", "r11", "memory", "cc");
        std::uint64_t base;
        asm volatile("rdgsbase %0" : "=r"(base));
        guest::store(gs[number], base);
        __atomic_fetch_add(&rounds[number], 1, __ATOMIC_SEQ_CST);
    }
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(on_event);
    auto const count = guest::start().vcpus;
    CHECK_EQUAL(count, 6u);
    CHECK_EQUAL(guest::vcpu().vcpu_id, 0u);
    auto const query = [](std::uint64_t n) { return hypercall(PVN_VCPU_QUERY, n); };

    // Errors, each of which changes nothing.
    auto context = guest::secondary_context(1, secondary);
    auto const at = reinterpret_cast<std::uint64_t>(&context);
    CHECK_EQUAL(query(1), PVN_RUNSTATE_OFFLINE);
    CHECK_EQUAL(query(count), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_VCPU_UP, 1), -PVN_E_INVALID);  // no context yet
    CHECK_EQUAL(hypercall(PVN_VCPU_UP, count), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, 1), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, count), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, 0), -PVN_E_BUSY);   // the last one
    CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, count, at), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, 0, at), -PVN_E_BUSY);
    CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, 1, 0x1000), -PVN_E_BAD_ADDRESS);
    struct { std::uint64_t pvn_vcpu_context::* field; std::uint64_t bad; long error; } const bad[] = {
        {&pvn_vcpu_context::rip, std::uint64_t{1} << 62, -PVN_E_INVALID},  {&pvn_vcpu_context::rip, PVN_SLOT_TEXT, -PVN_E_INVALID},
        {&pvn_vcpu_context::rsp, PVN_SLOT_ENTRY_STACKS, -PVN_E_INVALID},   {&pvn_vcpu_context::gs_base, std::uint64_t{1} << 63, -PVN_E_INVALID},
        {&pvn_vcpu_context::fs_base, PVN_SLOT_BASE, -PVN_E_INVALID},       {&pvn_vcpu_context::root_pfn, std::uint64_t{1} << 40, -PVN_E_RANGE},
        {&pvn_vcpu_context::root_pfn, guest::pfn_of(&context), -PVN_E_WRONG_TYPE},
    };
    for (auto const& b : bad) {
        auto const good = context.*b.field;
        context.*b.field = b.bad;
        CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, 1, at), b.error);
        context.*b.field = good;
    }
    context.cs = 0x80;  // ring 0's
    CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, 1, at), -PVN_E_INVALID);
    context.cs = 0;
    context.flags = 1;
    CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, 1, at), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_VCPU_UP, 1), -PVN_E_INVALID);

    // All of them run, each with its own page.
    for (std::uint64_t n = 1; n < count; ++n) guest::start_secondary(n, secondary);
    for (std::uint64_t n = 1; n < count; ++n) {
        guest::wait_until([&] { return guest::load(ids[n]) != 0; });
        CHECK_EQUAL(ids[n], n + 100);
        CHECK_EQUAL(hypercall(PVN_VCPU_UP, n), -PVN_E_BUSY);
        CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, n, at), -PVN_E_BUSY);
        auto const port = hypercall(PVN_EVENT_BIND_IPI, n);
        CHECK(port > 0);
        guest::store(kick[n], static_cast<std::uint64_t>(port));
    }

    // Events: every one is heard, by the one that is meant.
    for (std::uint64_t round = 1; round <= 50; ++round)
        for (std::uint64_t n = 1; n < count; ++n) {
            CHECK_EQUAL(hypercall(PVN_EVENT_SEND, kick[n]), 0);
            guest::wait_until([&] { return guest::load(upcalls[n]) == round && guest::load(rounds[n]) >= round; });
            CHECK_EQUAL(guest::load(gs[n]), n * 0x1000);
        }

    // Down: stays down whatever comes, and goes on where it was.
    for (std::uint64_t n = 1; n < count; ++n) {
        guest::store(stopped[n], true);
        auto const heard = guest::load(upcalls[n]), done = guest::load(rounds[n]);
        CHECK_EQUAL(hypercall(PVN_EVENT_SEND, kick[n]), 0);
        guest::wait_until([&] { return query(n) == PVN_RUNSTATE_OFFLINE; });
        CHECK_EQUAL(guest::load(stopped[n]), false);
        CHECK_EQUAL(guest::load(upcalls[n]), heard + 1);
        CHECK_EQUAL(hypercall(PVN_EVENT_SEND, kick[n]), 0);
        CHECK_EQUAL(query(n), PVN_RUNSTATE_OFFLINE);
        CHECK_EQUAL(hypercall(PVN_VCPU_UP, n), 0);
        guest::wait_until([&] { return guest::load(upcalls[n]) == heard + 2 && guest::load(rounds[n]) >= done + 1; });
    }

    // Down from outside, at any point, and a new beginning.
    for (std::uint64_t n = 1; n < count; ++n) {
        CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, n), 0);
        guest::wait_until([&] { return query(n) == PVN_RUNSTATE_OFFLINE; });
        guest::store(ids[n], std::uint64_t{0});
        guest::vcpu().event_mask = 1;
        auto again = guest::secondary_context(n, [](std::uint64_t number) {
            guest::store(ids[number], std::uint64_t{guest::vcpu().vcpu_id} + 200);
            for (;;) asm volatile("pause");
        });
        CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, n, reinterpret_cast<std::uint64_t>(&again)), 0);
        CHECK_EQUAL(hypercall(PVN_VCPU_UP, n), 0);
        guest::wait_until([&] { return guest::load(ids[n]) == n + 200; });
    }
    for (std::uint64_t n = 1; n < count; ++n) CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, n), 0);  // while they spin
    for (std::uint64_t n = 1; n < count; ++n) guest::wait_until([&] { return query(n) == PVN_RUNSTATE_OFFLINE; });
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
}
