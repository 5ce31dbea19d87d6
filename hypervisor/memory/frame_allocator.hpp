// SPDX-License-Identifier: MIT
// Which frames of the machine are free: one bit each.  Frames leave it scrubbed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "lib/id.hpp"

namespace pvn {

class FrameAllocator {
public:
    // `bits`: one for each frame of the machine, set = free; `scrub` clears a frame.
    using Scrub = void (*)(MachineFrame);
    constexpr FrameAllocator() = default;
    void initialise(std::span<std::uint64_t> bits, Scrub scrub);

    void add(MachineFrame first, std::uint64_t count);      // frames that are not free now become free
    std::optional<MachineFrame> allocate();                 // one frame, from the top of memory downwards, scrubbed
    std::optional<MachineFrame> allocate_run(std::uint64_t count);  // consecutive frames, scrubbed
    enum class Contents { scrub, keep };
    bool take(MachineFrame frame, Contents = Contents::scrub);  // that very frame; false if it is not free
    void free(MachineFrame frame);
    bool is_free(MachineFrame frame) const;
    std::uint64_t free_count() const { return free_; }

private:
    void mark_taken(MachineFrame frame, Contents = Contents::scrub);
    std::span<std::uint64_t> bits_{};
    Scrub scrub_{};
    std::uint64_t free_{};
    std::uint64_t hint_{};  // no free frame in words above this one
};

}  // namespace pvn
