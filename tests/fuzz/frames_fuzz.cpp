// SPDX-License-Identifier: MIT
// Fuzzes the frame table: bytes become operations of several domains, and every rule is checked after each.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "frames/testing/driver.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    pvn::frames::testing::Driver driver;
    if (auto const broken = driver.run(std::span{data, size})) {
        std::fprintf(stderr, "%s\n", broken->c_str());
        std::abort();
    }
    return 0;
}
