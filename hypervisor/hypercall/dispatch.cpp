// SPDX-License-Identifier: MIT
#include "hypercall/dispatch.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "arch/x86/per_cpu.hpp"
#include "arch/x86/slot_addresses.hpp"
#include "boot/boot_info.hpp"
#include "dispatcher/schedule.hpp"
#include "guest/access.hpp"
#include "lib/bounded.hpp"
#include "machine.hpp"
#include "tlb/flush.hpp"
#include "trace/trace.hpp"
#include "time/clock.hpp"

namespace pvn::hypercall {
namespace {

constexpr Call calls[] = {
    {PVN_MMU_QUEUE, For::all, mmu_queue},
    {PVN_MMU_UPDATE_VA, For::all, mmu_update_va},
    {PVN_MMU_SET_ROOT, For::all, mmu_set_root},
    {PVN_MMU_FLUSH, For::all, mmu_flush},
    {PVN_MMU_INVALIDATE_PAGE, For::all, mmu_invalidate_page},
    {PVN_MMU_FLUSH_VCPUS, For::all, mmu_flush_vcpus},
    {PVN_MMU_WRITE, For::all, mmu_write},
    {PVN_MEMORY_POPULATE, For::all, memory_populate},
    {PVN_MEMORY_GIVE_BACK, For::all, memory_give_back},
    {PVN_MEMORY_QUERY, For::all, memory_query},
    {PVN_MEMORY_MAP_FOREIGN, For::privileged, memory_map_foreign},
    {PVN_EVENT_ALLOC, For::all, event_alloc},
    {PVN_EVENT_BIND_DOMAIN, For::all, event_bind_domain},
    {PVN_EVENT_BIND_VIRQ, For::all, event_bind_virq},
    {PVN_EVENT_BIND_IPI, For::all, event_bind_ipi},
    {PVN_EVENT_BIND_IRQ, For::privileged, event_bind_irq},
    {PVN_EVENT_CLOSE, For::all, event_close},
    {PVN_EVENT_SEND, For::all, event_send},
    {PVN_EVENT_UNMASK, For::all, event_unmask},
    {PVN_EVENT_STATUS, For::all, event_status},
    {PVN_EVENT_BIND_VCPU, For::all, event_bind_vcpu},
    {PVN_GRANT_SET_TABLE, For::all, grant_set_table},
    {PVN_GRANT_MAP, For::all, grant_map},
    {PVN_GRANT_UNMAP, For::all, grant_unmap},
    {PVN_GRANT_COPY, For::all, grant_copy},
    {PVN_GRANT_QUERY, For::all, grant_query},
    {PVN_SCHED_YIELD, For::all, sched_yield},
    {PVN_SCHED_BLOCK, For::all, sched_block},
    {PVN_SCHED_SHUTDOWN, For::all, sched_shutdown},
    {PVN_SCHED_POLL, For::all, sched_poll},
    {PVN_SCHED_WAIT, For::all, sched_wait},
    {PVN_VCPU_SET_TIMER, For::all, vcpu_set_timer},
    {PVN_VCPU_SET_DESCRIPTOR, For::all, vcpu_set_descriptor},
    {PVN_VCPU_SET_LDT, For::all, vcpu_set_ldt},
    {PVN_VCPU_SET_DEBUG, For::all, vcpu_set_debug},
    {PVN_VCPU_GET_DEBUG, For::all, vcpu_get_debug},
    {PVN_VCPU_SET_XCR0, For::all, vcpu_set_xcr0},
    {PVN_VCPU_INITIALISE, For::all, vcpu_initialise},
    {PVN_VCPU_UP, For::all, vcpu_up},
    {PVN_VCPU_DOWN, For::all, vcpu_down},
    {PVN_VCPU_QUERY, For::all, vcpu_query},
    {PVN_VCPU_SET_USER_GS, For::all, vcpu_set_user_gs},
    {PVN_VCPU_SET_IO_BITMAP, For::all, vcpu_set_io_bitmap},
    {PVN_TIME_SET_WALL_CLOCK, For::privileged, time_set_wall_clock},
    {PVN_PHYS_MAP_GSI, For::privileged, phys_map_gsi},
    {PVN_PHYS_UNMAP, For::privileged, phys_unmap},
    {PVN_PHYS_EOI, For::privileged, phys_eoi},
    {PVN_PHYS_MAP_MSI, For::privileged, phys_map_msi},
    {PVN_PHYS_IOAPIC_READ, For::privileged, phys_io_apic_read},
    {PVN_DOMAIN_CREATE, For::privileged, domain_create},
    {PVN_DOMAIN_DESTROY, For::privileged, domain_destroy},
    {PVN_DOMAIN_PAUSE, For::privileged, domain_pause},
    {PVN_DOMAIN_UNPAUSE, For::privileged, domain_unpause},
    {PVN_DOMAIN_SET_CONTEXT, For::privileged, domain_set_context},
    {PVN_DOMAIN_GET_CONTEXT, For::privileged, domain_get_context},
    {PVN_DOMAIN_POPULATE, For::privileged, domain_populate},
    {PVN_DOMAIN_INFO, For::privileged, domain_info},
    {PVN_DOMAIN_SET_LIMIT, For::privileged, domain_set_limit},
    {PVN_DOMAIN_SET_SCHED, For::privileged, domain_set_sched},
    {PVN_DOMAIN_MMU_QUEUE, For::privileged, domain_mmu_queue},
    {PVN_DOMAIN_GET_MFNS, For::privileged, domain_get_mfns},
    {PVN_DOMAIN_EVENT_ALLOC, For::privileged, domain_event_alloc},
    {PVN_DOMAIN_AUDIT, For::privileged, domain_audit},
    {PVN_DOMAIN_GET_TRAPS, For::privileged, domain_get_traps},
    {PVN_DOMAIN_REQUEST_POWER, For::privileged, domain_request_power},
    {PVN_DOMAIN_GET_SCHED, For::privileged, domain_get_sched},
    {PVN_DOMAIN_VCPU_INFO, For::privileged, domain_vcpu_info},
    {PVN_DOMAIN_SET_AFFINITY, For::privileged, domain_set_affinity},
    {PVN_DOMAIN_REQUEST_VCPUS, For::privileged, domain_request_vcpus},
    {PVN_DOMAIN_TAKE_TO_POOL, For::privileged, domain_take_to_pool},
    {PVN_SYSTEM_VERSION, For::all, system_version},
    {PVN_SYSTEM_CONSOLE_WRITE, For::all, system_console_write},
    {PVN_SYSTEM_CONSOLE_READ, For::privileged, system_console_read},
    {PVN_SYSTEM_INFO, For::all, system_info},
    {PVN_SYSTEM_LOG_READ, For::privileged, system_log_read},
    {PVN_SYSTEM_DEBUG_KEY, For::privileged, system_debug_key},
    {PVN_SYSTEM_CPU_INFO, For::privileged, system_cpu_info},
    {PVN_SYSTEM_SET_CPU, For::privileged, system_set_cpu},
    {PVN_SYSTEM_LOCKS, For::privileged, system_locks},
    {PVN_SYSTEM_TRACE, For::privileged, system_trace},
    {PVN_SYSTEM_TRACE_READ, For::privileged, system_trace_read},
    {PVN_SYSTEM_POOL_CREATE, For::privileged, system_pool_create},
    {PVN_SYSTEM_POOL_DESTROY, For::privileged, system_pool_destroy},
    {PVN_SYSTEM_POOL_INFO, For::privileged, system_pool_info},
    {PVN_SYSTEM_POOL_TAKE_CPU, For::privileged, system_pool_take_cpu},
    {PVN_SYSTEM_FAIL_ALLOCATION, For::privileged, system_fail_allocation},
    {PVN_MULTI, For::all, multi},
};
static_assert(std::ranges::is_sorted(calls, {}, &Call::number));

// For tests: what can stop on its way does so at each chance, and goes on from the guest each time.
bool stops_always()
{
    static bool const always = boot::flag(machine.boot.text(), "stop_always");
    return always;
}

// Where the calls of a number stand: by family and operation.
constexpr std::uint64_t families = 12, operations = 32;
constexpr auto places = [] {
    std::array<std::array<std::uint8_t, operations>, families> at{};  // 1 more than the index in `calls`; 0: there is none
    for (std::size_t i = 0; i < std::size(calls); ++i) at.at(calls[i].number >> 8).at(calls[i].number & 0xff) = static_cast<std::uint8_t>(i + 1);
    return at;
}();
static_assert(std::size(calls) < 255);

Call const* find(std::uint64_t number)
{
    auto const family = number >> 8, operation = number & 0xff;
    if (family >= families || operation >= operations) return nullptr;
    auto const place = places[bounded(family, families)][bounded(operation, operations)];
    return place == 0 ? nullptr : &calls[bounded(place - 1u, std::size(calls))];
}

std::int64_t call(Vcpu& vcpu, std::uint64_t number, Arguments const& arguments)
{
    auto const* const found = find(number);
    if (found == nullptr) return -PVN_E_NOT_IMPLEMENTED;
    if (found->who == For::privileged && !vcpu.domain->privileged) return -PVN_E_DENIED;
    if (found->flushes) tlb::forget_guest();
    auto const outcome = found->handler(vcpu, arguments);
    return outcome ? *outcome : -static_cast<std::int64_t>(outcome.error());
}

// Does the call, from `done` on, until it ends, or stops at another `done`.
[[gnu::always_inline]] inline bool ends(Vcpu& vcpu, Registers& r, std::uint64_t& done)
{
    Progress progress{done};
    auto const result = call(vcpu, r.rax, {{r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9}, progress});
    if (progress.stopped) {
        done = progress.done;
        return false;
    }
    // The caller may have lost the CPU or its life, but its registers are where they were: switches happen on the way out.
    trace::note(PVN_TRACE_HYPERCALL, r.rax, static_cast<std::uint64_t>(result));
    r.rax = static_cast<std::uint64_t>(result);
    return true;
}

// A call that stopped has let in what came meanwhile, and goes on where it is unless the guest must hear of some of it, or another vCPU run.
[[gnu::noinline]] void go_on(Vcpu& vcpu, Registers& r, std::uint64_t done)
{
    auto& self = this_cpu();
    do {
        schedule::let_interrupts_in();
        self.stay.count_exit();  // nothing is held that the call had found
        bool const upcall_is_due = __atomic_load_n(&vcpu.page->event_pending, __ATOMIC_SEQ_CST) != 0 &&
                                   __atomic_load_n(&vcpu.page->event_mask, __ATOMIC_RELAXED) == 0;
        if (self.reschedule || upcall_is_due || stops_always()) {
            // To the guest it is as if it had not come back yet.  R11 is lost in a call.
            r.r11 = done;
            r.rip = slot_addresses.vdso_hypercall_again;
            return;
        }
    } while (!ends(vcpu, r, done));
}

}  // namespace

std::uint64_t Progress::until()
{
    // How long a call keeps interrupts off, but for its last step.
    constexpr std::uint64_t longest = 50000;  // ns
    if (until_ == 0) until_ = clock::now() + (stops_always() ? 0 : longest);
    return until_;
}

bool Progress::time_is_up() { return until() <= clock::now(); }

void dispatch(Vcpu& vcpu, Registers& r, std::uint64_t done)
{
    if (!ends(vcpu, r, done)) go_on(vcpu, r, done);
}

Outcome multi(Vcpu& vcpu, Arguments const& a)
{
    if (a[1] > 64 || a[0] % 8 != 0) return Fail{Error::invalid};
    GuestOut<pvn_call> const list{vcpu, a[0]};
    // Upper half: which element; lower half: how far that one is.
    constexpr std::uint64_t inner_bits = 32, inner_mask = (std::uint64_t{1} << inner_bits) - 1;
    auto inner_done = a.progress.done & inner_mask;
    auto const first = a.progress.done >> inner_bits;
    for (auto i = first; i < a[1]; ++i) {
        if (i != first && a.progress.time_is_up()) return a.progress.stop(i << inner_bits | inner_done);
        auto entry = PVN_TRY(list.read(i));
        bool const refused = entry.number == PVN_MULTI || entry.number == PVN_SCHED_SHUTDOWN || entry.number == PVN_SCHED_BLOCK ||
                             entry.number == PVN_SCHED_POLL || entry.number == PVN_SCHED_WAIT || entry.number == PVN_VCPU_DOWN;
        Progress inner{std::exchange(inner_done, 0), a.progress.until()};
        Arguments arguments{{}, inner};
        std::ranges::copy(entry.argument, arguments.a.begin());
        entry.result = refused ? -PVN_E_INVALID : call(vcpu, entry.number, arguments);
        if (inner.stopped) return a.progress.stop(i << inner_bits | (inner.done & inner_mask));
        PVN_CHECK(list.write(entry, i));
    }
    return 0;
}

}  // namespace pvn::hypercall
