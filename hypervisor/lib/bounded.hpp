// SPDX-License-Identifier: MIT
// For indexes that a guest chose, after they were checked.
#pragma once

#include <cstdint>

namespace pvn {

// `index` if it is below `size`, otherwise 0.  The CPU computes that without a branch, and the compiler cannot know better: so it holds
// on a path, too, that the CPU takes before it has decided the check (Spectre v1).
inline std::uint64_t bounded(std::uint64_t index, std::uint64_t size)
{
    std::uint64_t mask;
    asm("cmp %2, %1\n\tsbb %0, %0" : "=r"(mask) : "r"(index), "r"(size) : "cc");
    return index & mask;
}

}  // namespace pvn
