// SPDX-License-Identifier: MIT
// The timer of a virtual CPU (docs/abi/time.md).
#pragma once

#include <cstdint>

namespace pvn {

// When the guest wants its interrupt stands in its page, where a store changes it; here stands when Paravane looks there.
//
// A guest that gives its CPU up and takes it again moves its deadline away and back, and one that has a tick wants the next one after
// each.  It tells Paravane only of a deadline that comes before the next look, so mostly of none.
//
// The page is mapped only where its vCPU runs: of one that waits nobody can move what it wants, and two looks follow each other at most.
class GuestTimer {
public:
    // System time, ns; 0: none.
    std::uint64_t look() const { return look_; }

    // By hypercall.
    void set(std::uint64_t deadline) { look_ = deadline; }

    // The time of the look has come: is the guest to be told, when it wants that by `wanted` (0: not at all), and likely again after
    // `interval` (ns; what no tick has says nothing)?
    bool due(std::uint64_t wanted, std::uint64_t interval, std::uint64_t now)
    {
        look_ = 0;
        if (wanted > now) look_ = wanted;
        if (wanted == 0 || wanted > now) return false;
        if (interval >= shortest_interval && interval <= longest_interval) look_ = wanted + interval > now ? wanted + interval : now + interval;
        return true;
    }

private:
    static constexpr std::uint64_t shortest_interval = 1'000'000, longest_interval = 1'000'000'000;

    std::uint64_t look_{};
};

}  // namespace pvn
