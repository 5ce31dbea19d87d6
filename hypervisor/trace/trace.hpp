// SPDX-License-Identifier: MIT
// What each CPU did, in a ring of binary records that dom0 reads.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "lib/result.hpp"
#include "paravane/hypercall.h"

namespace pvn::trace {

inline constinit std::atomic<std::uint64_t> wanted{0};  // bit mask of events
namespace detail {
void record(std::uint32_t event, std::uint64_t a, std::uint64_t b);
}

inline void note(std::uint32_t event, std::uint64_t a = 0, std::uint64_t b = 0)
{
    if ((wanted.load(std::memory_order_relaxed) >> event & 1) != 0) [[unlikely]] detail::record(event, a, b);
}

// The rings are made when tracing first begins, and stay.  invalid: an event that does not exist; no_memory.
Result<void> set(std::uint64_t events);
// Takes records of a CPU, oldest first.  not_found: no such CPU.
Result<std::uint64_t> take(std::uint64_t cpu, std::span<pvn_trace_record> to);

}  // namespace pvn::trace
