// SPDX-License-Identifier: MIT
// The one-shot timer fires at its deadline, not before and only once; a store to the page moves the deadline away, or stops it; BLOCK and
// POLL end when they must; time never goes back and agrees with what the guest computes from its page and the TSC.
#include "guest.hpp"

char const guest_name[] = "timer";

namespace {

int upcalls;
std::uint64_t port;

std::uint64_t now()
{
    auto const volatile& t = guest::vcpu().time;
    for (;;) {
        auto const version = t.version;
        std::uint32_t low, high;
        asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
        auto const delta = (std::uint64_t{high} << 32 | low) - t.tsc_timestamp;
        auto const shifted = t.tsc_shift < 0 ? delta >> -t.tsc_shift : delta << t.tsc_shift;
        auto const result = t.system_time + static_cast<std::uint64_t>(static_cast<unsigned __int128>(shifted) * t.tsc_to_system_mul >> 32);
        if ((version & 1) == 0 && version == t.version) return result;
    }
}
std::uint64_t uptime()
{
    pvn_system_info info{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, reinterpret_cast<std::uint64_t>(&info)), 0);
    return info.uptime;
}
bool pending() { return (guest::domain().event_pending[port / 64] >> port % 64 & 1) != 0; }
void clear()
{
    guest::vcpu().event_pending = 0;
    guest::vcpu().pending_words = 0;
    guest::domain().event_pending[port / 64] &= ~(std::uint64_t{1} << port % 64);
}
void on_event(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, guest::event_vector);
    CHECK(pending());
    clear();
    ++upcalls;
}
constexpr std::uint64_t ms = 1000000;

// By a store if that is enough, as a kernel does it.
void set_timer(std::uint64_t deadline)
{
    auto volatile& page = guest::vcpu();
    page.timer_deadline = deadline;
    auto const look = page.timer_look;
    if (look == 0 || deadline < look) CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, deadline), 0);
}

void deadline_in_the_page()
{
    auto volatile& page = guest::vcpu();
    page.event_mask = 1;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, 0), 0);
    CHECK_EQUAL(page.timer_deadline, 0u);
    CHECK_EQUAL(page.timer_look, 0u);
    CHECK(!pending());

    // Moved away while it runs: Paravane looks, and looks again when it is there.
    auto const first = now() + 20 * ms, second = first + 20 * ms, third = second + 20 * ms;
    set_timer(first);
    CHECK_EQUAL(page.timer_deadline, first);
    CHECK_EQUAL(page.timer_look, first);
    page.timer_deadline = second;
    while (now() < first + ms) {
        if (now() < second) CHECK(!pending());
    }
    while (page.timer_look != second) CHECK(now() < second || page.timer_look == 0);  // 0: the machine stood still for that long
    // Once more, while it waits.
    page.timer_deadline = third;
    CHECK_EQUAL(hypercall(PVN_SCHED_BLOCK), 0);
    CHECK(now() + 1000 >= third);
    CHECK_EQUAL(page.timer_look, 0u);
    clear();

    // An earlier one must be told.
    page.event_mask = 1;
    set_timer(now() + 10000 * ms);
    auto const soon = now() + 10 * ms;
    set_timer(soon);
    CHECK_EQUAL(page.timer_look, soon);
    CHECK_EQUAL(hypercall(PVN_SCHED_BLOCK), 0);
    CHECK(now() + 1000 >= soon && now() < soon + 5000 * ms);
    clear();

    // Waited for with events masked: it is there, and nothing was told; then it is there at once.
    page.event_mask = 1;
    auto const told = upcalls;
    auto const later = now() + 10 * ms;
    set_timer(later);
    CHECK_EQUAL(hypercall(PVN_SCHED_WAIT), 0);
    CHECK(now() + 1000 >= later && pending());
    CHECK_EQUAL(page.event_mask, 1);
    CHECK_EQUAL(hypercall(PVN_SCHED_WAIT), 0);
    CHECK_EQUAL(upcalls, told);
    clear();

    // What it names is sent to first: here its own port, which ends the wait.  If that cannot be sent to, nothing is waited for.
    auto const own = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_IPI, 0));
    CHECK_EQUAL(hypercall(PVN_SCHED_WAIT, own), 0);
    CHECK((guest::domain().event_pending[own / 64] >> own % 64 & 1) != 0);
    CHECK(!pending());
    page.event_pending = 0;
    page.pending_words = 0;
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, own), 0);
    CHECK_EQUAL(hypercall(PVN_SCHED_WAIT, own), -PVN_E_NOT_FOUND);
    for (auto const wrong : {port, std::uint64_t{PVN_EVENT_PORTS}, std::uint64_t{1} << 32 | own})
        CHECK_EQUAL(hypercall(PVN_SCHED_WAIT, wrong), -PVN_E_INVALID);
    CHECK_EQUAL(upcalls, told);

    // Stopped by a store: nothing comes, and Paravane does not look any more.
    page.event_mask = 1;
    auto const never = now() + 10 * ms;
    set_timer(never);
    page.timer_deadline = 0;
    for (auto const end = never + 10 * ms; now() < end;) CHECK(!pending());
    while (page.timer_look != 0) CHECK(now() < never + 5000 * ms);
    CHECK(!pending());

    // A tick: Paravane looks when the next one will be, and finds the deadline that is there then, or none.
    constexpr std::uint64_t tick = 10 * ms;
    page.timer_interval = tick;
    auto const began = upcalls;
    auto next = now() + tick;
    set_timer(next);
    for (unsigned i = 0; i < 3; ++i) {
        CHECK_EQUAL(hypercall(PVN_SCHED_BLOCK), 0);
        CHECK(now() + 1000 >= next);
        CHECK_EQUAL(page.timer_deadline, 0u);
        CHECK(page.timer_look >= next + tick);
        if (page.timer_look != next + tick) CHECK(now() >= page.timer_look - tick);  // the machine stood still for longer than that
        next = page.timer_look;
        page.event_mask = 1;
        page.timer_deadline = next;
    }
    CHECK_EQUAL(upcalls, began + 3);
    page.timer_deadline = 0;
    while (page.timer_look != 0) CHECK(now() < next + 5000 * ms);
    CHECK(!pending());
    page.timer_interval = 1;  // no tick
    set_timer(now() + ms);
    CHECK_EQUAL(hypercall(PVN_SCHED_BLOCK), 0);
    CHECK_EQUAL(page.timer_look, 0u);
    page.timer_interval = 0;

    // What Paravane shows there is for the guest: written over, it means nothing to Paravane.
    auto const wanted = now() + 10 * ms;
    set_timer(wanted);
    page.timer_look = 1;
    CHECK_EQUAL(hypercall(PVN_SCHED_BLOCK), 0);
    CHECK(now() + 1000 >= wanted);
    CHECK_EQUAL(page.timer_look, 0u);
    clear();
    page.timer_deadline = ~std::uint64_t{0};
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, ~std::uint64_t{0}), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, 0), 0);
    CHECK(!pending());
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(on_event);
    auto& page = guest::vcpu();
    port = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0));
    auto const other = static_cast<std::uint32_t>(hypercall(PVN_EVENT_BIND_IPI, 0));
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, port), 0);

    // One clock.
    auto last = now();
    for (int i = 0; i < 2000; ++i) {
        auto const a = now(), b = uptime(), c = now();
        CHECK(last <= a && a <= b + 1000 && b <= c + 1000);
        last = c;
    }

    // The past fires at once, the future when it is there; a stopped one does not.
    page.event_mask = 0;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, 1), 0);
    CHECK_EQUAL(upcalls, 1);
    auto deadline = now() + 5 * ms;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, deadline), 0);
    auto const early = __atomic_load_n(&upcalls, __ATOMIC_SEQ_CST);
    if (now() < deadline) CHECK_EQUAL(early, 1);  // the machine may stand still for longer than that
    while (__atomic_load_n(&upcalls, __ATOMIC_RELAXED) == 1) CHECK(now() < deadline + 2000 * ms);
    CHECK(now() + 1000 >= deadline);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, now() + 10000 * ms), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, 0), 0);
    for (auto const end = now() + 10 * ms; now() < end;) {}
    CHECK_EQUAL(upcalls, 2);

    // Block, with the upcall masked before: it unmasks.
    page.event_mask = 1;
    deadline = now() + 200 * ms;
    auto const blocked = page.runstate.time[PVN_RUNSTATE_BLOCKED];
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, deadline), 0);
    CHECK_EQUAL(hypercall(PVN_SCHED_BLOCK), 0);
    CHECK_EQUAL(upcalls, 3);
    CHECK(now() + 1000 >= deadline);
    CHECK(page.runstate.time[PVN_RUNSTATE_BLOCKED] > blocked);
    page.event_mask = 1;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, 1), 0);
    asm volatile("call *%0" : : "r"(std::uint64_t{PVN_VDSO_BLOCK}) : "rax", "rcx", "r11", "memory", "cc");  // one is pending: at once
    CHECK_EQUAL(upcalls, 4);

    // Poll: of a port that stays quiet until the deadline, though another event comes on the way; events stay masked.
    page.event_mask = 1;
    auto const start = now();
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, start + 2 * ms), 0);
    std::uint32_t list[1] = {other};
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, start + 8 * ms), 0);
    CHECK(now() + 1000 >= start + 8 * ms);
    CHECK(pending());
    CHECK_EQUAL(upcalls, 4);
    CHECK_EQUAL(page.event_mask, 1u);
    clear();
    // Of the timer's own port, without a deadline, masked port: ends when it is pending.
    guest::domain().event_mask[port / 64] |= std::uint64_t{1} << port % 64;
    list[0] = static_cast<std::uint32_t>(port);
    deadline = now() + 4 * ms;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, deadline), 0);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, 0), 0);
    CHECK(pending() && now() + 1000 >= deadline);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, 0), 0);  // still pending: at once
    clear();
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, 1), 0);  // a deadline that is over
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 65, 0), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, 0x1000, 1, 0), -PVN_E_BAD_ADDRESS);
    list[0] = PVN_EVENT_PORTS;
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, 0), -PVN_E_INVALID);
    // Of every port, whether there is such a one or not.
    for (std::uint32_t any = 0; any <= PVN_EVENT_PORTS + 64; ++any) {
        list[0] = any;
        CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, 1), any == 0 || any >= PVN_EVENT_PORTS ? -PVN_E_INVALID : 0);
    }
    list[0] = 0xffffffff;
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, 1), -PVN_E_INVALID);
    CHECK_EQUAL(upcalls, 4);
    guest::domain().event_mask[port / 64] &= ~(std::uint64_t{1} << port % 64);
    deadline_in_the_page();
}
