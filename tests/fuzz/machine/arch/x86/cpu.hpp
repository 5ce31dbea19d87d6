// SPDX-License-Identifier: MIT
// In place of hypervisor/arch/x86/cpu.hpp: registers that nobody looks at.
#pragma once

#include <array>
#include <cstdint>

namespace pvn::cpu {

inline constinit std::uint64_t gs_base = 0, ldt_selector = 0;
inline constinit std::array<std::uint64_t, 8> debug_register{};

inline void write_cr3(std::uint64_t) {}
inline std::uint64_t read_gs_base() { return gs_base; }
inline void write_gs_base(std::uint64_t value) { gs_base = value; }
inline void write_gs(std::uint64_t) {}
inline std::uint16_t read_ldt() { return static_cast<std::uint16_t>(ldt_selector); }
inline void write_ldt(std::uint64_t selector) { ldt_selector = selector; }
template <unsigned number>
std::uint64_t read_debug() { return debug_register[number]; }
template <unsigned number>
void write_debug(std::uint64_t value) { debug_register[number] = value; }
inline void pause() {}

inline constexpr bool canonical(std::uint64_t address)
{
    auto const top = static_cast<std::int64_t>(address) >> 47;
    return top == 0 || top == -1;
}

}  // namespace pvn::cpu
