// SPDX-License-Identifier: MIT
// Sets of CPUs, and where a vCPU may and would rather run.
#pragma once

#include <bit>
#include <cstdint>

namespace pvn::sched {

using Cpu = std::uint32_t;  // 0 to maximum_cpus - 1
inline constexpr Cpu maximum_cpus = 64;

class CpuMask {
public:
    constexpr CpuMask() = default;
    explicit constexpr CpuMask(std::uint64_t bits) : bits_{bits} {}
    static constexpr CpuMask all() { return CpuMask{UINT64_MAX}; }
    static constexpr CpuMask only(Cpu cpu) { return CpuMask{std::uint64_t{1} << cpu}; }
    static constexpr CpuMask first(Cpu count) { return count >= maximum_cpus ? all() : CpuMask{(std::uint64_t{1} << count) - 1}; }

    constexpr std::uint64_t bits() const { return bits_; }
    constexpr bool has(Cpu cpu) const { return cpu < maximum_cpus && (bits_ >> cpu & 1) != 0; }
    constexpr bool empty() const { return bits_ == 0; }
    constexpr Cpu count() const { return static_cast<Cpu>(std::popcount(bits_)); }
    constexpr Cpu lowest() const { return static_cast<Cpu>(std::countr_zero(bits_)); }  // maximum_cpus: empty
    // The first one at or after `cpu`, going round.  maximum_cpus: empty.
    constexpr Cpu next_from(Cpu cpu) const
    {
        std::uint64_t const from = bits_ & ~first(cpu).bits_;
        return from != 0 ? CpuMask{from}.lowest() : lowest();
    }
    constexpr CpuMask without(Cpu cpu) const { return CpuMask{bits_ & ~only(cpu).bits_}; }

    friend constexpr CpuMask operator&(CpuMask a, CpuMask b) { return CpuMask{a.bits_ & b.bits_}; }
    friend constexpr CpuMask operator|(CpuMask a, CpuMask b) { return CpuMask{a.bits_ | b.bits_}; }
    friend constexpr bool operator==(CpuMask, CpuMask) = default;

private:
    std::uint64_t bits_ = 0;
};

struct Affinity {
    CpuMask hard = CpuMask::all();  // it never runs elsewhere
    CpuMask soft = CpuMask::all();  // nor without need outside these

    friend constexpr bool operator==(Affinity const&, Affinity const&) = default;
};

}  // namespace pvn::sched
