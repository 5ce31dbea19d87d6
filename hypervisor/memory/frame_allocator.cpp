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

void FrameAllocator::initialise(std::span<std::uint64_t> free, std::span<std::uint64_t> cleared)
{
    std::ranges::fill(free, 0);
    std::ranges::fill(cleared, 0);
    free_ = {free};
    cleared_ = {cleared};
    dirty_top_ = 0;
    lent_ = {};
}

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

bool FrameAllocator::remove(MachineFrame frame)
{
    free_.remove(frame);
    bool const cleared = cleared_.has(frame);
    if (cleared) cleared_.remove(frame);
    return cleared;
}

std::optional<FrameAllocator::Taken> FrameAllocator::take(MachineFrame frame)
{
    if (!free_.has(frame)) return std::nullopt;
    return Taken{frame, remove(frame)};
}

std::optional<FrameAllocator::Taken> FrameAllocator::allocate()
{
    if (free_.count == 0) return std::nullopt;
    return take(cleared_.count != 0 ? cleared_.highest() : free_.highest());
}

std::optional<FrameAllocator::Taken> FrameAllocator::allocate_run(std::uint64_t count)
{
    if (count == 0 || count > free_.count) return std::nullopt;
    std::uint64_t run = 0;
    for (auto at = (free_.top + 1) * 64; at-- > 0;) {
        if (at % 64 == 63 && free_.bits[at / 64] == 0) {
            run = 0;
            at -= 63;
            continue;
        }
        run = free_.has(MachineFrame{at}) ? run + 1 : 0;
        if (run == count) {
            Taken taken{MachineFrame{at}, true};
            for (std::uint64_t i = 0; i < count; ++i) taken.cleared = remove(taken.first + i) && taken.cleared;
            return taken;
        }
    }
    return std::nullopt;
}

FrameAllocator::Few FrameAllocator::lend(unsigned at_most)
{
    if (lends() || free_.count == cleared_.count) return {};
    auto const dirty = [&] { return free_.bits[dirty_top_] & ~cleared_.bits[dirty_top_]; };
    while (dirty() == 0) --dirty_top_;
    lent_ = {MachineFrame{dirty_top_ * 64}, 0};
    for (auto left = dirty(); left != 0 && at_most != 0; --at_most) {
        auto const frame = highest_in(dirty_top_, left);
        left &= ~bit_of(frame);
        lent_.members |= bit_of(frame);
        free_.remove(frame);
    }
    return lent_;
}

void FrameAllocator::take_back(std::uint64_t cleared)
{
    for (auto left = lent_.members; left != 0; left &= left - 1) {
        auto const frame = lent_.first + static_cast<std::uint64_t>(std::countr_zero(left));
        free_.insert(frame);
        if ((cleared & bit_of(frame)) != 0) cleared_.insert(frame);
        else dirty_top_ = std::max(dirty_top_, word_of(frame));
    }
    lent_ = {};
}

}  // namespace pvn
