// SPDX-License-Identifier: MIT
#include "sched/policy_slot.hpp"

#include <new>
#include <type_traits>

namespace pvn::sched {

// Nothing is ever destroyed: one policy is built over another.
static_assert(std::is_trivially_destructible_v<Bvt> && std::is_trivially_destructible_v<RoundRobin> && std::is_trivially_destructible_v<Null>);

Policy& PolicySlot::start(Kind kind, Options const& options, Pool& pool, Cpu cpu)
{
    stop();
    switch (kind) {
    case Kind::bvt:
        policy_ = new (storage_) Bvt{{.allowance = options.allowance, .charging_unit = options.charging_unit}};
        break;
    case Kind::round_robin:
        policy_ = new (storage_) RoundRobin{options.slice};
        break;
    case Kind::null:
        policy_ = new (storage_) Null;
        break;
    }
    kind_ = kind;
    pool.set_sticky(kind == Kind::null);
    policy_->join(pool, cpu);
    return *policy_;
}

void PolicySlot::stop()
{
    if (policy_ != nullptr)
        policy_->leave();
    policy_ = nullptr;
}

}  // namespace pvn::sched
