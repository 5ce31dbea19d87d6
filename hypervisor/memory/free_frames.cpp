// SPDX-License-Identifier: MIT
#include "memory/free_frames.hpp"

#include "arch/x86/cpu.hpp"
#include "arch/x86/memory_map.hpp"
#include "memory/frame_allocator.hpp"

namespace pvn::free_frames {
namespace {

constinit Locked<FrameAllocator> allocator{Rank::allocator};
constinit std::atomic<bool> clearing{false};  // by some CPU
constinit std::atomic<std::uint64_t> allocations_left{0};  // until one is to fail; 0: none is

bool is_to_fail()
{
    auto left = allocations_left.load(std::memory_order_relaxed);
    while (left != 0 && !allocations_left.compare_exchange_weak(left, left - 1)) {}
    return left == 1;
}

void clear(MachineFrame frame)
{
    auto* const words = frame_pointer<std::uint64_t>(frame);
    for (unsigned i = 0; i < 512; i += 8) {
        words[i] = words[i + 1] = words[i + 2] = words[i + 3] = 0;
        words[i + 4] = words[i + 5] = words[i + 6] = words[i + 7] = 0;
    }
}

// Takes what `attempt` finds.  If that is nothing while frames are lent, they may be what is missing: they come back soon.
template <class Attempt>
std::optional<MachineFrame> take_with(Attempt attempt, std::uint64_t frames, Contents contents)
{
    for (;; cpu::pause()) {
        std::optional<FrameAllocator::Taken> taken;
        {
            auto const access = allocator.lock();
            taken = attempt(*access);
            if (!taken && !access->lends()) return std::nullopt;
        }
        if (!taken) continue;
        if (contents == Contents::clear && !taken->cleared)
            for (std::uint64_t i = 0; i < frames; ++i) clear(taken->first + i);
        return taken->first;
    }
}

}  // namespace

void initialise(std::span<std::uint64_t> free, std::span<std::uint64_t> cleared) { allocator.lock()->initialise(free, cleared); }
void add(MachineFrame first, std::uint64_t count) { allocator.lock()->add(first, count); }

std::optional<MachineFrame> allocate()
{
    if (is_to_fail()) return std::nullopt;
    return take_with([](FrameAllocator& a) { return a.allocate(); }, 1, Contents::clear);
}

std::optional<MachineFrame> allocate_run(std::uint64_t count, Contents contents)
{
    if (is_to_fail()) return std::nullopt;
    return take_with([&](FrameAllocator& a) { return a.allocate_run(count); }, count, contents);
}

bool take(MachineFrame frame, Contents contents)
{
    return take_with([&](FrameAllocator& a) { return a.take(frame); }, 1, contents).has_value();
}

void free(MachineFrame frame) { allocator.lock()->free(frame); }
bool is_free(MachineFrame frame) { return allocator.lock()->is_free(frame); }
std::uint64_t count() { return allocator.lock()->free_count(); }
std::uint64_t fail_at(std::uint64_t n) { return allocations_left.exchange(n); }
LockStatistics lock_statistics() { return allocator.spin_lock().statistics(); }

bool clear_some(std::atomic<bool> const& stop)
{
    constexpr unsigned at_most = 16;
    if (clearing.exchange(true)) return false;
    // Nobody who has work to do waits behind one that has none.
    if (allocator.spin_lock().taken()) {
        clearing = false;
        cpu::pause();
        return true;
    }
    auto const lent = allocator.lock()->lend(at_most);
    std::uint64_t cleared = 0;
    for (auto left = lent.members; left != 0 && !stop; left &= left - 1) {
        clear(lent.first + static_cast<std::uint64_t>(std::countr_zero(left)));
        cleared |= left & -left;
    }
    if (lent.members != 0) allocator.lock()->take_back(cleared);
    clearing = false;
    return lent.members != 0;
}

}  // namespace pvn::free_frames
