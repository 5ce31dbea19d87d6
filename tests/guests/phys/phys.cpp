// SPDX-License-Identifier: MIT
// Interrupts of the machine: a pin and a message become an irq, an irq becomes a port, and a device is heard by it, again and again, as its kind of
// pin promises; what names no pin, irq or I/O APIC, or is taken, is refused, and nothing changes.
#include "guest.hpp"

char const guest_name[] = "phys";

namespace {

constexpr std::uint64_t io_apic = 0xfec00000, rtc_pin = 8, serial_pin = 4, irqs = 96;

using guest::in_memory;
long map(std::uint64_t pin, std::uint64_t flags = 0) { return hypercall(PVN_PHYS_MAP_GSI, pin, flags); }
long bind(long irq) { return hypercall(PVN_EVENT_BIND_IRQ, static_cast<std::uint64_t>(irq)); }
long end(long irq) { return hypercall(PVN_PHYS_EOI, static_cast<std::uint64_t>(irq)); }
long unmap(long irq) { return hypercall(PVN_PHYS_UNMAP, static_cast<std::uint64_t>(irq)); }

// The lower half of a pin's redirection entry.  Intel 82093AA data sheet, 3.2.4.
std::uint64_t entry_of_pin(std::uint64_t pin)
{
    auto const entry = hypercall(PVN_PHYS_IOAPIC_READ, io_apic, 0x10 + 2 * pin);
    CHECK(entry >= 0);
    return static_cast<std::uint64_t>(entry);
}
constexpr std::uint64_t masked = 1 << 16, level = 1 << 15, active_low = 1 << 13;

// The real-time clock: with PIE set in register B its line goes up with each period, and down when C is read.  Motorola MC146818 data sheet.
void out(std::uint16_t port, std::uint8_t value) { asm volatile("outb %0, %1" : : "a"(value), "d"(port)); }
void rtc_write(std::uint8_t index, std::uint8_t value)
{
    out(0x70, index);
    out(0x71, value);
}
std::uint8_t rtc_read(std::uint8_t index)
{
    out(0x70, index);
    std::uint8_t value;
    asm volatile("inb $0x71, %0" : "=a"(value));
    return value;
}
void let_rtc_tick(bool on)
{
    rtc_write(0x0a, 0x26);  // 1024 a second
    rtc_write(0x0b, on ? 0x42 : 0x02);
}

bool take(std::uint64_t port)
{
    auto& word = guest::domain().event_pending[port / 64];
    auto const bit = std::uint64_t{1} << port % 64;
    return (__atomic_fetch_and(&word, ~bit, __ATOMIC_SEQ_CST) & bit) != 0;
}
void wait_for(std::uint64_t port)
{
    auto const list = static_cast<std::uint32_t>(port);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, in_memory(&list), 1, 0), 0);
    CHECK(take(port));
}
// Nothing comes, though twenty periods pass.
void stays_silent(std::uint64_t port)
{
    pvn_system_info info{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, in_memory(&info)), 0);
    auto const list = static_cast<std::uint32_t>(port);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, in_memory(&list), 1, info.uptime + 20'000'000), 0);
    CHECK(!take(port));
}

std::uint64_t bound_port(long irq)
{
    auto const port = bind(irq);
    CHECK(port > 0 && port < PVN_EVENT_PORTS);
    CHECK_EQUAL(bind(irq), -PVN_E_EXISTS);
    CHECK_EQUAL(unmap(irq), -PVN_E_BUSY);
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, static_cast<std::uint64_t>(port)), -PVN_E_INVALID);
    return static_cast<std::uint64_t>(port);
}

void edge_pin()
{
    auto const irq = map(rtc_pin);
    CHECK(irq >= 0 && irq < static_cast<long>(irqs));
    CHECK_EQUAL(map(rtc_pin), irq);
    for (auto const flags : {PVN_GSI_LEVEL, PVN_GSI_ACTIVE_LOW, PVN_GSI_LEVEL | PVN_GSI_ACTIVE_LOW})
        CHECK_EQUAL(map(rtc_pin, static_cast<std::uint64_t>(flags)), -PVN_E_EXISTS);
    CHECK_EQUAL(entry_of_pin(rtc_pin) & (masked | level | active_low), masked);
    CHECK_EQUAL(end(irq), 0);
    CHECK_EQUAL(entry_of_pin(rtc_pin) & masked, masked);  // nobody would hear it

    auto const port = bound_port(irq);
    CHECK_EQUAL(entry_of_pin(rtc_pin) & masked, 0u);
    let_rtc_tick(true);
    (void)rtc_read(0x0c);
    for (int i = 0; i < 5; ++i) {
        wait_for(port);
        (void)rtc_read(0x0c);
        CHECK_EQUAL(entry_of_pin(rtc_pin) & masked, 0u);
    }
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, port), 0);
    CHECK_EQUAL(entry_of_pin(rtc_pin) & masked, masked);
    let_rtc_tick(false);
    (void)rtc_read(0x0c);
    CHECK_EQUAL(unmap(irq), 0);
    CHECK_EQUAL(unmap(irq), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(end(irq), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(bind(irq), -PVN_E_NOT_FOUND);
}

void level_pin()
{
    auto const irq = map(rtc_pin, PVN_GSI_LEVEL);
    CHECK(irq >= 0);
    CHECK_EQUAL(map(rtc_pin), -PVN_E_EXISTS);
    CHECK_EQUAL(entry_of_pin(rtc_pin) & (masked | level | active_low), masked | level);
    CHECK_EQUAL(end(irq), 0);
    CHECK_EQUAL(entry_of_pin(rtc_pin) & masked, masked);

    auto const port = bound_port(irq);
    let_rtc_tick(true);
    (void)rtc_read(0x0c);
    for (int i = 0; i < 5; ++i) {
        wait_for(port);
        CHECK_EQUAL(entry_of_pin(rtc_pin) & masked, masked);
        if (i == 0) stays_silent(port);  // until it is said that this one has been dealt with
        if (i % 2 != 0) (void)rtc_read(0x0c);
        CHECK_EQUAL(end(irq), 0);        // with its line up still it interrupts at once
    }
    wait_for(port);
    let_rtc_tick(false);
    (void)rtc_read(0x0c);
    CHECK_EQUAL(end(irq), 0);
    CHECK_EQUAL(entry_of_pin(rtc_pin) & masked, 0u);
    stays_silent(port);
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, port), 0);
    CHECK_EQUAL(entry_of_pin(rtc_pin) & masked, masked);
    CHECK_EQUAL(unmap(irq), 0);
}

void what_there_is_not()
{
    auto const pins = (static_cast<std::uint64_t>(hypercall(PVN_PHYS_IOAPIC_READ, io_apic, 1)) >> 16 & 0xff) + 1;
    CHECK(pins >= 16);
    for (auto const pin : {pins, pins + 1, 0xfffffffful, 1ul << 32 | rtc_pin, ~0ul}) CHECK_EQUAL(map(pin), -PVN_E_INVALID);
    for (auto const flags : {4ul, 7ul, 0x80000000ul, 1ul << 32, ~0ul}) CHECK_EQUAL(map(rtc_pin, flags), -PVN_E_INVALID);
    CHECK_EQUAL(map(serial_pin), -PVN_E_BUSY);  // Paravane's own
    auto const last = map(pins - 1, PVN_GSI_LEVEL | PVN_GSI_ACTIVE_LOW);
    CHECK(last >= 0);
    CHECK_EQUAL(entry_of_pin(pins - 1) & (masked | level | active_low), masked | level | active_low);
    CHECK_EQUAL(unmap(last), 0);

    for (auto const irq : {0ul, irqs - 1, irqs, 0xfffffffful, 1ul << 32, ~0ul})
        for (auto const call : {PVN_PHYS_UNMAP, PVN_PHYS_EOI, PVN_EVENT_BIND_IRQ}) CHECK_EQUAL(hypercall(static_cast<std::uint64_t>(call), irq), -PVN_E_NOT_FOUND);
    for (auto const base : {0ul, io_apic + 0x1000, io_apic | 1ul << 32}) CHECK_EQUAL(hypercall(PVN_PHYS_IOAPIC_READ, base, 1), -PVN_E_NOT_FOUND);
    for (auto const index : {0x100ul, 1ul << 32 | 1, ~0ul}) CHECK_EQUAL(hypercall(PVN_PHYS_IOAPIC_READ, io_apic, index), -PVN_E_INVALID);
}

void messages()
{
    pvn_phys_msi message{};
    message.reserved = 1;
    CHECK_EQUAL(hypercall(PVN_PHYS_MAP_MSI, in_memory(&message)), -PVN_E_INVALID);
    for (auto const address : {0ul, 0x1000ul, std::uint64_t{PVN_SLOT_DOMAIN_PAGE}}) CHECK_EQUAL(hypercall(PVN_PHYS_MAP_MSI, address), -PVN_E_BAD_ADDRESS);
    auto* const constant = guest::allocate_page();
    CHECK_EQUAL(guest::protect(constant, false), 0);
    CHECK_EQUAL(hypercall(PVN_PHYS_MAP_MSI, in_memory(constant)), -PVN_E_BAD_ADDRESS);

    // All of them, so none of those refused was kept; each with data of its own, for a vector that is none of an exception.
    bool used[256] = {};
    long irq = 0;
    for (std::uint64_t count = 0; count < irqs; ++count) {
        message = {};
        irq = hypercall(PVN_PHYS_MAP_MSI, in_memory(&message));
        CHECK_EQUAL(irq, static_cast<long>(count));
        CHECK_EQUAL(message.address & ~0xff000ul, 0xfee00000u);  // to one CPU, not redirected.  [sdm/3] 11.11.1
        CHECK(message.data >= 32 && message.data < 256 && !used[message.data]);
        used[message.data] = true;
    }
    message = {};
    CHECK_EQUAL(hypercall(PVN_PHYS_MAP_MSI, in_memory(&message)), -PVN_E_NO_SPACE);
    CHECK_EQUAL(message.data, 0u);
    CHECK_EQUAL(map(rtc_pin), -PVN_E_NO_SPACE);
    CHECK_EQUAL(end(irq), 0);

    // No port is left for an irq.
    auto const self = guest::start().domain_id;
    while (hypercall(PVN_EVENT_ALLOC, self) > 0) {}
    CHECK_EQUAL(bind(irq), -PVN_E_NO_SPACE);
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, PVN_EVENT_PORTS - 1), 0);
    CHECK_EQUAL(bound_port(irq), std::uint64_t{PVN_EVENT_PORTS - 1});
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, PVN_EVENT_PORTS - 1), 0);
    for (std::uint64_t i = 0; i < irqs; ++i) CHECK_EQUAL(unmap(static_cast<long>(i)), 0);
}

// A device is no memory: nothing is read from there, or written to it, for a guest.
void pointer_to_a_device()
{
    constexpr std::uint64_t address = 0x40000000;
    CHECK_EQUAL(guest::map_user(address, guest::pfn_of(guest::allocate_page()), 3), 0);
    CHECK_EQUAL(hypercall(PVN_MEMORY_QUERY, address), 0);
    CHECK_EQUAL(guest::write_entry(guest::entry_of(address), 0xb8000 | 3), 0);  // the screen
    CHECK_EQUAL(hypercall(PVN_MEMORY_QUERY, address), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, address, 8), -PVN_E_BAD_ADDRESS);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    CHECK(guest::start().flags & PVN_START_PRIVILEGED);
    what_there_is_not();
    edge_pin();
    level_pin();
    messages();
    pointer_to_a_device();
}
