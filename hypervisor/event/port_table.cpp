// SPDX-License-Identifier: MIT
#include "event/port_table.hpp"

#include "lib/bounded.hpp"

namespace pvn::event {

// --- Entries -------------------------------------------------------------------------------------------------

Result<PortTable::Entry> PortTable::find(Port port) const
{
    if (!in_range(port))
        return Fail{Error::invalid};
    Entry const entry = entries_[bounded(port.raw(), PVN_EVENT_PORTS)];
    if (entry.state == PortState::closed)
        return Fail{Error::not_found};
    return entry;
}

// The lowest closed port.  Nothing is changed until commit().
Result<Port> PortTable::reserve() const
{
    for (std::uint32_t port = 1; port < PVN_EVENT_PORTS; ++port)
        if (entries_[port].state == PortState::closed)
            return Port{port};
    return Fail{Error::no_space};
}

void PortTable::commit(Port port, Entry const& entry)
{
    entries_[port.raw()] = entry;
    ++open_;
}

std::uint16_t& PortTable::virq_port(std::uint32_t virq, VcpuId vcpu)
{
    return virq_ports_[virq][per_vcpu(virq) ? vcpu.raw() & (maximum_vcpus - 1) : 0];
}

// The one way for an open port to become closed.
Closed PortTable::release(Port port, PortTable* other)
{
    Entry const entry = entries_[port.raw()];
    if (entry.state == PortState::interdomain && other != nullptr) {
        Entry& peer = other->entries_[entry.number];  // its `remote` is us, and stays
        peer.state = PortState::unbound;
        peer.number = 0;
    }
    if (entry.state == PortState::virq)
        virq_port(entry.number, entry.vcpu) = 0;
    entries_[port.raw()] = {};
    --open_;
    bool const numbered = entry.state == PortState::virq || entry.state == PortState::irq;
    return {entry.state, numbered ? entry.number : 0};
}

// --- Binding -------------------------------------------------------------------------------------------------

Result<Port> PortTable::allocate(DomainId remote)
{
    Port const port = PVN_TRY(reserve());
    commit(port, {.state = PortState::unbound, .remote = remote});
    return port;
}

Result<Port> PortTable::bind_domain(PortTable& remote, Port remote_port)
{
    Entry const theirs = PVN_TRY(remote.find(remote_port));
    if (theirs.state == PortState::interdomain && theirs.remote == owner_)
        return Fail{Error::busy};
    if (theirs.state != PortState::unbound || theirs.remote != owner_)
        return Fail{Error::denied};
    Port const port = PVN_TRY(reserve());

    commit(port, {.state = PortState::interdomain, .remote = remote.owner_, .number = remote_port.raw()});
    Entry& peer = remote.entries_[remote_port.raw()];
    peer.state = PortState::interdomain;
    peer.number = port.raw();
    return port;
}

void PortTable::withdraw_offers(DomainId to)
{
    constexpr DomainId nobody{0xffff};
    for (Entry& entry : entries_)
        if (entry.state == PortState::unbound && entry.remote == to)
            entry.remote = nobody;
}

Result<Port> PortTable::bind_virq(std::uint32_t virq, VcpuId vcpu)
{
    if (virq >= PVN_VIRQ_COUNT)
        return Fail{Error::invalid};
    if (vcpu.raw() >= vcpus_)
        return Fail{Error::not_found};
    if (virq_port(virq, vcpu) != 0)
        return Fail{Error::exists};
    Port const port = PVN_TRY(reserve());

    commit(port, {.state = PortState::virq, .vcpu = vcpu, .number = virq});
    virq_port(virq, vcpu) = static_cast<std::uint16_t>(port.raw());
    return port;
}

Result<Port> PortTable::bind_ipi(VcpuId vcpu)
{
    if (vcpu.raw() >= vcpus_)
        return Fail{Error::not_found};
    Port const port = PVN_TRY(reserve());
    commit(port, {.state = PortState::ipi, .vcpu = vcpu});
    return port;
}

Result<Port> PortTable::bind_irq(std::uint32_t irq)
{
    for (Entry const& entry : entries_)
        if (entry.state == PortState::irq && entry.number == irq)
            return Fail{Error::exists};
    Port const port = PVN_TRY(reserve());
    commit(port, {.state = PortState::irq, .number = irq});
    return port;
}

Result<void> PortTable::bind_vcpu(Port port, VcpuId vcpu)
{
    Entry const entry = PVN_TRY(find(port));
    if (vcpu.raw() >= vcpus_)
        return Fail{Error::not_found};
    if (entry.state == PortState::ipi || (entry.state == PortState::virq && per_vcpu(entry.number)))
        return Fail{Error::invalid};
    entries_[port.raw()].vcpu = vcpu;
    return {};
}

Result<DomainId> PortTable::destination(Port port) const
{
    Entry const entry = PVN_TRY(find(port));
    return entry.state == PortState::interdomain ? entry.remote : owner_;
}

// --- Closing -------------------------------------------------------------------------------------------------

Result<Closed> PortTable::close(Port port, PortTable& other, SharedPages ours)
{
    if (PVN_TRY(destination(port)) != other.owner_)
        return Fail{Error::again};
    Closed const closed = release(port, &other);
    clear_pending(ours, port);
    return closed;
}

std::optional<Port> PortTable::next_open(Port from) const
{
    for (std::uint32_t port = from.raw(); port < PVN_EVENT_PORTS; ++port)
        if (entries_[port].state != PortState::closed)
            return Port{port};
    return std::nullopt;
}

// --- Events --------------------------------------------------------------------------------------------------

Result<Raised> PortTable::send(Port port, PortTable const& other, SharedPages theirs) const
{
    Entry const entry = PVN_TRY(find(port));
    if (entry.state == PortState::virq || entry.state == PortState::irq)
        return Fail{Error::invalid};
    if ((entry.state == PortState::interdomain ? entry.remote : owner_) != other.owner_)
        return Fail{Error::again};
    if (entry.state == PortState::unbound)
        return Raised{};
    if (entry.state == PortState::ipi)
        return set_pending(theirs, port, entry.vcpu);
    Port const peer{entry.number};
    return set_pending(theirs, peer, other.entries_[peer.raw() & (PVN_EVENT_PORTS - 1)].vcpu);
}

Result<Raised> PortTable::raise(Port port, SharedPages ours) const
{
    Entry const entry = PVN_TRY(find(port));
    return set_pending(ours, port, entry.vcpu);
}

Raised PortTable::raise_virq(std::uint32_t virq, VcpuId vcpu, SharedPages ours) const
{
    if (virq >= PVN_VIRQ_COUNT || (per_vcpu(virq) && vcpu.raw() >= vcpus_))
        return {};
    std::uint32_t const port = virq_ports_[virq][per_vcpu(virq) ? vcpu.raw() : 0];
    if (port == 0)
        return {};
    return set_pending(ours, Port{port}, entries_[port].vcpu);
}

bool PortTable::listens(std::uint32_t virq, VcpuId vcpu) const
{
    if (virq >= PVN_VIRQ_COUNT || (per_vcpu(virq) && vcpu.raw() >= vcpus_))
        return false;
    return virq_ports_[virq][per_vcpu(virq) ? vcpu.raw() : 0] != 0;
}

Result<Raised> PortTable::unmask(Port port, SharedPages ours) const
{
    Entry const entry = PVN_TRY(find(port));
    return clear_mask(ours, port, entry.vcpu);
}

Result<pvn_event_status> PortTable::status(Port port, SharedPages ours) const
{
    if (!in_range(port))
        return Fail{Error::invalid};
    Entry const& entry = entries_[port.raw() & (PVN_EVENT_PORTS - 1)];
    return pvn_event_status{.port = port.raw(),
                            .state = static_cast<std::uint32_t>(entry.state),
                            .vcpu = entry.vcpu.raw(),
                            .remote_domain = entry.remote.raw(),
                            .reserved = 0,
                            .remote_port = entry.number,
                            .pending = is_pending(ours, port) ? 1U : 0U};
}

// --- Invariants ----------------------------------------------------------------------------------------------

bool PortTable::consistent() const
{
    std::uint32_t open = 0;
    std::uint32_t virqs = 0;
    for (std::uint32_t port = 0; port < PVN_EVENT_PORTS; ++port) {
        Entry const& entry = entries_[port];
        if (entry.state == PortState::closed) {
            if (entry != Entry{})
                return false;
            continue;
        }
        ++open;
        if (port == 0 || entry.vcpu.raw() >= (vcpus_ != 0 ? vcpus_ : 1))
            return false;
        if (entry.state == PortState::virq) {
            ++virqs;
            if (entry.number >= PVN_VIRQ_COUNT
                || virq_ports_[entry.number][per_vcpu(entry.number) ? entry.vcpu.raw() : 0] != port)
                return false;
        }
        if (entry.state == PortState::irq)
            for (std::uint32_t twin = 0; twin < port; ++twin)
                if (entries_[twin].state == PortState::irq && entries_[twin].number == entry.number)
                    return false;
    }
    for (auto const& ports : virq_ports_)
        for (std::uint16_t const port : ports)
            virqs -= port != 0 ? 1U : 0U;
    return open == open_ && virqs == 0;
}

bool PortTable::paired(Port port, PortTable const& other) const
{
    auto const ours = find(port);
    if (!ours || ours->state != PortState::interdomain || ours->remote != other.owner_)
        return false;
    auto const theirs = other.find(Port{ours->number});
    return theirs && theirs->state == PortState::interdomain && theirs->remote == owner_ && theirs->number == port.raw();
}

}  // namespace pvn::event
