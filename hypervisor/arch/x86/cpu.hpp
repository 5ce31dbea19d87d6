// SPDX-License-Identifier: MIT
// Instructions that C++ cannot spell.
#pragma once

#include <cstdint>

namespace pvn::cpu {

inline std::uint64_t read_cr0() { std::uint64_t v; asm volatile("mov %%cr0, %0" : "=r"(v)); return v; }
inline std::uint64_t read_cr2() { std::uint64_t v; asm volatile("mov %%cr2, %0" : "=r"(v)); return v; }
inline std::uint64_t read_cr3() { std::uint64_t v; asm volatile("mov %%cr3, %0" : "=r"(v)); return v; }
inline std::uint64_t read_cr4() { std::uint64_t v; asm volatile("mov %%cr4, %0" : "=r"(v)); return v; }
inline void write_cr0(std::uint64_t v) { asm volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
inline void write_cr3(std::uint64_t v) { asm volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
inline void write_cr4(std::uint64_t v) { asm volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
inline void invalidate_page(std::uint64_t address) { asm volatile("invlpg (%0)" : : "r"(address) : "memory"); }

inline void out8(std::uint16_t port, std::uint8_t v) { asm volatile("outb %0, %1" : : "a"(v), "d"(port)); }
inline void out16(std::uint16_t port, std::uint16_t v) { asm volatile("outw %0, %1" : : "a"(v), "d"(port)); }
inline void out32(std::uint16_t port, std::uint32_t v) { asm volatile("outl %0, %1" : : "a"(v), "d"(port)); }
inline std::uint8_t in8(std::uint16_t port) { std::uint8_t v; asm volatile("inb %1, %0" : "=a"(v) : "d"(port)); return v; }
inline std::uint16_t in16(std::uint16_t port) { std::uint16_t v; asm volatile("inw %1, %0" : "=a"(v) : "d"(port)); return v; }
inline std::uint32_t in32(std::uint16_t port) { std::uint32_t v; asm volatile("inl %1, %0" : "=a"(v) : "d"(port)); return v; }

inline std::uint64_t read_msr(std::uint32_t msr)
{
    std::uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return std::uint64_t{high} << 32 | low;
}
inline void write_msr(std::uint32_t msr, std::uint64_t v)
{
    asm volatile("wrmsr" : : "c"(msr), "a"(static_cast<std::uint32_t>(v)), "d"(static_cast<std::uint32_t>(v >> 32)) : "memory");
}

namespace msr {
inline constexpr std::uint32_t apic_base = 0x1b, prediction_command = 0x49, sysenter_cs = 0x174, pat = 0x277, efer = 0xc0000080, star = 0xc0000081,
                               lstar = 0xc0000082, cstar = 0xc0000083, fmask = 0xc0000084, fs_base = 0xc0000100, tsc_aux = 0xc0000103;
}

struct Cpuid { std::uint32_t a, b, c, d; };
inline Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0)
{
    Cpuid r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
    return r;
}

inline std::uint64_t read_fs_base() { std::uint64_t v; asm volatile("rdfsbase %0" : "=r"(v)); return v; }
inline std::uint64_t read_gs_base() { std::uint64_t v; asm volatile("rdgsbase %0" : "=r"(v)); return v; }
inline void write_fs_base(std::uint64_t v) { asm volatile("wrfsbase %0" : : "r"(v)); }  // v is canonical
inline void write_gs_base(std::uint64_t v) { asm volatile("wrgsbase %0" : : "r"(v)); }  // v is canonical

// The selector names data that can be loaded; the base becomes that of the descriptor.
inline void write_gs(std::uint64_t selector) { asm volatile("mov %w0, %%gs" : : "r"(selector)); }
inline std::uint16_t read_ldt() { std::uint16_t v; asm volatile("sldt %0" : "=r"(v)); return v; }
inline void write_ldt(std::uint64_t selector) { asm volatile("lldt %w0" : : "r"(selector) : "memory"); }

template <unsigned number>
std::uint64_t read_debug() { std::uint64_t v; asm volatile("mov %%dr%c1, %0" : "=r"(v) : "i"(number)); return v; }
template <unsigned number>
void write_debug(std::uint64_t v) { asm volatile("mov %0, %%dr%c1" : : "r"(v), "i"(number)); }

inline std::uint64_t read_tsc()
{
    std::uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return std::uint64_t{high} << 32 | low;
}

inline void pause() { asm volatile("pause"); }
// One instruction between: `sti` takes effect after it.  [sdm/2] STI
inline void let_interrupts_in() { asm volatile("sti; nop; cli" : : : "memory"); }
inline void halt_with_interrupts() { asm volatile("sti; hlt; cli" : : : "memory"); }
[[noreturn]] inline void stop() { for (;;) asm volatile("cli; hlt"); }

inline constexpr bool canonical(std::uint64_t address)
{
    auto const top = static_cast<std::int64_t>(address) >> 47;
    return top == 0 || top == -1;
}

}  // namespace pvn::cpu
