// SPDX-License-Identifier: MIT
// The timer of a virtual CPU (docs/abi/time.md).
#pragma once

#include <cstdint>

namespace pvn {

// When the guest wants its interrupt stands in its page, where a store changes it; here stands when Paravane looks there.
//
// A guest that gives its CPU up and takes it again moves its deadline away and back.  It tells Paravane only of one that comes before the
// next look, so mostly of none.  The page is mapped only where its vCPU runs: one that waits is looked at once more at most.
class GuestTimer {
public:
    // System time, ns; 0: none.
    std::uint64_t look() const { return look_; }

    // By hypercall.
    void set(std::uint64_t deadline) { look_ = deadline; }

    // The time of the look has come: is the guest to be told, when it wants that by `wanted` (0: not at all)?
    bool due(std::uint64_t wanted, std::uint64_t now)
    {
        look_ = wanted > now ? wanted : 0;
        return wanted != 0 && wanted <= now;
    }

private:
    std::uint64_t look_{};
};

}  // namespace pvn
