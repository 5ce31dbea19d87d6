// SPDX-License-Identifier: MIT
#include "emulate/ports.hpp"

#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "arch/x86/io_bitmap.hpp"
#include "guest/access.hpp"
#include "machine.hpp"

namespace pvn::emulate {
namespace {

// One trap moves at most this much: a sector of a disk without DMA.
constexpr std::uint64_t most_bytes = 512;

std::uint32_t input(PortAccess const& a)
{
    switch (a.width) {
    case 1: return cpu::in8(a.port);
    case 2: return cpu::in16(a.port);
    default: return cpu::in32(a.port);
    }
}

void output(PortAccess const& a, std::uint32_t value)
{
    switch (a.width) {
    case 1: return cpu::out8(a.port, static_cast<std::uint8_t>(value));
    case 2: return cpu::out16(a.port, static_cast<std::uint16_t>(value));
    default: return cpu::out32(a.port, value);
    }
}

bool writable(Vcpu const& vcpu, std::uint64_t address)
{
    LockedFrames const frames;
    auto const leaf = guest::walk(frames, vcpu, address);
    return leaf && leaf->writable;
}

}  // namespace

bool port_access(Vcpu& vcpu, Registers& r, PortAccess a)
{
    bool const own = io_bitmap::has_ports(*vcpu.domain, a.port, a.width);
    if (!a.input) {
        if (own) output(a, static_cast<std::uint32_t>(r.rax));
        return own;
    }
    std::uint64_t const mask = (std::uint64_t{1} << 8 * a.width) - 1, value = own ? input(a) : mask;
    r.rax = a.width == 4 ? value : (r.rax & ~mask) | value;  // 32-bit results clear the upper half
    return own;
}

StringEnd port_string(Vcpu& vcpu, Registers& r, PortAccess a, bool repeat)
{
    if ((r.rflags & flags::direction) != 0 || !io_bitmap::has_ports(*vcpu.domain, a.port, a.width)) return StringEnd::refused;
    auto const wanted = repeat ? r.rcx : 1;
    auto const count = std::min(wanted, most_bytes / a.width);
    auto const bytes = count * a.width;
    auto& address = a.input ? r.rdi : r.rsi;

    std::uint8_t buffer[most_bytes];
    if (a.input) {
        // What has been read from a device cannot be read again: first see that there is a place for it.
        if (count != 0 && (!writable(vcpu, address) || !writable(vcpu, address + bytes - 1))) return StringEnd::refused;
        for (std::uint64_t i = 0; i < count; ++i) {
            auto const value = input(a);
            std::copy_n(reinterpret_cast<std::uint8_t const*>(&value), a.width, buffer + i * a.width);
        }
        if (!guest::copy(vcpu, address, buffer, bytes, guest::Access::write)) return StringEnd::refused;
    } else {
        if (!guest::copy(vcpu, address, buffer, bytes, guest::Access::read)) return StringEnd::refused;
        for (std::uint64_t i = 0; i < count; ++i) {
            std::uint32_t value = 0;
            std::copy_n(buffer + i * a.width, a.width, reinterpret_cast<std::uint8_t*>(&value));
            output(a, value);
        }
    }
    address += bytes;
    if (repeat) r.rcx -= count;
    return repeat && count != wanted ? StringEnd::continues : StringEnd::done;
}

}  // namespace pvn::emulate
