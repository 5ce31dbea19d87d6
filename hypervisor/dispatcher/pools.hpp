// SPDX-License-Identifier: MIT
// CPU pools: which CPUs run vCPUs, of which domains, under which policy.
#pragma once

#include <cstdint>
#include <string_view>

#include "domain/domain.hpp"
#include "lib/result.hpp"
#include "sched/policy_slot.hpp"

namespace pvn::pools {

// Pool 0 is there from the start, has a CPU always, and is where domains are made.
inline constexpr std::uint32_t limit = 16;

// The CPUs of a pool that exists; of a domain; and that among which a CPU has its queue, or will have it soon.
sched::Pool& get(std::uint32_t pool);
sched::Pool& of(Vcpu const&);
sched::Pool& of(std::uint32_t cpu);
sched::Kind kind_of(std::uint32_t cpu);

std::string_view policy_name(std::uint32_t pool);

// At boot: all CPUs in pool 0.
void initialise(sched::Kind);

// All of these under the domains lock.
Result<std::uint32_t> create(sched::Kind) PVN_REQUIRES(domains::lock);    // no_space
Result<void> destroy(std::uint64_t pool) PVN_REQUIRES(domains::lock);     // not_found; invalid: pool 0; busy: it has CPUs or domains
// Takes a CPU to another pool, as soon as its vCPUs have left it: is_moving().  not_found; invalid: it runs no vCPUs; exists: so
// it is; again: it is on its way to some pool; busy: the pool that it leaves needs it.  To see that takes long with many vCPUs; if it
// takes until that system time, false, and `searched`, 0 at first, is where the next try goes on.  It is less than 2^31, and may be
// anything: who makes it up takes a CPU that is needed, no more.
Result<bool> take_cpu(std::uint64_t pool, std::uint64_t cpu, std::uint64_t& searched, std::uint64_t until) PVN_REQUIRES(domains::lock);
bool is_moving(std::uint64_t cpu);
// not_found; invalid: the pool has no CPU for some vCPU.
Result<void> take_domain(std::uint64_t pool, Domain&) PVN_REQUIRES(domains::lock);
// Whether a CPU runs vCPUs; those that it has go elsewhere.  not_found; exists: so it is; again: it is changing its pool; busy: its
// pool needs it, which takes long to see as above.
Result<bool> set_online(std::uint64_t cpu, bool online, std::uint64_t& searched, std::uint64_t until) PVN_REQUIRES(domains::lock);
// invalid: no CPU of the pool is in it.
Result<void> set_affinity(Vcpu&, sched::Affinity const&) PVN_REQUIRES(domains::lock);
// False: there is no such pool.
bool fill_info(std::uint32_t pool, pvn_pool_info&) PVN_REQUIRES(domains::lock);

}  // namespace pvn::pools
