// SPDX-License-Identifier: MIT
// How far another CPU's time stamp counter may be ahead of ours, from readings that went to and fro.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace pvn::clock {

// Each round reads our counter, then the other's, then ours again.  The other's reading lies between ours in time, so the offset
// (other - ours) lies between other - after and other - before; and, since it is the same in all rounds, in all those intervals.
class TscOffset {
public:
    void add(std::uint64_t before, std::uint64_t other, std::uint64_t after)
    {
        // Counters may be anywhere in 64 bits; their distance is what counts.
        least_ = std::max(least_, static_cast<std::int64_t>(other - after));
        most_ = std::min(most_, static_cast<std::int64_t>(other - before));
    }

    // The bounds, in ticks.
    std::int64_t least() const { return least_; }
    std::int64_t most() const { return most_; }
    // No: no single offset explains all rounds, so the counters run at different speeds or are written to.
    bool is_constant() const { return least_ <= most_; }
    bool may_be_zero() const { return least_ <= 0 && 0 <= most_; }

private:
    std::int64_t least_ = std::numeric_limits<std::int64_t>::min();
    std::int64_t most_ = std::numeric_limits<std::int64_t>::max();
};

}  // namespace pvn::clock
