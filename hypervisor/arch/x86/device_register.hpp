// SPDX-License-Identifier: MIT
// Registers of devices in memory: of the local APIC, of the I/O APIC.
#pragma once

#include <cstdint>

namespace pvn::cpu {

// The jump changes nothing for a CPU.  QEMU before 8.2 emulates the code up to the next jump in one piece; if meanwhile another CPU of its
// moves a device in memory (a kernel that sizes PCI windows), a second access in the same piece goes where the device's entry was in a table
// that is gone, and QEMU crashes.
inline void write_device(std::uint64_t address, std::uint32_t value)
{
    asm volatile("movl %1, %0; jmp 1f; 1:" : "=m"(*reinterpret_cast<std::uint32_t volatile*>(address)) : "r"(value) : "memory");
}

inline std::uint32_t read_device(std::uint64_t address)
{
    std::uint32_t value;
    asm volatile("movl %1, %0; jmp 1f; 1:" : "=r"(value) : "m"(*reinterpret_cast<std::uint32_t const volatile*>(address)) : "memory");
    return value;
}

}  // namespace pvn::cpu
