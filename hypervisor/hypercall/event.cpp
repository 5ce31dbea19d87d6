// SPDX-License-Identifier: MIT
// docs/abi/event.md
#include "dispatcher/notify.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "interrupts/interrupts.hpp"

namespace pvn::hypercall {
namespace {

Result<Domain*> find_domain(std::uint64_t id)
{
    auto* const domain = id < domain_limit ? domains::find(DomainId{static_cast<std::uint16_t>(id)}) : nullptr;
    if (domain == nullptr || domain->dying) return Fail{Error::not_found};
    return domain;
}

Outcome number(Result<Port> port)
{
    if (!port) return Fail{port.error()};
    return port->raw();
}

}  // namespace

Outcome event_alloc(Vcpu& vcpu, Arguments const& a)
{
    auto const* const remote = PVN_TRY(find_domain(a[0]));
    return number(event::LockedPorts{*vcpu.domain}.of(*vcpu.domain).allocate(remote->id));
}

Outcome event_bind_domain(Vcpu& vcpu, Arguments const& a)
{
    auto* const remote = PVN_TRY(find_domain(a[0]));
    auto const bound = PVN_TRY(([&]() -> Result<Port> {
        event::LockedPorts const ports{*vcpu.domain, *remote};
        if (remote->dying) return Fail{Error::not_found};  // its ports have been closed, or will be
        return ports.of(*vcpu.domain).bind_domain(ports.of(*remote), a.port(1));
    }()));
    event::raise(*vcpu.domain, bound);  // what the other end sent before is not known any more
    return bound.raw();
}

Outcome event_bind_virq(Vcpu& vcpu, Arguments const& a)
{
    bool const dom0_only = a[0] == PVN_VIRQ_CONSOLE || a[0] == PVN_VIRQ_DOMAIN;
    if (dom0_only && !vcpu.domain->privileged) return Fail{Error::denied};
    return number(event::LockedPorts{*vcpu.domain}.of(*vcpu.domain).bind_virq(a.narrow(0), VcpuId{a.narrow(1)}));
}

Outcome event_bind_ipi(Vcpu& vcpu, Arguments const& a) { return number(event::LockedPorts{*vcpu.domain}.of(*vcpu.domain).bind_ipi(VcpuId{a.narrow(0)})); }

Outcome event_bind_irq(Vcpu& vcpu, Arguments const& a)
{
    auto& domain = *vcpu.domain;
    auto const bound = PVN_TRY(event::LockedPorts{domain}.of(domain).bind_irq(a.narrow(0)));
    if (auto const hardware = interrupts::bind(a.narrow(0), domain, bound); !hardware) {
        event::LockedPorts const ports{domain};
        PVN_CHECK(ports.of(domain).close(bound, ports.of(domain), event::pages_of(domain)));
        return Fail{hardware.error()};
    }
    return bound.raw();
}

Outcome event_close(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(event::close(*vcpu.domain, a.port(0)));
    return 0;
}

Outcome event_send(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(event::send(*vcpu.domain, a.port(0)));
    return 0;
}

Outcome event_unmask(Vcpu& vcpu, Arguments const& a)
{
    auto& domain = *vcpu.domain;
    event::carry_out(domain, PVN_TRY(event::LockedPorts{domain}.of(domain).unmask(a.port(0), event::pages_of(domain))));
    return 0;
}

Outcome event_status(Vcpu& vcpu, Arguments const& a)
{
    GuestOut<pvn_event_status> const argument{vcpu, a[0]};
    auto const request = PVN_TRY(argument.read());
    auto& domain = *vcpu.domain;
    PVN_CHECK(argument.write(PVN_TRY(event::LockedPorts{domain}.of(domain).status(Port{request.port}, event::pages_of(domain)))));
    return 0;
}

Outcome event_bind_vcpu(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(event::LockedPorts{*vcpu.domain}.of(*vcpu.domain).bind_vcpu(a.port(0), VcpuId{a.narrow(1)}));
    return 0;
}

}  // namespace pvn::hypercall
