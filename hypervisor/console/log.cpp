// SPDX-License-Identifier: MIT
#include "console/log.hpp"

#include <algorithm>
#include <array>
#include <atomic>

#include "arch/x86/cpu.hpp"
#include "lib/lock.hpp"

namespace pvn {
namespace console {
namespace {

constexpr std::uint16_t com1 = 0x3f8;  // 16550: data, +5 line status (bit 0 received, bit 5 room to send)
constinit std::array<char, 65536> ring{};
constinit std::size_t written = 0;
constinit SpinLock lock{Rank::console};
constexpr std::uint32_t nobody = ~std::uint32_t{0};
constinit std::atomic<std::uint32_t> panicked{nobody};  // which CPU does
constinit Writer last_writer = Writer::hypervisor;
constinit bool line_start = true;

void send(char c)
{
    while ((cpu::in8(com1 + 5) & 0x20) == 0) cpu::pause();
    cpu::out8(com1, static_cast<std::uint8_t>(c));
}

}  // namespace

void initialise()
{
    cpu::out8(com1 + 1, 0);     // no interrupts
    cpu::out8(com1 + 3, 0x80);  // divisor 1: 115200 baud
    cpu::out8(com1, 1);
    cpu::out8(com1 + 1, 0);
    cpu::out8(com1 + 3, 3);     // 8 bits, no parity, one stop bit
    cpu::out8(com1 + 2, 0x07);  // FIFOs on and empty
    cpu::out8(com1 + 4, 0x0b);  // DTR, RTS, OUT2 (lets its interrupt out)
}

void take_for_panic()
{
    auto const self = cpu::cpuid(1).b >> 24;  // initial local APIC id: known from the beginning
    auto first = nobody;
    if (!panicked.compare_exchange_strong(first, self) && first != self) cpu::stop();
}

void write(std::string_view text)
{
    if (!text.empty()) line_start = text.back() == '\n';
    for (char const c : text) {
        ring[written++ % ring.size()] = c;
        if (c == '\n') send('\r');
        send(c);
    }
}

std::size_t read_log(std::size_t offset, std::span<char> to)
{
    Guard const guard{lock};
    auto const oldest = written > ring.size() ? written - ring.size() : 0;
    auto const available = written - oldest;
    if (offset >= available) return 0;
    auto const count = std::min(to.size(), available - offset);
    for (std::size_t i = 0; i < count; ++i) to[i] = ring[(oldest + offset + i) % ring.size()];
    return count;
}

bool read_input(char& c)
{
    if ((cpu::in8(com1 + 5) & 1) == 0) return false;
    c = static_cast<char>(cpu::in8(com1));
    return true;
}

}  // namespace console

namespace detail {

Line::Line(console::Writer writer) PVN_UNCHECKED
{
    if (console::panicked == console::nobody) console::lock.lock();
    if (!console::line_start && writer != console::last_writer) console::write("\n");
    console::last_writer = writer;
    at_start_ = console::line_start;
}

Line::~Line() PVN_UNCHECKED
{
    if (console::panicked == console::nobody) console::lock.unlock();
}

void put(std::string_view text) { console::write(text); }

void put(Hex v)
{
    std::array<char, 16> digits;
    auto at = digits.size();
    do {
        digits[--at] = "0123456789abcdef"[v.value % 16];
        v.value /= 16;
    } while (v.value != 0);
    put("0x");
    put(std::string_view{digits.data() + at, digits.size() - at});
}

void put(std::uint64_t v)
{
    std::array<char, 20> digits;
    auto at = digits.size();
    do {
        digits[--at] = static_cast<char>('0' + v % 10);
        v /= 10;
    } while (v != 0);
    put(std::string_view{digits.data() + at, digits.size() - at});
}

void put(std::int64_t v)
{
    if (v < 0) put("-");
    put(v < 0 ? ~static_cast<std::uint64_t>(v) + 1 : static_cast<std::uint64_t>(v));
}

}  // namespace detail
}  // namespace pvn
