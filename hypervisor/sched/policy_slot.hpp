// SPDX-License-Identifier: MIT
// The policies by name, and room for one of them without a heap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>

#include "sched/bvt.hpp"
#include "sched/null.hpp"
#include "sched/round_robin.hpp"

namespace pvn::sched {

enum class Kind : std::uint8_t { bvt, round_robin, null };

struct PolicyName {
    std::string_view name;
    Kind kind;
};
// As in `sched=NAME` on the command line.  The first one is the default.
inline constexpr PolicyName policy_names[] = {{"bvt", Kind::bvt}, {"rr", Kind::round_robin}, {"null", Kind::null}};

constexpr std::optional<Kind> policy_kind(std::string_view name)
{
    for (auto const& policy : policy_names)
        if (policy.name == name)
            return policy.kind;
    return {};
}

// Holds the run queue of one CPU.  Zero-initialised, so an array of them costs nothing in the image.
class PolicySlot {
public:
    struct Options {
        Nanoseconds allowance = Bvt::Configuration{}.allowance;          // bvt
        Nanoseconds charging_unit = Bvt::Configuration{}.charging_unit;  // bvt
        Nanoseconds slice = RoundRobin::default_slice;                   // rr
    };

    constexpr PolicySlot() = default;
    PolicySlot(PolicySlot const&) = delete;
    PolicySlot& operator=(PolicySlot const&) = delete;

    // Makes an empty queue of that kind, of CPU `cpu` in `pool`; all CPUs of a pool have the same kind.  At boot, or to change the pool
    // or the policy of a CPU: its queue has then no members (the caller has removed them; they are added to other queues, and keep their
    // lead as far as that has a meaning there).  Under the queue's lock where others may already look at it.
    Policy& start(Kind kind, Options const& options, Pool& pool, Cpu cpu);
    // Takes the CPU out of its pool.  The queue has no members.
    void stop();

    bool started() const { return policy_ != nullptr; }
    Kind kind() const { return kind_; }
    Policy& operator*() const { return *policy_; }
    Policy* operator->() const { return policy_; }

private:
    static constexpr std::size_t size = std::max({sizeof(Bvt), sizeof(RoundRobin), sizeof(Null)});

    alignas(std::max_align_t) std::byte storage_[size]{};
    Policy* policy_ = nullptr;
    Kind kind_ = Kind::bvt;
};

}  // namespace pvn::sched
