// SPDX-License-Identifier: MIT
#include "memory/boot_allocator.hpp"

#include "console/log.hpp"

namespace pvn {

std::uint64_t BootAllocator::allocate(std::uint64_t bytes)
{
    bytes = (bytes + 4095) & ~std::uint64_t{4095};
    if (bytes > top_ - bottom_) panic("too little memory to start: give the machine more RAM");
    top_ -= bytes;
    return top_;
}

}  // namespace pvn
