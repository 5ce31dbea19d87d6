// SPDX-License-Identifier: MIT
// docs/abi/domain.md
#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "audit/audit.hpp"
#include "dispatcher/notify.hpp"
#include "dispatcher/pools.hpp"
#include "dispatcher/schedule.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "hypercall/mmu_operations.hpp"
#include "machine.hpp"
#include "tlb/flush.hpp"

namespace pvn::hypercall {
namespace {

constexpr std::uint64_t most_frames = 1024;

Result<Domain*> find(std::uint64_t id)
{
    auto* const domain = id < domain_limit ? domains::find(DomainId{static_cast<std::uint16_t>(id)}) : nullptr;
    if (domain == nullptr) return Fail{Error::not_found};
    return domain;
}

// A domain other than the caller: one cannot pause, fill or rewrite oneself.
Result<Domain*> find_other(Vcpu const& vcpu, std::uint64_t id)
{
    auto* const domain = PVN_TRY(find(id));
    if (domain == vcpu.domain || domain->dying) return Fail{Error::denied};
    return domain;
}

}  // namespace

Outcome domain_create(Vcpu& vcpu, Arguments const& a)
{
    auto const request = PVN_TRY((GuestIn<pvn_domain_create>{vcpu, a[0]}.read()));
    if (request.flags != 0) return Fail{Error::invalid};
    auto* const domain = PVN_TRY(domains::create(false, request.limit, request.p2m_frames, request.vcpus, schedule::let_interrupts_in));
    std::ranges::copy(request.uuid, domain->uuid.begin());
    return domain->id.raw();
}

Outcome domain_destroy(Vcpu& vcpu, Arguments const& a)
{
    if (a[0] >= domain_limit) return Fail{Error::not_found};
    DomainId const id{static_cast<std::uint16_t>(a[0])};
    if (id == vcpu.domain->id) return Fail{Error::denied};
    PVN_CHECK(domains::destroy(id, a.progress.until(), schedule::let_interrupts_in));
    return 0;
}

Outcome domain_pause(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(domains::pause(*PVN_TRY(find_other(vcpu, a[0]))));
    return 0;
}

Outcome domain_unpause(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(domains::unpause(*PVN_TRY(find_other(vcpu, a[0]))));
    return 0;
}

Outcome domain_set_context(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find_other(vcpu, a[0]));
    auto* const target = domain->vcpu(a[1]);
    if (target == nullptr) return Fail{Error::not_found};
    auto const context = PVN_TRY((GuestIn<pvn_vcpu_context>{vcpu, a[2]}.read()));
    Guard const guard{domains::lock};  // it stays paused meanwhile
    if (domain->dying) return Fail{Error::denied};
    if (domain->pause_count == 0 || target->active != no_cpu) return Fail{Error::busy};
    PVN_CHECK(domains::set_context(*target, context));
    if (target->id == VcpuId{0}) (void)schedule::start(*target);
    return 0;
}

Outcome domain_get_context(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find_other(vcpu, a[0]));
    auto* const source = domain->vcpu(a[1]);
    if (source == nullptr) return Fail{Error::not_found};
    pvn_vcpu_context c{};
    {
        Guard const guard{domains::lock};
        if (domain->runnable() || source->active != no_cpu) return Fail{Error::busy};
        auto const& r = source->registers;
        c.rip = r.rip, c.rsp = r.rsp, c.rflags = r.rflags, c.rax = r.rax, c.rbx = r.rbx, c.rcx = r.rcx, c.rdx = r.rdx, c.rsi = r.rsi;
        c.rdi = r.rdi, c.rbp = r.rbp, c.r8 = r.r8, c.r9 = r.r9, c.r10 = r.r10, c.r11 = r.r11, c.r12 = r.r12, c.r13 = r.r13, c.r14 = r.r14;
        c.r15 = r.r15, c.fs_base = source->fs_base, c.gs_base = source->gs_base;
        LockedFrames const frames;
        c.root_pfn = source->root.raw() != 0 ? machine.m2p[source->root.raw()] : PVN_NO_FRAME;
        c.cs = static_cast<std::uint16_t>(r.from_user() ? r.cs : PVN_KERNEL_CS);
        c.ss = static_cast<std::uint16_t>(r.from_user() ? r.ss : PVN_KERNEL_SS);
    }
    PVN_CHECK((GuestOut<pvn_vcpu_context>{vcpu, a[2]}.write(c)));
    return 0;
}

Outcome domain_populate(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find_other(vcpu, a[0]));
    auto const count = std::min(a[2], most_frames);
    auto done = std::min(a.progress.done, count);
    for (; done < count; ++done) {
        if (a.progress.time_is_up() && done != a.progress.done) return a.progress.stop(done);
        if (auto const populated = domains::populate(*domain, a[1] + done); !populated) {
            if (done == 0) return Fail{populated.error()};
            break;
        }
    }
    return static_cast<std::int64_t>(done);
}

Outcome domain_info(Vcpu& vcpu, Arguments const& a)
{
    if (a[0] >= domain_limit) return 0;
    GuestOut<pvn_domain_info> const out{vcpu, a[1]};
    // What is done: how many are filled, and, below that, from which id on to look for more.
    constexpr std::uint64_t ids = 2 * domain_limit;
    auto const done = a.progress.done;
    auto filled = std::min<std::uint64_t>(done / ids, domain_limit);
    auto const from = done == 0 ? a[0] : done % ids;
    for (auto* domain = domains::first_from(static_cast<std::uint32_t>(from)); domain != nullptr && filled < a[2];
         domain = domains::first_from(domain->id.raw() + 1u)) {
        if (a.progress.time_is_up() && domain->id.raw() != from) return a.progress.stop(filled * ids + domain->id.raw());
        pvn_domain_info info{};
        info.id = domain->id.raw();
        bool running = false, waiting = true;
        for (auto* const v : domain->all_vcpus()) {
            info.cpu_time += schedule::cpu_time(*v);
            running = running || v->run_state == PVN_RUNSTATE_RUNNING;
            waiting = waiting && v->state != VcpuState::runnable;
        }
        info.flags = static_cast<std::uint16_t>(
            (domain->pause_count != 0 ? PVN_DOMAIN_PAUSED : 0) | (domain->shut_down ? PVN_DOMAIN_SHUT_DOWN : 0) |
            (domain->dying ? PVN_DOMAIN_DYING : 0) | (running ? PVN_DOMAIN_RUNNING : 0) | (waiting ? PVN_DOMAIN_BLOCKED : 0));
        info.reason = domain->reason;
        if (LockedFrames const frames; true) {
            info.frames = domain->frames;
            info.limit = domain->limit;
        }
        info.vcpus = static_cast<std::uint16_t>(domain->vcpu_count);
        info.pool = static_cast<std::uint16_t>(domain->pool);
        info.weight = schedule::parameters(*domain->vcpus[0]).weight;
        std::ranges::copy(domain->uuid, info.uuid);
        std::ranges::copy(domain->last_words, info.last_words);
        info.rip = domain->last_rip;
        info.rsp = domain->last_rsp;
        PVN_CHECK(out.write(info, filled));
        ++filled;
    }
    return static_cast<std::int64_t>(filled);
}

Outcome domain_set_limit(Vcpu&, Arguments const& a)
{
    auto* const domain = PVN_TRY(find(a[0]));
    if (a[1] > domain->p2m_frames) return Fail{Error::range};
    LockedFrames const frames;
    domain->limit = a[1];
    return 0;
}

Outcome domain_set_sched(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find(a[0]));
    auto const parameters = PVN_TRY((GuestIn<pvn_sched_parameters>{vcpu, a[1]}.read()));
    for (auto* const target : domain->all_vcpus()) {
        PVN_CHECK(schedule::set_parameters(*target, parameters));
        schedule::let_interrupts_in();
    }
    return 0;
}

Outcome domain_get_sched(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find(a[0]));
    PVN_CHECK((GuestOut<pvn_sched_parameters>{vcpu, a[1]}.write(sched::request_of(schedule::parameters(*domain->vcpus[0])))));
    return 0;
}

// A request, not an order: the guest may take its time or take no notice.
static Outcome request(Domain& domain, std::uint32_t virq, std::uint32_t pvn_domain_page::*field, std::uint64_t value)
{
    if (domain.shut_down) return Fail{Error::shut_down};
    auto& listener = *domain.vcpus[0];
    if (!event::LockedPorts{domain}.of(domain).listens(virq, listener.id)) return Fail{Error::not_listening};
    __atomic_store_n(&(domain.page->*field), static_cast<std::uint32_t>(value), __ATOMIC_RELEASE);
    event::raise_vcpu_virq(listener, virq);
    return 0;
}

Outcome domain_request_power(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find_other(vcpu, a[0]));
    if (a[1] != PVN_SHUTDOWN_POWER_OFF && a[1] != PVN_SHUTDOWN_REBOOT) return Fail{Error::invalid};
    return request(*domain, PVN_VIRQ_POWER, &pvn_domain_page::power_request, a[1]);
}

Outcome domain_request_vcpus(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find_other(vcpu, a[0]));
    if (a[1] == 0 || a[1] > domain->vcpu_count) return Fail{Error::invalid};
    return request(*domain, PVN_VIRQ_VCPUS, &pvn_domain_page::vcpus_request, a[1]);
}

Outcome domain_vcpu_info(Vcpu& vcpu, Arguments const& a)
{
    auto* const target = PVN_TRY(find(a[0]))->vcpu(a[1]);
    if (target == nullptr) return Fail{Error::not_found};
    pvn_vcpu_info info{};
    schedule::fill_info(*target, info);
    PVN_CHECK((GuestOut<pvn_vcpu_info>{vcpu, a[2]}.write(info)));
    return 0;
}

Outcome domain_set_affinity(Vcpu&, Arguments const& a)
{
    auto* const target = PVN_TRY(find(a[0]))->vcpu(a[1]);
    if (target == nullptr) return Fail{Error::not_found};
    Guard const guard{domains::lock};  // no CPU goes offline meanwhile
    PVN_CHECK(pools::set_affinity(*target, {sched::CpuMask{a[2]}, sched::CpuMask{a[3]}}));
    return 0;
}

Outcome domain_take_to_pool(Vcpu&, Arguments const& a)
{
    auto* const domain = PVN_TRY(find(a[0]));
    Guard const guard{domains::lock};
    PVN_CHECK(pools::take_domain(a[1], *domain));
    return 0;
}

Outcome domain_mmu_queue(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find_other(vcpu, a[0]));
    if (domain->pause_count == 0) return Fail{Error::busy};
    auto const outcome = run_queue(vcpu, a[1], a[2], a.progress, [&](LockedFrames const& frames, pvn_mmu_op& op) -> Result<void> {
        if (domain->dying) return Fail{Error::denied};
        return table_operation(frames, vcpu, *domain, op);
    });
    tlb::flush_vcpus(*domain, ~std::uint64_t{0});
    return outcome;
}

Outcome domain_get_mfns(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find(a[0]));
    GuestOut<std::uint64_t> const out{vcpu, a[2]};
    constexpr std::uint64_t at_once = 64;
    auto const count = std::min(a[3], most_frames);
    auto filled = std::min(a.progress.done, count);
    for (std::uint64_t some = at_once; some == at_once && filled < count; filled += some) {
        if (a.progress.time_is_up() && filled != a.progress.done) return a.progress.stop(filled);
        LockedFrames const frames;
        auto const first = a[1] + filled, size = domain->p2m.size();
        some = std::min({at_once, count - filled, first < size && first >= a[1] ? size - first : 0});
        if (some != 0) PVN_CHECK(out.write(frames, filled, domain->p2m.subspan(first, some)));
    }
    return static_cast<std::int64_t>(filled);
}

Outcome domain_event_alloc(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find_other(vcpu, a[0]));
    auto const* const remote = PVN_TRY(find(a[1]));
    return PVN_TRY(event::LockedPorts{*domain}.of(*domain).allocate(remote->id)).raw();
}

Outcome domain_audit(Vcpu&, Arguments const& a)
{
    auto const found = audit::run();
    if (!found && found.error() == Error::again) return a.progress.stop(0);
    return static_cast<std::int64_t>(PVN_TRY(found));
}

Outcome domain_get_traps(Vcpu& vcpu, Arguments const& a)
{
    auto* const domain = PVN_TRY(find(a[0]));
    GuestOut<pvn_trap_count> const out{vcpu, a[1]};
    std::int64_t filled = 0;
    for (auto const& trap : domain->traps) {
        if (trap.count == 0 || static_cast<std::uint64_t>(filled) == a[2]) break;
        pvn_trap_count copy{trap.rip, trap.count, {}};
        std::ranges::copy(trap.bytes, copy.bytes);
        PVN_CHECK(out.write(copy, static_cast<std::uint64_t>(filled)));
        ++filled;
    }
    return filled;
}

}  // namespace pvn::hypercall
