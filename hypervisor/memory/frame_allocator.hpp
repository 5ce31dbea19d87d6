// SPDX-License-Identifier: MIT
// Which frames of the machine are free, and which of these are filled with zeros: a bit each.  Pure bookkeeping; who clears and
// locks is memory/free_frames.hpp.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>

#include "lib/id.hpp"

namespace pvn {

class FrameAllocator {
public:
    // Consecutive frames that are free no more.
    struct Taken {
        MachineFrame first;
        bool cleared;  // all of them are filled with zeros
    };

    constexpr FrameAllocator() = default;
    // One bit for each frame of the machine, in as many words each.
    void initialise(std::span<std::uint64_t> free, std::span<std::uint64_t> cleared);

    void add(MachineFrame first, std::uint64_t count);  // frames that are not free now become free
    std::optional<Taken> allocate();                    // one, from the top of memory downwards; a cleared one if there is any
    std::optional<Taken> allocate_run(std::uint64_t count);
    std::optional<Taken> take(MachineFrame frame);      // that very frame
    void free(MachineFrame frame);
    bool is_free(MachineFrame frame) const { return free_.has(frame) || lent_.has(frame); }
    std::uint64_t free_count() const { return free_.count + lent_.count(); }

    // Some of 64 consecutive frames.
    struct Few {
        MachineFrame first;
        std::uint64_t members;  // a bit each

        bool has(MachineFrame frame) const { return frame.raw() / 64 == first.raw() / 64 && (members >> frame.raw() % 64 & 1) != 0; }
        std::uint64_t count() const { return static_cast<std::uint64_t>(std::popcount(members)); }
    };
    // Free frames that need clearing, lent until they come back: free all the while, but nobody gets them.  Once at a time.
    Few lend(unsigned at_most);
    void take_back(std::uint64_t cleared);  // a bit for each that has been
    bool lends() const { return lent_.members != 0; }

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
    bool remove(MachineFrame frame);  // whether it was cleared

    Set free_{};
    Set cleared_{};              // a part of `free_`
    std::uint64_t dirty_top_{};  // no free frame that needs clearing in words above this one
    Few lent_{};
};

}  // namespace pvn
