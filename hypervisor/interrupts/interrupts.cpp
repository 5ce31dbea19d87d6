// SPDX-License-Identifier: MIT
#include "interrupts/interrupts.hpp"

#include <array>

#include "arch/x86/cpu.hpp"
#include "arch/x86/device_register.hpp"
#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"
#include "domain/domain.hpp"
#include "dispatcher/notify.hpp"
#include "interrupts/local_apic.hpp"
#include "lib/bounded.hpp"
#include "machine.hpp"
#include "dispatcher/schedule.hpp"

namespace pvn::interrupts {
namespace {

// The I/O APIC.  Intel 82093AA data sheet, 3.  One, at its usual place: the ACPI tables are dom0's to read.
constexpr std::uint64_t io_apic_physical = 0xfec00000, io_apic_window = cpu_window + 0x21000;

std::uint32_t io_apic(std::uint32_t index)
{
    cpu::write_device(io_apic_window, index);
    return cpu::read_device(io_apic_window + 0x10);
}

void io_apic(std::uint32_t index, std::uint32_t value)
{
    cpu::write_device(io_apic_window, index);
    cpu::write_device(io_apic_window + 0x10, value);
}

constexpr std::uint32_t pin_masked = 1 << 16, pin_level = 1 << 15, pin_active_low = 1 << 13;
constinit std::uint32_t pins = 0;
constinit SpinLock lock{Rank::interrupts};  // the I/O APIC, and the table below

enum class Kind : std::uint8_t { unused, edge_pin, level_pin, message };

struct Irq {
    Kind kind;
    std::uint32_t pin;
    std::uint32_t flags;  // PVN_GSI_..., of a pin
    Domain* domain;
    Port port;
};
// Indexed by vector - vector::first_irq; the index is the irq that dom0 knows.
constinit std::array<Irq, vector::last_irq - vector::first_irq + 1> irqs PVN_GUARDED_BY(lock){};

Irq* find(std::uint32_t irq) PVN_REQUIRES(lock)
{
    if (irq >= irqs.size()) return nullptr;
    auto& found = irqs[bounded(irq, irqs.size())];
    return found.kind != Kind::unused ? &found : nullptr;
}

void mask_pin(Irq const& irq, bool mask)
{
    auto const low = 0x10 + 2 * irq.pin;
    io_apic(low, mask ? io_apic(low) | pin_masked : io_apic(low) & ~pin_masked);
}

Result<std::uint32_t> allocate(Kind kind, std::uint32_t pin) PVN_REQUIRES(lock)
{
    for (std::uint32_t i = 0; i < irqs.size(); ++i)
        if (irqs[i].kind == Kind::unused) {
            irqs[i] = {kind, pin, 0, nullptr, Port{}};
            return i;
        }
    return Fail{Error::no_space};
}

}  // namespace

void silence_legacy()
{
    // Vectors away from the exceptions, then everything masked.  While LINT0 still passes ExtINT on: a request that is pending
    // then is withdrawn, where one that was latched behind a masked LINT0 stays (QEMU delivers it as vector -1).
    cpu::out8(0x20, 0x11), cpu::out8(0xa0, 0x11);
    cpu::out8(0x21, 0x20), cpu::out8(0xa1, 0x28);
    cpu::out8(0x21, 4), cpu::out8(0xa1, 2);
    cpu::out8(0x21, 1), cpu::out8(0xa1, 1);
    cpu::out8(0x21, 0xff), cpu::out8(0xa1, 0xff);
}

void initialise_cpu()
{
    paging::map(this_cpu().hypervisor_root, io_apic_window, io_apic_physical | paging::read_write | 0x18, allocate_own_frame);
    local_apic::initialise();
}

void initialise()
{
    pins = (io_apic(1) >> 16 & 0xff) + 1;
    for (std::uint32_t pin = 0; pin < pins; ++pin) io_apic(0x10 + 2 * pin, pin_masked);
    // The serial port's interrupt (ISA line 4): input for dom0's console.
    io_apic(0x10 + 2 * 4 + 1, local_apic::id() << 24);
    io_apic(0x10 + 2 * 4, static_cast<std::uint32_t>(vector::first_irq) - 1);
    cpu::out8(0x3f8 + 1, 1);
}

// What dom0 hears of an interrupt.
static void raise(std::uint32_t number)
{
    Irq found{};
    {
        Guard const guard{lock};
        auto const* const irq = find(number);
        if (irq == nullptr) return;  // from a vector that was just unmapped: `int n` of a guest has no gate for them
        if (irq->kind == Kind::level_pin) mask_pin(*irq, true);  // until dom0 says PVN_PHYS_EOI
        found = *irq;
    }
    if (found.domain != nullptr) event::raise(*found.domain, found.port);
}

void handle(std::uint64_t v)
{
    if (v == vector::nmi) return log("NMI");
    if (v == vector::spurious) return;  // no end of interrupt for it: [sdm/3] 11.9
    if (v == vector::timer) {
        schedule::timer_fired();
    } else if (v == vector::first_irq - 1) {
        event::raise_virq(PVN_VIRQ_CONSOLE);
    } else if (v >= vector::first_irq && v <= vector::last_irq) {
        raise(static_cast<std::uint32_t>(v - vector::first_irq));
    }
    // vector::ipi: this CPU has left its guest; whoever sent it has said elsewhere what for.
    local_apic::end_of_interrupt();
}

Result<std::uint32_t> map_gsi(std::uint32_t gsi, std::uint32_t flags)
{
    Guard const guard{lock};
    if (gsi >= pins || (flags & ~std::uint32_t{PVN_GSI_LEVEL | PVN_GSI_ACTIVE_LOW}) != 0) return Fail{Error::invalid};
    for (std::uint32_t i = 0; i < irqs.size(); ++i)
        if ((irqs[i].kind == Kind::edge_pin || irqs[i].kind == Kind::level_pin) && irqs[i].pin == gsi)
            return irqs[i].flags == flags ? Result<std::uint32_t>{i} : Fail{Error::exists};
    if (gsi == 4) return Fail{Error::busy};  // the hypervisor's serial port
    auto const irq = PVN_TRY(allocate((flags & PVN_GSI_LEVEL) != 0 ? Kind::level_pin : Kind::edge_pin, gsi));
    irqs[irq].flags = flags;
    io_apic(0x10 + 2 * gsi + 1, local_apic::id() << 24);
    io_apic(0x10 + 2 * gsi, pin_masked | static_cast<std::uint32_t>(vector::first_irq + irq) | ((flags & PVN_GSI_LEVEL) != 0 ? pin_level : 0) |
                                ((flags & PVN_GSI_ACTIVE_LOW) != 0 ? pin_active_low : 0));
    return irq;
}

// [sdm/3] 11.11: message address and data.
Result<std::uint32_t> map_msi(pvn_phys_msi& message)
{
    if (message.reserved != 0) return Fail{Error::invalid};
    Guard const guard{lock};
    auto const irq = PVN_TRY(allocate(Kind::message, 0));
    message.address = 0xfee00000 | local_apic::id() << 12;
    message.data = static_cast<std::uint32_t>(vector::first_irq + irq);
    return irq;
}

Result<void> unmap(std::uint32_t number)
{
    Guard const guard{lock};
    auto* const irq = find(number);
    if (irq == nullptr) return Fail{Error::not_found};
    if (irq->domain != nullptr) return Fail{Error::busy};
    if (irq->kind != Kind::message) mask_pin(*irq, true);
    *irq = {};
    return {};
}

Result<void> end(std::uint32_t number)
{
    Guard const guard{lock};
    auto* const irq = find(number);
    if (irq == nullptr) return Fail{Error::not_found};
    if (irq->kind == Kind::level_pin && irq->domain != nullptr) mask_pin(*irq, false);
    return {};
}

Result<void> bind(std::uint32_t number, Domain& domain, Port port)
{
    Guard const guard{lock};
    auto* const irq = find(number);
    if (irq == nullptr) return Fail{Error::not_found};
    if (port.raw() != 0 && irq->domain != nullptr) return Fail{Error::busy};
    irq->domain = port.raw() != 0 ? &domain : nullptr;
    irq->port = port;
    if (irq->kind != Kind::message) mask_pin(*irq, port.raw() == 0);
    return {};
}

Result<std::uint32_t> io_apic_read(std::uint64_t base, std::uint32_t index)
{
    if (base != io_apic_physical) return Fail{Error::not_found};
    if (index > 0xff) return Fail{Error::invalid};
    Guard const guard{lock};
    return io_apic(index);
}

}  // namespace pvn::interrupts
