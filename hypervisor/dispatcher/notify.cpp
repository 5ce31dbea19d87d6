// SPDX-License-Identifier: MIT
#include "dispatcher/notify.hpp"

#include <algorithm>

#include "dispatcher/schedule.hpp"
#include "interrupts/interrupts.hpp"

namespace pvn::event {

SharedPages pages_of(Domain& domain) { return {*domain.page, {&domain.vcpu.page, 1}}; }

void carry_out(Domain& domain, Raised raised)
{
    auto& vcpu = domain.vcpu;
    if (raised.vcpu != vcpu.id || vcpu.state != VcpuState::blocked) return;
    if (vcpu.poll_count == 0) {
        if (raised.upcall_due || raised.newly_pending) schedule::wake(vcpu);
    } else if (raised.newly_pending) {
        for (std::uint32_t i = 0; i + 1 < vcpu.poll_count; ++i)
            if (is_pending(pages_of(domain), Port{vcpu.poll_ports[i]})) return schedule::wake(vcpu);
    }
}

void raise(Domain& domain, Port port)
{
    if (auto const raised = domain.ports.raise(port, pages_of(domain))) carry_out(domain, *raised);
}

void raise_vcpu_virq(Vcpu& vcpu, std::uint32_t virq)
{
    auto& domain = *vcpu.domain;
    carry_out(domain, domain.ports.raise_virq(virq, vcpu.id, pages_of(domain)));
}

void raise_virq(std::uint32_t virq)
{
    if (auto* const dom0 = domains::find(DomainId{0}); dom0 != nullptr && !dom0->shut_down) raise_vcpu_virq(dom0->vcpu, virq);
}

Result<void> close(Domain& domain, Port port)
{
    auto const remote_id = PVN_TRY(domain.ports.destination(port));
    auto* const remote = domains::find(remote_id);
    auto const closed = PVN_TRY(domain.ports.close(port, remote != nullptr ? remote->ports : domain.ports, pages_of(domain)));
    if (closed.state == PortState::irq) (void)interrupts::bind(closed.number, domain, Port{0});
    return {};
}

void close_all(Domain& domain)
{
    for (auto port = domain.ports.next_open(); port; port = domain.ports.next_open(Port{port->raw() + 1}))
        if (!close(domain, *port)) continue;
}

}  // namespace pvn::event
