// SPDX-License-Identifier: MIT
#include "debug/symbols.hpp"

#include <string_view>

#include "arch/x86/memory_map.hpp"
#include "console/log.hpp"

// Made by .make/symbols between the first and the second link; weak, for in the first there is none.
extern "C" {
struct SymbolEntry {
    std::uint32_t address;  // after image_base
    std::uint32_t name;     // after the table
};
extern std::uint64_t const symbol_count __attribute__((weak));
extern SymbolEntry const symbol_table[] __attribute__((weak));
extern char text_start[], text_end[];
}

namespace pvn::debug {

void log_address(std::uint64_t address)
{
    bool const code = address >= reinterpret_cast<std::uint64_t>(text_start) && address < reinterpret_cast<std::uint64_t>(text_end);
    if (!code || &symbol_count == nullptr) return log("  {}", Hex{address});
    // The last one that begins at or before it.
    std::uint64_t from = 0, to = symbol_count;
    while (to - from > 1) {
        auto const middle = (from + to) / 2;
        (image_base + symbol_table[middle].address <= address ? from : to) = middle;
    }
    auto const begin = image_base + symbol_table[from].address;
    std::string_view const name{reinterpret_cast<char const*>(symbol_table) + symbol_table[from].name};
    log("  {} {} + {}", Hex{address}, name, Hex{address - begin});
}

void log_backtrace(std::uint64_t frame_pointer)
{
    constexpr int most = 24;
    for (int depth = 0; depth < most && frame_pointer >= cpu_stack_bottom && frame_pointer + 16 <= cpu_stack_top && frame_pointer % 8 == 0; ++depth) {
        auto const* const frame = reinterpret_cast<std::uint64_t const*>(frame_pointer);
        log_address(frame[1]);
        if (frame[0] <= frame_pointer) return;
        frame_pointer = frame[0];
    }
}

}  // namespace pvn::debug
