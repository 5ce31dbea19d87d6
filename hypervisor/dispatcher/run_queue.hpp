// SPDX-License-Identifier: MIT
// The run queue of each CPU: its policy, the vCPUs that have their home there, and who runs.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "arch/x86/per_cpu.hpp"
#include "domain/vcpu.hpp"
#include "lib/lock.hpp"
#include "sched/policy_slot.hpp"

namespace pvn::schedule {

struct RunQueue {
    SpinLock lock{Rank::run_queue};
    std::atomic<std::uint32_t> pool{0};                       // changed under the domains lock
    std::atomic<bool> moving{};                               // to that pool: the policy is still the old one's
    sched::PolicySlot policy PVN_GUARDED_BY(lock){};
    // All whose home it is, by home_next: those that are to find another one, and all others.
    Vcpu* unwelcome PVN_GUARDED_BY(lock) = nullptr;
    Vcpu* welcome PVN_GUARDED_BY(lock) = nullptr;
    Heap<&Vcpu::deadline> deadlines PVN_GUARDED_BY(lock){};       // of those with a deadline (deadlines.hpp)
    Vcpu* running PVN_GUARDED_BY(lock) = nullptr;             // null: idle.  Active too, or about to be
    std::uint64_t slice_end PVN_GUARDED_BY(lock) = 0;         // system time at which it may have to give way; 0: idle
    bool traced_idle PVN_GUARDED_BY(lock) = true;             // as the trace has it
    std::uint64_t idle_since PVN_GUARDED_BY(lock) = 0, idle_time PVN_GUARDED_BY(lock) = 0, switches PVN_GUARDED_BY(lock) = 0;
    std::uint64_t accounted_until PVN_GUARDED_BY(lock) = 0;   // CPU time up to here has been charged
};

inline constinit std::array<RunQueue, cpu_limit> queues{};

// The queue of a vCPU's home, locked.  Its home can change until it is.
class PVN_SCOPED_CAPABILITY LockedHome {
public:
    explicit LockedHome(Vcpu const& vcpu) PVN_UNCHECKED
    {
        for (;;) {
            auto const home = vcpu.home.load();
            queue_ = &queues[home];
            queue_->lock.lock();
            if (vcpu.home.load() == home) return;
            queue_->lock.unlock();
        }
    }
    LockedHome(LockedHome const&) = delete;
    LockedHome& operator=(LockedHome const&) = delete;
    ~LockedHome() PVN_UNCHECKED { queue_->lock.unlock(); }
    RunQueue& operator*() const { return *queue_; }

private:
    RunQueue* queue_;
};

}  // namespace pvn::schedule
