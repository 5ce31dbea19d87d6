// SPDX-License-Identifier: MIT
// What a scheduling policy knows of a vCPU: an intrusive node, so that scheduling never allocates.
#pragma once

#include <algorithm>
#include <cstdint>

#include "lib/result.hpp"
#include "lib/summary_tree.hpp"
#include "paravane/hypercall.h"
#include "sched/cpu_mask.hpp"

namespace pvn::sched {

// Real time, in ns since any fixed start.  All of this room computes with it modulo 2^64.
using Nanoseconds = std::uint64_t;
inline constexpr Nanoseconds no_deadline = UINT64_MAX;

// Virtual time: real time divided by weight, so one unit is one ns of a vCPU of weight 1 (or 256 ns of one of weight
// 256, the default).  In this unit 64 bits last for 584 years whatever the weights; they are compared modulo 2^64 all the same.
using VirtualTime = std::uint64_t;

// How far `a` is after `b`; negative: before.
constexpr std::int64_t after(std::uint64_t a, std::uint64_t b) { return static_cast<std::int64_t>(a - b); }

constexpr std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b)
{
    std::uint64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}
constexpr std::uint64_t saturating_multiply(std::uint64_t a, std::uint64_t b)
{
    std::uint64_t product = 0;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

inline constexpr std::uint32_t default_weight = 256;
inline constexpr std::uint32_t maximum_weight = 65535;
inline constexpr Nanoseconds maximum_warp = Nanoseconds{1} << 60;  // keeps differences of virtual times below 2^63

enum class Warp : std::uint8_t { disabled, enabled };

struct Parameters {
    std::uint32_t weight = default_weight;  // 1 to maximum_weight
    Warp warping = Warp::disabled;
    Nanoseconds warp = 0;        // virtual time borrowed while warped, in ns of a vCPU of the default weight
    Nanoseconds warp_limit = 0;  // real time that it may run warped; 0: no limit
    Nanoseconds unwarp = 0;      // real time that must then pass before it may warp again

    friend constexpr bool operator==(Parameters const&, Parameters const&) = default;
};

// Errors: invalid (weight or warp out of range, unknown flag).
constexpr Result<void> check(Parameters const& parameters)
{
    if (parameters.weight == 0 || parameters.weight > maximum_weight || parameters.warp > maximum_warp)
        return Fail{Error::invalid};
    return {};
}
constexpr Result<Parameters> parameters_from(pvn_sched_parameters const& request)
{
    if ((request.flags & ~std::uint32_t{PVN_SCHED_WARP}) != 0)
        return Fail{Error::invalid};
    Parameters const parameters{.weight = request.weight,
                                .warping = (request.flags & PVN_SCHED_WARP) != 0 ? Warp::enabled : Warp::disabled,
                                .warp = request.warp,
                                .warp_limit = request.warp_limit,
                                .unwarp = request.unwarp};
    PVN_CHECK(check(parameters));
    return parameters;
}
constexpr pvn_sched_parameters request_of(Parameters const& parameters)
{
    return {.weight = parameters.weight,
            .flags = parameters.warping == Warp::enabled ? std::uint32_t{PVN_SCHED_WARP} : 0,
            .warp = parameters.warp,
            .warp_limit = parameters.warp_limit,
            .unwarp = parameters.unwarp};
}

// The books of BVT on one entity.  Copied to ask "what if it had run until now".
struct BvtAccount {
    VirtualTime actual = 0;         // A; comparable among the queues of one pool
    VirtualTime lead = 0;           // while in no queue: by how much A was ahead of that queue's virtual time
    std::uint64_t remainder = 0;    // real ns charged but too few for one unit of virtual time: below the weight
    Nanoseconds uncharged = 0;      // real ns that do not yet fill a charging unit
    Nanoseconds warp_used = 0;      // real ns run warped since it may warp
    Nanoseconds warp_stopped = 0;   // when it last stopped running warped: limit reached, or blocked
    bool warped = false;
};

// Where an entity stands among those that wait: by virtual time, and then by who has waited longer for his turn.
struct Place {
    VirtualTime time = 0;
    std::uint64_t turn = 0;
    friend constexpr bool operator==(Place const&, Place const&) = default;
    friend constexpr bool operator<(Place const& a, Place const& b)
    {
        auto const later = after(a.time, b.time);
        return later < 0 || (later == 0 && a.turn < b.turn);
    }
};

class Entity;
class Pool;

// What counts of those that wait for a CPU: of one, or of many together.
struct Standing {
    Entity* first = nullptr;            // who has the least place
    Place place{};
    Place mover{};                      // the least one of those that may run elsewhere; of no meaning if there are none
    CpuMask elsewhere{};                // where else one or another may run
    std::uint32_t weight = UINT32_MAX;  // the least one
    // Of BVT only.
    VirtualTime actual = 0;        // least A
    VirtualTime unborrowed = 0;    // least A without what may be borrowed
    Nanoseconds due = no_deadline; // when the first of them may warp again, or has let others go first for long enough

    // Neither is of none.
    [[gnu::always_inline]] void add(Standing const& other)
    {
        if (other.place < place) {
            place = other.place;
            first = other.first;
        }
        if (!other.elsewhere.empty() && (elsewhere.empty() || other.mover < mover))
            mover = other.mover;
        elsewhere = elsewhere | other.elsewhere;
        weight = std::min(weight, other.weight);
        if (after(actual, other.actual) > 0)
            actual = other.actual;
        if (after(unborrowed, other.unborrowed) > 0)
            unborrowed = other.unborrowed;
        due = std::min(due, other.due);
    }

    friend constexpr bool operator==(Standing const&, Standing const&) = default;
};

// One schedulable thing.  It belongs to at most one policy, from add() to remove(), and stays where it is meanwhile.
class Entity {
public:
    enum class State : std::uint8_t { detached, blocked, runnable };

    constexpr Entity() = default;
    Entity(Entity const&) = delete;
    Entity& operator=(Entity const&) = delete;

    State state() const { return state_; }
    Parameters const& parameters() const { return parameters_; }
    BvtAccount const& account() const { return account_; }  // of one that waits: as it was when it began to
    Affinity const& affinity() const { return affinity_; }

private:
    friend class Policy;
    friend class Waiting;
    friend class Bvt;
    friend class RoundRobin;
    friend class Null;

    Parameters parameters_{};
    Affinity affinity_{};
    BvtAccount account_{};
    Pool const* clock_ = nullptr;  // the pool among whose queues A is comparable
    SummaryHook<Entity, Standing> waiting_{};
    std::uint64_t turn_ = 0;       // grows with each that is given out
    Nanoseconds yielded_until_ = 0;
    State state_ = State::detached;
    bool yielded_ = false;
    std::uint8_t group_ = 0;       // which of those that wait
};

}  // namespace pvn::sched
