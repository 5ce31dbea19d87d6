// SPDX-License-Identifier: MIT
#include "interrupts/local_apic.hpp"

#include "arch/x86/cpu.hpp"
#include "arch/x86/device_register.hpp"
#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"
#include "machine.hpp"

namespace pvn::local_apic {
namespace {

constexpr std::uint64_t window = cpu_window + 0x20000;
enum Register : std::uint32_t { id_register = 0x20, eoi = 0xb0, spurious = 0xf0, lvt_timer = 0x320, lvt_lint0 = 0x350, lvt_lint1 = 0x360,
                                lvt_error = 0x370, command_low = 0x300, command_high = 0x310, initial_count = 0x380, current_count = 0x390, divide = 0x3e0 };
constexpr std::uint32_t masked = 1 << 16;

std::uint32_t read(Register r) { return cpu::read_device(window + r); }
void write(Register r, std::uint32_t value) { cpu::write_device(window + r, value); }

}  // namespace

void initialise()
{
    auto const base = cpu::read_msr(cpu::msr::apic_base);
    constexpr std::uint64_t x2apic = 1 << 10, enable = 1 << 11;
    if (base & x2apic) panic("the firmware left the local APIC in x2APIC mode, which Paravane does not use");
    cpu::write_msr(cpu::msr::apic_base, base | enable);
    paging::map(this_cpu().hypervisor_root, window, (base & paging::frame_mask) | paging::read_write | 0x18, allocate_own_frame);
    write(spurious, 0x100 | vector::spurious);
    write(lvt_lint0, masked);
    write(lvt_lint1, 0x400);  // NMI
    write(lvt_error, masked);
    write(divide, 0xb);       // by 1
    write(lvt_timer, vector::timer);
}

void end_of_interrupt() { write(eoi, 0); }
void start_timer(std::uint32_t count) { write(initial_count, count); }
std::uint32_t timer_count() { return read(current_count); }
std::uint32_t id() { return read(id_register) >> 24; }

// [sdm/3] 11.6.1: writing the low half sends; bit 12 stays set until the message is on its way.
static void send(std::uint32_t apic_id, std::uint32_t message)
{
    constexpr std::uint32_t pending = 1 << 12;
    while ((read(command_low) & pending) != 0) cpu::pause();
    write(command_high, apic_id << 24);
    write(command_low, message);
    while ((read(command_low) & pending) != 0) cpu::pause();
}

void interrupt(std::uint32_t apic_id) { send(apic_id, static_cast<std::uint32_t>(vector::ipi)); }
void send_nmi(std::uint32_t apic_id) { send(apic_id, 0x4400); }
void stop_others() { send(0, 0xc4500); }  // destination shorthand: all excluding self
void send_init(std::uint32_t apic_id) { send(apic_id, 0x4500); }                    // INIT, assert
void send_start_up(std::uint32_t apic_id, std::uint8_t page) { send(apic_id, 0x4600u | page); }

}  // namespace pvn::local_apic
