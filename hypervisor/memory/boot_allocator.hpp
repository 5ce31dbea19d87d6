// SPDX-License-Identifier: MIT
// Memory before there is an allocator: taken from the top of one range of RAM, never given back.
#pragma once

#include <cstdint>

namespace pvn {

class BootAllocator {
public:
    constexpr BootAllocator(std::uint64_t bottom, std::uint64_t top) : bottom_{bottom}, top_{top & ~std::uint64_t{4095}} {}
    // Physical address of `bytes` (rounded up to pages); panics when the range is used up.  Not cleared.
    std::uint64_t allocate(std::uint64_t bytes);
    std::uint64_t top() const { return top_; }  // everything from here to the first top is taken

private:
    std::uint64_t bottom_, top_;
};

}  // namespace pvn
