// SPDX-License-Identifier: MIT
#include "guest/access.hpp"

#include <algorithm>
#include <cstring>

#include "arch/x86/cpu.hpp"
#include "arch/x86/memory_map.hpp"
#include "domain/domain.hpp"
#include "frames/entry.hpp"
#include "machine.hpp"

namespace pvn::guest {
namespace {

constexpr std::uint64_t present = 1, writable = 2, frame_bits = 0x000ffffffffff000;

std::uint64_t read_entry(MachineFrame table, unsigned index)
{
    return __atomic_load_n(frame_pointer<std::uint64_t>(table) + index, __ATOMIC_RELAXED);
}

}  // namespace

Result<Leaf> walk(LockedFrames const& frames, Vcpu const& vcpu, std::uint64_t address)
{
    auto const leaf = PVN_TRY(walk_to_table(frames, vcpu, address));
    if ((leaf.entry & present) == 0) return Fail{Error::bad_address};
    return leaf;
}

Result<Leaf> walk_to_table(LockedFrames const&, Vcpu const& vcpu, std::uint64_t address)
{
    if (!cpu::canonical(address) || (address >> 39 & 511) == PVN_SLOT_INDEX) return Fail{Error::bad_address};
    auto table = vcpu.root;
    bool may_write = true;
    for (unsigned level = 4;; --level) {
        auto const index = static_cast<unsigned>(address >> (3 + 9 * level) & 511);
        auto const entry = read_entry(table, index);
        may_write = may_write && (entry & writable) != 0;
        if (level == 1) return Leaf{entry, table, index, may_write};
        if ((entry & present) == 0) return Fail{Error::bad_address};
        table = MachineFrame{(entry & frame_bits) / page_size};
    }
}

static Result<char*> memory_at(LockedFrames const& frames, Vcpu const& vcpu, std::uint64_t address, Access access)
{
    auto const leaf = PVN_TRY(walk(frames, vcpu, address));
    if (access == Access::write && !leaf.writable) return Fail{Error::bad_address};
    auto const frame = MachineFrame{(leaf.entry & frame_bits) / page_size};
    auto const owner = frames->owner(frame);  // no RAM: not in the direct map
    if (!pvn::frames::is_domain(owner)) return Fail{Error::bad_address};
    return frame_pointer<char>(frame) + address % page_size;
}

Result<void> copy(LockedFrames const& frames, Vcpu const& vcpu, std::uint64_t address, void* buffer, std::size_t bytes, Access access)
{
    auto* at = static_cast<char*>(buffer);
    while (bytes != 0) {
        auto* const memory = PVN_TRY(memory_at(frames, vcpu, address, access));
        auto const here = std::min<std::size_t>(bytes, page_size - address % page_size);
        if (access == Access::read)
            std::memcpy(at, memory, here);
        else
            std::memcpy(memory, at, here);
        at += here;
        address += here;
        bytes -= here;
    }
    return {};
}

Result<void> copy(Vcpu const& vcpu, std::uint64_t address, void* buffer, std::size_t bytes, Access access)
{
    LockedFrames const frames;
    return copy(frames, vcpu, address, buffer, bytes, access);
}

Result<void> store(Vcpu const& vcpu, std::uint64_t address, std::uint32_t value)
{
    if (address % sizeof value != 0) return Fail{Error::invalid};
    LockedFrames const frames;
    auto* const memory = PVN_TRY(memory_at(frames, vcpu, address, Access::write));
    __atomic_store_n(reinterpret_cast<std::uint32_t*>(memory), value, __ATOMIC_RELEASE);
    return {};
}

}  // namespace pvn::guest
