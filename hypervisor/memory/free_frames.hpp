// SPDX-License-Identifier: MIT
// The machine's free frames.  They are cleared before anybody gets them: by a CPU that has nothing else to do, or else by the
// one that asks.  No lock is held while a frame is cleared.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "lib/id.hpp"
#include "lib/lock.hpp"

namespace pvn::free_frames {

// RAM that is free at the start: add() and, for what is in use, take().  `free`, `cleared`: a bit for each frame of the machine.
void initialise(std::span<std::uint64_t> free, std::span<std::uint64_t> cleared);
void add(MachineFrame first, std::uint64_t count);

enum class Contents { clear, keep };
std::optional<MachineFrame> allocate();                          // from the top of memory downwards
std::optional<MachineFrame> allocate_run(std::uint64_t count, Contents = Contents::clear);  // consecutive ones
bool take(MachineFrame frame, Contents = Contents::clear);       // that very frame; false if it is not free
void free(MachineFrame frame);
bool is_free(MachineFrame frame);
std::uint64_t count();
LockStatistics lock_statistics();

// For tests: the n-th allocation from now on finds nothing; 0: none does.  How many were left until the one asked for before.
std::uint64_t fail_at(std::uint64_t n);

// Clears some, until `stop`.  False: none needs it, or another CPU is doing it.
bool clear_some(std::atomic<bool> const& stop);

}  // namespace pvn::free_frames
