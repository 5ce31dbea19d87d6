// SPDX-License-Identifier: MIT
// Workloads for the simulated machine as a small text, and what comes out of one.  The format: docs/scheduling.md.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "sched/policy_slot.hpp"

namespace pvn::sched::testing {

struct Range {
    Nanoseconds low = 0;
    Nanoseconds high = 0;
};

struct DomainLoad {
    std::string name{};
    Parameters parameters{};  // of each vCPU
    Cpu vcpus = 1;
    Affinity affinity{};
    Nanoseconds starts = 0;
    Nanoseconds stops = no_deadline;
    bool busy = true;         // else: run, then sleep (0: yield), again and again
    Range run{};
    Range sleep{};
};

struct WeightChange {
    Nanoseconds at = 0;
    std::size_t domain = 0;
    std::uint32_t weight = 0;
};

struct Workload {
    Kind policy = Kind::bvt;
    PolicySlot::Options options{};
    Cpu cpus = 1;
    Nanoseconds duration = 10'000'000'000;
    Nanoseconds jitter = 0;
    std::uint64_t seed = 1;
    std::vector<DomainLoad> domains{};
    std::vector<WeightChange> changes{};
};

// What is wrong, and in which line.
class WorkloadError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};
// Throws WorkloadError.
Workload parse_workload(std::string_view text);

inline constexpr Nanoseconds sample_period = 10'000'000;

struct DomainReport {
    std::string name{};
    Cpu vcpus = 1;
    std::uint32_t weight = 0;            // at the end
    double cpu_seconds = 0;
    // For a domain that is always busy, where no hard affinity binds anybody: its share by weight of what the others leave, and how far
    // it was from that over the worst second, as a part of one CPU.
    std::optional<double> fair_seconds{};
    std::optional<double> worst_second{};
    std::size_t wakes = 0;
    Nanoseconds latency_median = 0;      // from waking to running
    Nanoseconds latency_99 = 0;
    Nanoseconds latency_most = 0;
    Nanoseconds longest_wait = 0;        // from ready to running, for whatever reason
    std::uint64_t moves = 0;             // between CPUs
    // One entry per sample period.
    std::vector<double> virtual_time{};  // mean over its vCPUs, in seconds of the default weight
    std::vector<double> used{};          // CPU seconds since the start
    std::vector<Nanoseconds> latency{};  // the longest of those that woke and ran in the period; 0: none
};

struct Report {
    Workload workload{};
    double idle = 0;  // part of the CPUs' time
    std::uint64_t switches = 0;
    std::uint64_t moves = 0;
    std::uint64_t decisions = 0;
    std::vector<DomainReport> domains{};
};
Report simulate(Workload const& workload);

}  // namespace pvn::sched::testing
