// SPDX-License-Identifier: MIT
// docs/abi/vcpu.md
#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "arch/x86/cpu_setup.hpp"
#include "arch/x86/debug_registers.hpp"
#include "arch/x86/descriptor.hpp"
#include "arch/x86/io_bitmap.hpp"
#include "arch/x86/ldt.hpp"
#include "dispatcher/schedule.hpp"
#include "domain/domain.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"

namespace pvn::hypercall {

Outcome vcpu_set_timer(Vcpu& vcpu, Arguments const& a)
{
    schedule::set_timer(vcpu, a[0]);
    return 0;
}

Outcome vcpu_set_descriptor(Vcpu& vcpu, Arguments const& a)
{
    if (a[0] < PVN_GDT_FIRST_OWN || a[0] > PVN_GDT_LAST_OWN) return Fail{Error::invalid};
    auto value = a[1];
    if ((value & descriptor::present) != 0) {
        // Only data that ring 3 may use: no gates, no system segments, no code that could be entered at another ring.
        if (!descriptor::names_ring_3(value) || (value & descriptor::code) != 0) return Fail{Error::invalid};
        value |= descriptor::accessed;  // the CPU would set it, in a read-only table
    } else {
        value = 0;
    }
    vcpu.descriptor[a[0] - PVN_GDT_FIRST_OWN] = value;
    cpu::set_descriptor(static_cast<unsigned>(a[0]), value);
    return 0;
}

Outcome vcpu_set_ldt(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(ldt::set(vcpu, a[0], a[1], schedule::let_interrupts_in));
    return 0;
}

Outcome vcpu_set_io_bitmap(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(io_bitmap::set(vcpu, a[0], a[1]));
    return 0;
}

Outcome vcpu_set_debug(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(debug_registers::write(vcpu, a[0], a[1]));
    return 0;
}

Outcome vcpu_get_debug(Vcpu& vcpu, Arguments const& a)
{
    return static_cast<std::int64_t>(PVN_TRY(debug_registers::read(vcpu, a[0])));
}

Outcome vcpu_set_xcr0(Vcpu&, Arguments const& a)
{
    // One value for all: what the CPU has of x87, SSE, AVX and AVX-512.
    return a[0] == cpu::allowed_xcr0() ? Outcome{0} : Fail{Error::invalid};
}

Outcome vcpu_initialise(Vcpu& vcpu, Arguments const& a)
{
    auto& domain = *vcpu.domain;
    auto* const target = domain.vcpu(a[0]);
    if (target == nullptr) return Fail{Error::not_found};
    auto const context = PVN_TRY((GuestIn<pvn_vcpu_context>{vcpu, a[1]}.read()));
    Guard const guard{domains::lock};  // nobody starts it meanwhile
    if (target->state != VcpuState::offline || target->active != no_cpu) return Fail{Error::busy};
    PVN_CHECK(domains::set_context(*target, context));
    return 0;
}

Outcome vcpu_up(Vcpu& vcpu, Arguments const& a)
{
    auto* const target = vcpu.domain->vcpu(a[0]);
    if (target == nullptr) return Fail{Error::not_found};
    Guard const guard{domains::lock};
    PVN_CHECK(schedule::start(*target));
    return 0;
}

Outcome vcpu_down(Vcpu& vcpu, Arguments const& a)
{
    auto& domain = *vcpu.domain;
    auto* const target = domain.vcpu(a[0]);
    if (target == nullptr) return Fail{Error::not_found};
    Guard const guard{domains::lock};  // so that two cannot both leave one for the other to be
    auto const up = std::ranges::count_if(domain.all_vcpus(), [](auto const* v) { return v->state != VcpuState::offline; });
    if (target->state != VcpuState::offline && up == 1) return Fail{Error::busy};
    PVN_CHECK(schedule::stop(*target));
    return 0;
}

Outcome vcpu_query(Vcpu& vcpu, Arguments const& a)
{
    auto const* const target = vcpu.domain->vcpu(a[0]);
    if (target == nullptr) return Fail{Error::not_found};
    // Offline only when it can be initialised anew.
    return target->run_state == PVN_RUNSTATE_OFFLINE && target->active != no_cpu ? PVN_RUNSTATE_RUNNING : target->run_state;
}

Outcome vcpu_set_user_gs(Vcpu& vcpu, Arguments const& a)
{
    auto const selector = a[0];
    if (selector > 0xffff) return Fail{Error::invalid};
    auto const index = selector / 8;
    bool const null = selector < 4;
    bool const local = (selector & 4) != 0;
    bool const own = !local && index >= PVN_GDT_FIRST_OWN && index <= PVN_GDT_LAST_OWN;
    bool const user_data = (selector & ~3u) == (PVN_USER_SS & ~3u);
    if (!null && !local && !own && !user_data) return Fail{Error::invalid};
    std::uint64_t base = 0;
    if (local || own) {
        auto const value = local ? ldt::descriptor(vcpu, selector) : vcpu.descriptor[index - PVN_GDT_FIRST_OWN];
        if (!descriptor::is_loadable(value)) return Fail{Error::invalid};  // the load below does not fault
        base = descriptor::base(value);
    }
    // Loading a selector replaces the base, which is the kernel's now.
    auto const kernel_base = cpu::read_gs_base();
    cpu::write_gs(selector);
    cpu::write_gs_base(kernel_base);
    __atomic_store_n(&vcpu.page->user_gs_base, base, __ATOMIC_RELAXED);
    return 0;
}

}  // namespace pvn::hypercall
