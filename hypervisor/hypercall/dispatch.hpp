// SPDX-License-Identifier: MIT
// From a hypercall's number to the function that does it.
#pragma once

#include <array>
#include <cstdint>

#include "arch/x86/registers.hpp"
#include "domain/domain.hpp"
#include "lib/result.hpp"

namespace pvn::hypercall {

using Outcome = Result<std::int64_t>;

// How far a call is.  A call that may take long asks now and then whether its time is up; then it stops, and goes on
// from `done` after the guest has been entered, and interrupts with it.  `done` has been in the guest's registers meanwhile: it
// is a number like any argument.
class Progress {
public:
    explicit Progress(std::uint64_t where, std::uint64_t until = 0) : done{where}, until_{until} {}
    bool time_is_up();
    std::uint64_t until();  // system time; the time begins when this is first asked
    Outcome stop(std::uint64_t where)
    {
        done = where;
        stopped = true;
        return 0;
    }

    std::uint64_t done;
    bool stopped{};

private:
    std::uint64_t until_;  // 0: it has not begun
};

struct Arguments {
    std::array<std::uint64_t, 6> a;
    Progress& progress;
    std::uint64_t operator[](std::size_t i) const { return a[i]; }
    // One that is wider than what it is to hold names nothing.
    std::uint32_t narrow(std::size_t i) const { return a[i] <= 0xffffffff ? static_cast<std::uint32_t>(a[i]) : 0xffffffff; }
    Port port(std::size_t i) const { return Port{narrow(i)}; }
};

using Handler = Outcome (*)(Vcpu&, Arguments const&);
enum class For : std::uint8_t { all, privileged };

// Whether its return flushes the caller's TLB (docs/abi/README.md): what can change the memory that the caller sees.
constexpr bool flushes(std::uint32_t number)
{
    auto const family = [](std::uint32_t n) { return n >> 8; };
    return number != PVN_GRANT_COPY && (family(number) == family(PVN_MMU_QUEUE) || family(number) == family(PVN_MEMORY_POPULATE) ||
                                        family(number) == family(PVN_GRANT_MAP) || family(number) == family(PVN_DOMAIN_CREATE));
}

struct Call {
    std::uint32_t number;
    For who;
    Handler handler;
    bool flushes = hypercall::flushes(number);
};

// `done`: 0, or where a call that was stopped goes on.
void dispatch(Vcpu&, Registers&, std::uint64_t done);

// The calls of each family, one file each.
Outcome mmu_queue(Vcpu&, Arguments const&);
Outcome mmu_update_va(Vcpu&, Arguments const&);
Outcome mmu_set_root(Vcpu&, Arguments const&);
Outcome mmu_flush(Vcpu&, Arguments const&);
Outcome mmu_invalidate_page(Vcpu&, Arguments const&);
Outcome mmu_flush_vcpus(Vcpu&, Arguments const&);
Outcome mmu_write(Vcpu&, Arguments const&);
Outcome memory_populate(Vcpu&, Arguments const&);
Outcome memory_give_back(Vcpu&, Arguments const&);
Outcome memory_query(Vcpu&, Arguments const&);
Outcome memory_map_foreign(Vcpu&, Arguments const&);
Outcome event_alloc(Vcpu&, Arguments const&);
Outcome event_bind_domain(Vcpu&, Arguments const&);
Outcome event_bind_virq(Vcpu&, Arguments const&);
Outcome event_bind_ipi(Vcpu&, Arguments const&);
Outcome event_bind_irq(Vcpu&, Arguments const&);
Outcome event_close(Vcpu&, Arguments const&);
Outcome event_send(Vcpu&, Arguments const&);
Outcome event_unmask(Vcpu&, Arguments const&);
Outcome event_status(Vcpu&, Arguments const&);
Outcome event_bind_vcpu(Vcpu&, Arguments const&);
Outcome grant_set_table(Vcpu&, Arguments const&);
Outcome grant_map(Vcpu&, Arguments const&);
Outcome grant_unmap(Vcpu&, Arguments const&);
Outcome grant_copy(Vcpu&, Arguments const&);
Outcome grant_query(Vcpu&, Arguments const&);
Outcome sched_yield(Vcpu&, Arguments const&);
Outcome sched_block(Vcpu&, Arguments const&);
Outcome sched_shutdown(Vcpu&, Arguments const&);
Outcome sched_poll(Vcpu&, Arguments const&);
Outcome sched_wait(Vcpu&, Arguments const&);
Outcome vcpu_set_timer(Vcpu&, Arguments const&);
Outcome vcpu_set_descriptor(Vcpu&, Arguments const&);
Outcome vcpu_set_ldt(Vcpu&, Arguments const&);
Outcome vcpu_set_debug(Vcpu&, Arguments const&);
Outcome vcpu_get_debug(Vcpu&, Arguments const&);
Outcome vcpu_set_xcr0(Vcpu&, Arguments const&);
Outcome vcpu_initialise(Vcpu&, Arguments const&);
Outcome vcpu_up(Vcpu&, Arguments const&);
Outcome vcpu_down(Vcpu&, Arguments const&);
Outcome vcpu_query(Vcpu&, Arguments const&);
Outcome vcpu_set_user_gs(Vcpu&, Arguments const&);
Outcome vcpu_set_io_bitmap(Vcpu&, Arguments const&);
Outcome time_set_wall_clock(Vcpu&, Arguments const&);
Outcome phys_map_gsi(Vcpu&, Arguments const&);
Outcome phys_unmap(Vcpu&, Arguments const&);
Outcome phys_eoi(Vcpu&, Arguments const&);
Outcome phys_map_msi(Vcpu&, Arguments const&);
Outcome phys_io_apic_read(Vcpu&, Arguments const&);
Outcome domain_create(Vcpu&, Arguments const&);
Outcome domain_destroy(Vcpu&, Arguments const&);
Outcome domain_pause(Vcpu&, Arguments const&);
Outcome domain_unpause(Vcpu&, Arguments const&);
Outcome domain_set_context(Vcpu&, Arguments const&);
Outcome domain_get_context(Vcpu&, Arguments const&);
Outcome domain_populate(Vcpu&, Arguments const&);
Outcome domain_info(Vcpu&, Arguments const&);
Outcome domain_set_limit(Vcpu&, Arguments const&);
Outcome domain_set_sched(Vcpu&, Arguments const&);
Outcome domain_mmu_queue(Vcpu&, Arguments const&);
Outcome domain_get_mfns(Vcpu&, Arguments const&);
Outcome domain_event_alloc(Vcpu&, Arguments const&);
Outcome domain_audit(Vcpu&, Arguments const&);
Outcome domain_get_traps(Vcpu&, Arguments const&);
Outcome domain_request_power(Vcpu&, Arguments const&);
Outcome domain_request_vcpus(Vcpu&, Arguments const&);
Outcome domain_take_to_pool(Vcpu&, Arguments const&);
Outcome domain_get_sched(Vcpu&, Arguments const&);
Outcome system_version(Vcpu&, Arguments const&);
Outcome system_console_write(Vcpu&, Arguments const&);
Outcome system_console_read(Vcpu&, Arguments const&);
Outcome system_info(Vcpu&, Arguments const&);
Outcome system_debug_key(Vcpu&, Arguments const&);
Outcome system_log_read(Vcpu&, Arguments const&);
Outcome domain_vcpu_info(Vcpu&, Arguments const&);
Outcome domain_set_affinity(Vcpu&, Arguments const&);
Outcome system_cpu_info(Vcpu&, Arguments const&);
Outcome system_set_cpu(Vcpu&, Arguments const&);
Outcome system_locks(Vcpu&, Arguments const&);
Outcome system_trace(Vcpu&, Arguments const&);
Outcome system_trace_read(Vcpu&, Arguments const&);
Outcome system_pool_create(Vcpu&, Arguments const&);
Outcome system_pool_destroy(Vcpu&, Arguments const&);
Outcome system_pool_info(Vcpu&, Arguments const&);
Outcome system_pool_take_cpu(Vcpu&, Arguments const&);
Outcome system_fail_allocation(Vcpu&, Arguments const&);
Outcome multi(Vcpu&, Arguments const&);

}  // namespace pvn::hypercall
