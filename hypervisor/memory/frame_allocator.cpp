// SPDX-License-Identifier: MIT
#include "memory/frame_allocator.hpp"

#include <algorithm>
#include <bit>

namespace pvn {

void FrameAllocator::initialise(std::span<std::uint64_t> bits, Scrub scrub)
{
    bits_ = bits;
    scrub_ = scrub;
    free_ = 0;
    hint_ = 0;
    std::ranges::fill(bits_, 0);
}

bool FrameAllocator::is_free(MachineFrame frame) const
{
    return frame.raw() / 64 < bits_.size() && (bits_[frame.raw() / 64] >> frame.raw() % 64 & 1) != 0;
}

void FrameAllocator::free(MachineFrame frame)
{
    if (frame.raw() / 64 >= bits_.size() || is_free(frame)) return;
    bits_[frame.raw() / 64] |= std::uint64_t{1} << frame.raw() % 64;
    hint_ = std::max(hint_, frame.raw() / 64);
    ++free_;
}

void FrameAllocator::add(MachineFrame first, std::uint64_t count)
{
    for (std::uint64_t i = 0; i < count; ++i) free(first + i);
}

void FrameAllocator::mark_taken(MachineFrame frame, Contents contents)
{
    bits_[frame.raw() / 64] &= ~(std::uint64_t{1} << frame.raw() % 64);
    --free_;
    if (contents == Contents::scrub) scrub_(frame);
}

bool FrameAllocator::take(MachineFrame frame, Contents contents)
{
    if (!is_free(frame)) return false;
    mark_taken(frame, contents);
    return true;
}

std::optional<MachineFrame> FrameAllocator::allocate()
{
    if (free_ == 0) return std::nullopt;
    while (bits_[hint_] == 0) --hint_;
    auto const frame = MachineFrame{hint_ * 64 + 63 - static_cast<std::uint64_t>(std::countl_zero(bits_[hint_]))};
    mark_taken(frame);
    return frame;
}

std::optional<MachineFrame> FrameAllocator::allocate_run(std::uint64_t count)
{
    if (count == 0 || count > free_) return std::nullopt;
    std::uint64_t run = 0;
    for (auto at = (hint_ + 1) * 64; at-- > 0;) {
        run = is_free(MachineFrame{at}) ? run + 1 : 0;
        if (run == count) {
            for (std::uint64_t i = 0; i < count; ++i) mark_taken(MachineFrame{at + i});
            return MachineFrame{at};
        }
    }
    return std::nullopt;
}

}  // namespace pvn
