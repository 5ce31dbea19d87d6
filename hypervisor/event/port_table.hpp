// SPDX-License-Identifier: MIT
// The ports of one domain: what each is bound to, and whom it notifies.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "event/shared_pages.hpp"
#include "lib/id.hpp"
#include "lib/result.hpp"
#include "paravane/hypercall.h"

namespace pvn::event {

enum class PortState : std::uint8_t {
    closed = PVN_PORT_CLOSED,
    unbound = PVN_PORT_UNBOUND,
    interdomain = PVN_PORT_INTERDOMAIN,
    virq = PVN_PORT_VIRQ,
    ipi = PVN_PORT_IPI,
    irq = PVN_PORT_IRQ,
};

// What a port was when it was closed: the caller gives a physical interrupt back by it.
struct Closed {
    PortState state = PortState::closed;
    std::uint32_t number = 0;  // VIRQ, IRQ: its number

    friend constexpr bool operator==(Closed const&, Closed const&) = default;
};

// Pure bookkeeping; looks no domain up and takes no lock.  The caller holds the lock of this table (rank `ports`) around every
// call, and that of the other table too where one is passed: lower domain id first, once if both are the same.
// destination() says which other domain an operation needs; it takes the locks and calls; Error::again then means
// that the port changed its peer in between, and it starts over.
//
// Who may do what (dom0's virqs, irqs, domains that exist and are not dying) is the caller's to check, before.
// Every operation checks in the order in which its errors are listed, and changes nothing if it fails.
//
// Invariants: an interdomain port's peer is interdomain and points back at it; each virq of a vCPU, domain-wide virq and irq has one
// port at most; a vCPU that is notified exists; a closed entry is all zero.
class PortTable {
public:
    static constexpr std::uint32_t maximum_vcpus = 64;

    constexpr PortTable(DomainId owner, std::uint32_t vcpus)
        : owner_{owner}, vcpus_{vcpus < maximum_vcpus ? vcpus : maximum_vcpus}
    {
    }
    PortTable(PortTable const&) = delete;
    PortTable& operator=(PortTable const&) = delete;

    DomainId owner() const { return owner_; }
    std::uint32_t open_ports() const { return open_; }

    // Offers a new port to `remote`.  no_space.
    Result<Port> allocate(DomainId remote);
    // A new port of ours, bound to one that the other domain offered.  The remote may be this table itself.  What the remote sent before
    // is lost: the caller may raise() the new port to be safe.
    // invalid (remote_port out of range), not_found (closed), busy (bound to a port of ours already), denied (not
    // offered to us), no_space.
    Result<Port> bind_domain(PortTable& remote, Port remote_port);
    // Per-vCPU virqs: one port for each vCPU; domain-wide ones: one port, first notifying `vcpu`.
    // invalid (virq), not_found (vcpu), exists, no_space.
    Result<Port> bind_virq(std::uint32_t virq, VcpuId vcpu);
    // not_found (vcpu), no_space.
    Result<Port> bind_ipi(VcpuId vcpu);
    // Notifies vCPU 0 at first.  exists, no_space.
    Result<Port> bind_irq(std::uint32_t irq);

    // Another vCPU to be notified from now on; what is pending stays with the old one.
    // invalid (port out of range), not_found (closed), not_found (vcpu), invalid (IPI or per-vCPU virq).
    Result<void> bind_vcpu(Port port, VcpuId vcpu);

    // The domain whose table close() and send() need: the peer's for an interdomain port, else our own.
    // invalid (port out of range), not_found (closed).
    Result<DomainId> destination(Port port) const;

    // Closes and clears its pending bit; an interdomain peer becomes unbound, offered to us again.
    // invalid (port out of range), not_found (closed), again (`other` is not the destination).
    Result<Closed> close(Port port, PortTable& other, SharedPages ours);
    // For the death of the domain: a walk over what is open.  `from` is where to start; nullopt: none left.
    std::optional<Port> next_open(Port from = Port{1}) const;
    // All at once, with the locks of all peers held: `table_of(DomainId)` is a PortTable*; null: leave that end alone (it must
    // then be gone).  The pages are not touched.
    template <class TableOf>
    void close_all(TableOf&& table_of)
    {
        for (auto port = next_open(); port; port = next_open(*port)) {
            Entry const& entry = entries_[port->raw()];
            PortTable* const other =
                entry.state == PortState::interdomain && entry.remote != owner_ ? table_of(entry.remote) : this;
            release(*port, other);
        }
    }

    // That domain is gone, and its id may become another's: what is offered to it is offered to nobody.
    void withdraw_offers(DomainId to);

    // Signals the other end.  A port that is (again) unbound signals nobody; that is no error.
    // invalid (port out of range), not_found (closed), invalid (virq or irq), again (`other` is not the destination).
    Result<Raised> send(Port port, PortTable const& other, SharedPages theirs) const;
    // Signals this domain, from Paravane itself.  invalid (port out of range), not_found (closed).
    Result<Raised> raise(Port port, SharedPages ours) const;
    // The same for a virq; without a port nothing happens.  Domain-wide virqs ignore the vCPU.
    Raised raise_virq(std::uint32_t virq, VcpuId vcpu, SharedPages ours) const;
    // Whether that virq has a port: else raise_virq() would tell nobody.
    bool listens(std::uint32_t virq, VcpuId vcpu) const;
    // invalid (port out of range), not_found (closed).
    Result<Raised> unmask(Port port, SharedPages ours) const;

    // A closed port has the state closed.  invalid (port out of range).
    Result<pvn_event_status> status(Port port, SharedPages ours) const;

    // Whether this table, alone, is consistent; for tests and debug builds.
    bool consistent() const;
    // Whether the interdomain port `port` and the entry in `other` point at each other.
    bool paired(Port port, PortTable const& other) const;

private:
    struct Entry {
        PortState state = PortState::closed;
        std::uint8_t reserved0 = 0;
        DomainId remote{};         // UNBOUND, INTERDOMAIN
        VcpuId vcpu{};             // whom it notifies
        std::uint32_t number = 0;  // INTERDOMAIN: the peer's port; VIRQ, IRQ: its number
        std::uint32_t reserved1 = 0;

        friend constexpr bool operator==(Entry const&, Entry const&) = default;
    };
    static_assert(sizeof(Entry) == 16);

    static constexpr bool in_range(Port port) { return port.raw() != 0 && port.raw() < PVN_EVENT_PORTS; }
    static constexpr bool per_vcpu(std::uint32_t virq) { return virq == PVN_VIRQ_TIMER || virq == PVN_VIRQ_DEBUG; }
    std::uint16_t& virq_port(std::uint32_t virq, VcpuId vcpu);
    Result<Entry> find(Port port) const;
    Result<Port> reserve() const;
    void commit(Port port, Entry const& entry);
    Closed release(Port port, PortTable* other);

    std::array<Entry, PVN_EVENT_PORTS> entries_{};
    // So that a timer interrupt need not search: port of (virq, vCPU); 0: none.  Domain-wide ones use vCPU 0's place.
    std::array<std::array<std::uint16_t, maximum_vcpus>, PVN_VIRQ_COUNT> virq_ports_{};
    DomainId owner_;
    std::uint32_t vcpus_;
    std::uint32_t open_ = 0;
};

}  // namespace pvn::event
