// SPDX-License-Identifier: MIT
#include "memory/frame_allocator.hpp"

#include <algorithm>
#include <bit>

namespace pvn {
namespace {

constexpr std::uint64_t word_of(MachineFrame frame) { return frame.raw() / 64; }
constexpr std::uint64_t bit_of(MachineFrame frame) { return std::uint64_t{1} << frame.raw() % 64; }
MachineFrame highest_in(std::uint64_t word, std::uint64_t bits) { return MachineFrame{word * 64 + 63 - static_cast<std::uint64_t>(std::countl_zero(bits))}; }

}  // namespace

bool FrameAllocator::Set::has(MachineFrame frame) const { return word_of(frame) < bits.size() && (bits[word_of(frame)] & bit_of(frame)) != 0; }

void FrameAllocator::Set::insert(MachineFrame frame)
{
    bits[word_of(frame)] |= bit_of(frame);
    top = std::max(top, word_of(frame));
    ++count;
}

void FrameAllocator::Set::remove(MachineFrame frame)
{
    bits[word_of(frame)] &= ~bit_of(frame);
    --count;
}

MachineFrame FrameAllocator::Set::highest()
{
    while (bits[top] == 0) --top;
    return highest_in(top, bits[top]);
}

void FrameAllocator::initialise(std::span<std::uint64_t> free, std::span<std::uint64_t> cleared, Clear clear)
{
    std::ranges::fill(free, 0);
    std::ranges::fill(cleared, 0);
    free_ = {free};
    cleared_ = {cleared};
    dirty_top_ = 0;
    clear_ = clear;
}

bool FrameAllocator::is_free(MachineFrame frame) const { return free_.has(frame); }

void FrameAllocator::free(MachineFrame frame)
{
    if (word_of(frame) >= free_.bits.size() || is_free(frame)) return;
    free_.insert(frame);
    dirty_top_ = std::max(dirty_top_, word_of(frame));
}

void FrameAllocator::add(MachineFrame first, std::uint64_t count)
{
    for (std::uint64_t i = 0; i < count; ++i) free(first + i);
}

void FrameAllocator::mark_taken(MachineFrame frame, Contents contents)
{
    free_.remove(frame);
    if (cleared_.has(frame))
        cleared_.remove(frame);
    else if (contents == Contents::clear)
        clear_(frame);
}

bool FrameAllocator::take(MachineFrame frame, Contents contents)
{
    if (!is_free(frame)) return false;
    mark_taken(frame, contents);
    return true;
}

std::optional<MachineFrame> FrameAllocator::allocate()
{
    if (free_.count == 0) return std::nullopt;
    auto const frame = cleared_.count != 0 ? cleared_.highest() : free_.highest();
    mark_taken(frame);
    return frame;
}

std::optional<MachineFrame> FrameAllocator::allocate_run(std::uint64_t count)
{
    if (count == 0 || count > free_.count) return std::nullopt;
    std::uint64_t run = 0;
    for (auto at = (free_.top + 1) * 64; at-- > 0;) {
        run = is_free(MachineFrame{at}) ? run + 1 : 0;
        if (run == count) {
            for (std::uint64_t i = 0; i < count; ++i) mark_taken(MachineFrame{at + i});
            return MachineFrame{at};
        }
    }
    return std::nullopt;
}

bool FrameAllocator::clear_one()
{
    if (free_.count == cleared_.count) return false;
    auto const dirty = [&] { return free_.bits[dirty_top_] & ~cleared_.bits[dirty_top_]; };
    while (dirty() == 0) --dirty_top_;
    auto const frame = highest_in(dirty_top_, dirty());
    clear_(frame);
    cleared_.insert(frame);
    return true;
}

}  // namespace pvn
