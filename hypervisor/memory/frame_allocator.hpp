// SPDX-License-Identifier: MIT
// Which frames of the machine are free: one bit each.  Frames leave it cleared; CPUs with nothing to do clear them beforehand.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "lib/id.hpp"

namespace pvn {

class FrameAllocator {
public:
    // `free`, `cleared`: one bit for each frame of the machine, in as many words each; `clear` fills a frame with zeros.
    using Clear = void (*)(MachineFrame);
    constexpr FrameAllocator() = default;
    void initialise(std::span<std::uint64_t> free, std::span<std::uint64_t> cleared, Clear clear);

    void add(MachineFrame first, std::uint64_t count);      // frames that are not free now become free
    // One frame, cleared.  From the top of memory downwards, those that need no clearing first.
    std::optional<MachineFrame> allocate();
    std::optional<MachineFrame> allocate_run(std::uint64_t count);  // consecutive frames, cleared
    enum class Contents { clear, keep };
    bool take(MachineFrame frame, Contents = Contents::clear);  // that very frame; false if it is not free
    void free(MachineFrame frame);
    bool is_free(MachineFrame frame) const;
    std::uint64_t free_count() const { return free_.count; }

    bool clear_one();  // a free frame that needs it, so that allocate() need not; false: none does

private:
    // A set of frames in which the highest is found quickly.
    struct Set {
        std::span<std::uint64_t> bits{};
        std::uint64_t count{};
        std::uint64_t top{};  // no member in words above this one

        bool has(MachineFrame) const;
        void insert(MachineFrame);
        void remove(MachineFrame);
        MachineFrame highest();  // of a set that is not empty
    };
    void mark_taken(MachineFrame frame, Contents = Contents::clear);

    Set free_{};
    Set cleared_{};           // a part of `free_`
    std::uint64_t dirty_top_{};  // no free frame that needs clearing in words above this one
    Clear clear_{};
};

}  // namespace pvn
