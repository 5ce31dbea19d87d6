// SPDX-License-Identifier: MIT
#include "dispatcher/notify.hpp"

#include <algorithm>

#include "dispatcher/schedule.hpp"
#include "interrupts/interrupts.hpp"

namespace pvn::event {

SharedPages pages_of(Domain& domain) { return {*domain.page, {domain.vcpu_pages.data(), domain.vcpu_count}}; }

LockedPorts::LockedPorts(Domain& a, Domain& b) PVN_UNCHECKED : first_{a.id < b.id ? a : b}, second_{a.id < b.id ? b : a}
{
    first_.ports_lock.lock();
    if (&first_ != &second_) second_.ports_lock.lock_as_second();
}

LockedPorts::~LockedPorts() PVN_UNCHECKED
{
    if (&first_ != &second_) second_.ports_lock.unlock();
    first_.ports_lock.unlock();
}

PortTable& LockedPorts::of(Domain& domain) const PVN_UNCHECKED { return domain.ports; }

void carry_out(Domain& domain, Raised raised)
{
    if (raised.vcpu.raw() >= domain.vcpu_count) return;
    auto& vcpu = *domain.vcpus[raised.vcpu.raw()];
    if (vcpu.poll_count != 0) {
        if (raised.newly_pending) schedule::wake_poller(vcpu);
    } else if (raised.upcall_due || raised.newly_pending) {
        schedule::wake(vcpu);
    }
    if (raised.upcall_due) schedule::notify(vcpu);
}

void raise(Domain& domain, Port port)
{
    auto const raised = LockedPorts{domain}.of(domain).raise(port, pages_of(domain));
    if (raised) carry_out(domain, *raised);
}

void raise_vcpu_virq(Vcpu& vcpu, std::uint32_t virq)
{
    auto& domain = *vcpu.domain;
    auto const raised = LockedPorts{domain}.of(domain).raise_virq(virq, vcpu.id, pages_of(domain));
    carry_out(domain, raised);
}

void raise_virq(std::uint32_t virq)
{
    if (auto* const dom0 = domains::find(DomainId{0}); dom0 != nullptr && !dom0->shut_down) raise_vcpu_virq(*dom0->vcpus[0], virq);
}

Result<void> close(Domain& domain, Port port)
{
    for (;;) {
        auto const remote_id = LockedPorts{domain}.of(domain).destination(port);
        if (!remote_id) return Fail{remote_id.error()};
        auto* const found = domains::find(*remote_id);
        auto& remote = found != nullptr ? *found : domain;
        auto const closed = [&] {
            LockedPorts const ports{domain, remote};
            return ports.of(domain).close(port, ports.of(remote), pages_of(domain));
        }();
        if (!closed && closed.error() == Error::again && found != nullptr) continue;  // its peer changed in between
        if (!closed) return Fail{closed.error()};
        if (closed->state == PortState::irq) (void)interrupts::bind(closed->number, domain, Port{0});
        return {};
    }
}

bool close_some(Domain& domain)
{
    for (int left = 256; left > 0; --left) {
        auto const port = LockedPorts{domain}.of(domain).next_open(domain.ports_closed);
        if (!port) return true;
        (void)close(domain, *port);
        domain.ports_closed = Port{port->raw() + 1};
    }
    return false;
}

Result<void> send(Domain& domain, Port port)
{
    for (;;) {
        auto const remote_id = LockedPorts{domain}.of(domain).destination(port);
        if (!remote_id) return Fail{remote_id.error()};
        auto* const remote = domains::find(*remote_id);
        if (remote == nullptr) return Fail{Error::not_found};
        auto const raised = [&] {
            LockedPorts const ports{domain, *remote};
            return ports.of(domain).send(port, ports.of(*remote), pages_of(*remote));
        }();
        if (!raised && raised.error() == Error::again) continue;
        if (!raised) return Fail{raised.error()};
        carry_out(*remote, *raised);
        return {};
    }
}

}  // namespace pvn::event
