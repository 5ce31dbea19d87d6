// SPDX-License-Identifier: MIT
#include "time/tsc_check.hpp"

#include <atomic>

#include "arch/x86/cpu.hpp"
#include "time/clock.hpp"

namespace pvn::tsc_check {
namespace {

constexpr unsigned rounds = 32;
constinit std::atomic<unsigned> asked{0}, answered{0};
constinit std::atomic<std::uint64_t> reading{0};

// RDTSC waits for nothing and nothing waits for it.  LFENCE on both sides does that on Intel CPUs [sdm/2] RDTSC, MFENCE on AMD CPUs
// whose LFENCE does not serialise [apm/3] MFENCE.
std::uint64_t read_tsc_in_order()
{
    asm volatile("mfence; lfence" : : : "memory");
    auto const tsc = cpu::read_tsc();
    asm volatile("mfence; lfence" : : : "memory");
    return tsc;
}

}  // namespace

std::optional<clock::TscOffset> compare()
{
    constexpr std::uint64_t patience = 1000000000;
    clock::TscOffset offset;
    answered = 0;
    for (unsigned round = 1; round <= rounds; ++round) {
        auto const end = clock::now() + patience;
        auto const before = read_tsc_in_order();
        asked = round;
        while (answered != round) {
            if (clock::now() >= end) return std::nullopt;
            cpu::pause();
        }
        auto const after = read_tsc_in_order();
        offset.add(before, reading, after);
    }
    asked = 0;
    return offset;
}

void answer()
{
    for (unsigned round = 1; round <= rounds; ++round) {
        while (asked != round) cpu::pause();
        reading = read_tsc_in_order();
        answered = round;
    }
}

}  // namespace pvn::tsc_check
