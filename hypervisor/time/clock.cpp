// SPDX-License-Identifier: MIT
#include "time/clock.hpp"

#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"
#include "domain/domain.hpp"
#include "interrupts/local_apic.hpp"

namespace pvn::clock {
namespace {

constexpr std::uint64_t pit_hz = 1193182;
constinit std::uint64_t base = 0, khz = 0, wall_at_start = 0;
constinit std::uint64_t mul = 0;             // ns = ticks * mul >> 32; above 2^32 if the TSC is slower than 1 GHz
constinit std::uint64_t apic_per_second = 0;

// Waits for `ticks` of PIT channel 2, gated by port 0x61.  Intel 8254 data sheet: mode 0, count down once.
void wait_pit(std::uint16_t ticks)
{
    auto const gate = cpu::in8(0x61);
    cpu::out8(0x61, static_cast<std::uint8_t>((gate & ~2u) | 1u));
    cpu::out8(0x43, 0xb0);
    cpu::out8(0x42, static_cast<std::uint8_t>(ticks));
    cpu::out8(0x42, static_cast<std::uint8_t>(ticks >> 8));
    while ((cpu::in8(0x61) & 0x20) == 0) cpu::pause();
    cpu::out8(0x61, gate);
}

std::uint8_t cmos(std::uint8_t index)
{
    cpu::out8(0x70, index);
    return cpu::in8(0x71);
}

// MC146818: seconds 0, minutes 2, hours 4, day 7, month 8, year 9, status A 10 (bit 7: updating), B 11 (bit 2: binary).
std::uint64_t read_real_time_clock()
{
    while (cmos(10) & 0x80) cpu::pause();
    bool const binary = (cmos(11) & 4) != 0;
    auto const field = [&](std::uint8_t index) -> std::uint64_t {
        auto const v = cmos(index);
        return binary ? v : (v >> 4) * 10u + (v & 15u);
    };
    auto const second = field(0), minute = field(2), hour = field(4), day = field(7), month = field(8), year = 2000 + field(9);
    // Days from the civil calendar: years begin in March, so that the leap day is last.
    auto const y = month <= 2 ? year - 1 : year;
    auto const m = month <= 2 ? month + 9 : month - 3;
    auto const days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
    return ((days * 24 + hour) * 60 + minute) * 60 + second;
}

}  // namespace

void initialise()
{
    constexpr std::uint16_t ticks = 23864;  // 20 ms
    local_apic::start_timer(~std::uint32_t{0});
    auto const tsc_start = cpu::read_tsc();
    wait_pit(ticks);
    auto const tsc = cpu::read_tsc() - tsc_start;
    auto const apic = ~std::uint32_t{0} - local_apic::timer_count();
    local_apic::start_timer(0);

    khz = tsc * pit_hz / ticks / 1000;
    apic_per_second = apic * pit_hz / ticks;
    mul = (std::uint64_t{1000000} << 32) / khz;  // guests that go by the TSC itself are told kHz: both keep the same time
    base = cpu::read_tsc();
    wall_at_start = read_real_time_clock() * 1000000000;
    log("clock: TSC {} kHz, local APIC timer {} Hz", khz, apic_per_second);
}

std::uint64_t now() { return static_cast<std::uint64_t>(static_cast<unsigned __int128>(cpu::read_tsc() - base) * mul >> 32); }
std::uint64_t tsc_khz() { return khz; }
void set_wall(std::uint64_t at_start) { wall_at_start = at_start; }

void program(std::uint64_t deadline)
{
    auto& timer = this_cpu().timer;
    if (deadline == ~std::uint64_t{0} || timer.comes_by(deadline)) return;
    auto const at = now();
    // A far deadline is approached in steps: whoever hears of the interrupt programs the rest.
    constexpr std::uint64_t one_second = 1000000000;
    auto const ahead = std::min(deadline > at ? deadline - at : 0, one_second);
    auto const ticks = ahead * apic_per_second / one_second + 1;
    local_apic::start_timer(static_cast<std::uint32_t>(std::min<std::uint64_t>(ticks, ~std::uint32_t{0})));
    timer.programmed(at + ahead);
}

void timer_came() { this_cpu().timer.came(); }

void publish(Vcpu& vcpu)
{
    auto& time = vcpu.page->time;
    auto version = __atomic_load_n(&time.version, __ATOMIC_RELAXED) | 1;
    __atomic_store_n(&time.version, version, __ATOMIC_RELEASE);
    auto multiplier = mul;
    std::int8_t left = 0;
    while (multiplier >> 32 != 0) multiplier >>= 1, ++left;
    auto const tsc = cpu::read_tsc();
    time.tsc_timestamp = tsc;
    time.system_time = static_cast<std::uint64_t>(static_cast<unsigned __int128>(tsc - base) * mul >> 32);
    time.tsc_to_system_mul = static_cast<std::uint32_t>(multiplier);
    time.tsc_shift = left;
    time.flags = 1;  // the TSC is the same on all CPUs
    __atomic_store_n(&time.version, version + 1, __ATOMIC_RELEASE);
}

void publish_wall(Domain& domain)
{
    auto& page = *domain.page;
    auto const version = __atomic_load_n(&page.wall_version, __ATOMIC_RELAXED) | 1;
    __atomic_store_n(&page.wall_version, version, __ATOMIC_RELEASE);
    page.wall_seconds = wall_at_start / 1000000000;
    page.wall_nanoseconds = static_cast<std::uint32_t>(wall_at_start % 1000000000);
    __atomic_store_n(&page.wall_version, version + 1, __ATOMIC_RELEASE);
}

}  // namespace pvn::clock
