// SPDX-License-Identifier: MIT
// Event channels: bytes become calls of three domains on their port tables, beside a model that keeps each port's binding in a map, and the
// bits that its domain should see.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "event/port_table.hpp"

namespace {

using namespace pvn;
using namespace pvn::event;

void expect(bool condition)
{
    if (!condition) std::abort();
}

constexpr unsigned domains = 3;
constexpr std::uint32_t vcpus = 2;

struct Binding {
    PortState state;
    unsigned remote;       // UNBOUND, INTERDOMAIN
    std::uint32_t number;  // INTERDOMAIN: peer; VIRQ, IRQ
    std::uint32_t vcpu;
};

struct Domain {
    explicit Domain(unsigned id) : table{DomainId{static_cast<std::uint16_t>(id)}, vcpus}
    {
        for (std::size_t i = 0; i < vcpus; ++i) pointers[i] = &vcpu[i];
    }
    SharedPages pages() { return {shared, pointers}; }

    PortTable table;
    pvn_domain_page shared{};
    std::array<pvn_vcpu_page, vcpus> vcpu{};
    std::array<pvn_vcpu_page*, vcpus> pointers{};
    // The model.
    std::map<std::uint32_t, Binding> ports;
    std::set<std::uint32_t> pending, masked;
};

bool per_vcpu(std::uint32_t virq) { return virq == PVN_VIRQ_TIMER || virq == PVN_VIRQ_DEBUG; }

class Machine {
public:
    // operation, domain, other domain or number, port, port of the other or vCPU
    void step(std::span<std::uint8_t const> b)
    {
        auto& self = domain_[b[1] % domains];
        auto& other = domain_[b[2] % domains];
        // Mostly a port that is open; sometimes one past the end.
        auto const port = pick(self, b[3]), theirs = pick(other, b[4]);
        switch (b[0] % 14) {
        case 0:
        case 1: opened(self, self.table.allocate(other.table.owner()), {PortState::unbound, id(other), 0, 0}, std::nullopt); break;
        case 2:
        case 3: bind_domain(self, other, theirs); break;
        case 4: bind_virq(self, b[2], b[4] % (vcpus + 1)); break;
        case 5: {
            std::uint32_t const vcpu = b[4] % (vcpus + 1);
            opened(self, self.table.bind_ipi(VcpuId{static_cast<std::uint16_t>(vcpu)}), {PortState::ipi, 0, 0, vcpu}, vcpu >= vcpus ? std::optional{Error::not_found} : std::nullopt);
            break;
        }
        case 6: {
            std::uint32_t const irq = b[2] % 4;
            auto const taken = std::ranges::any_of(self.ports, [=](auto const& p) { return p.second.state == PortState::irq && p.second.number == irq; });
            opened(self, self.table.bind_irq(irq), {PortState::irq, 0, irq, 0}, taken ? std::optional{Error::exists} : std::nullopt);
            break;
        }
        case 7: bind_vcpu(self, port, b[4] % (vcpus + 1)); break;
        case 8: close(self, other, port); break;
        case 9:
        case 10: send(self, other, port); break;
        case 11: mask(self, port, (b[4] & 1) != 0); break;
        case 12: raise_virq(self, b[2] % (PVN_VIRQ_COUNT + 1), b[4] % (vcpus + 1)); break;
        default:
            if (b[3] == 0xff)
                die(self);
            else
                read_events(self);
            break;
        }
        for (auto& domain : domain_) check(domain);
    }

private:
    unsigned id(Domain const& domain) const { return static_cast<unsigned>(&domain - domain_.data()); }

    static std::uint32_t pick(Domain const& domain, std::uint8_t byte)
    {
        static constexpr std::uint32_t odd[] = {0, PVN_EVENT_PORTS - 1, PVN_EVENT_PORTS, 0x80000000, 0xffffffff};
        if (byte >= 0xf0) return odd[byte % std::size(odd)];
        if (domain.ports.empty()) return byte;
        return std::next(domain.ports.begin(), byte % static_cast<std::ptrdiff_t>(domain.ports.size()))->first;
    }

    static bool in_range(std::uint32_t port) { return port != 0 && port < PVN_EVENT_PORTS; }
    // What every call says of a port that it cannot work on.
    static std::optional<Error> wrong(Domain const& domain, std::uint32_t port)
    {
        if (!in_range(port)) return Error::invalid;
        if (!domain.ports.contains(port)) return Error::not_found;
        return std::nullopt;
    }
    template <class T>
    static bool failed(Result<T> const& result, std::optional<Error> error)
    {
        expect(result.has_value() == !error && (!error || result.error() == *error));
        return error.has_value();
    }

    void opened(Domain& self, Result<Port> const& port, Binding const& binding, std::optional<Error> error)
    {
        if (!error && self.ports.size() == PVN_EVENT_PORTS - 1) error = Error::no_space;
        if (failed(port, error)) return;
        expect(in_range(port->raw()) && self.ports.emplace(port->raw(), binding).second);
    }

    void bind_domain(Domain& self, Domain& other, std::uint32_t theirs)
    {
        auto error = wrong(other, theirs);
        if (!error) {
            auto const& offer = other.ports.at(theirs);
            if (offer.state == PortState::interdomain && offer.remote == id(self))
                error = Error::busy;
            else if (offer.state != PortState::unbound || offer.remote != id(self))
                error = Error::denied;
        }
        auto const port = self.table.bind_domain(other.table, Port{theirs});
        opened(self, port, {PortState::interdomain, id(other), theirs, 0}, error);
        if (!port) return;
        auto& peer = other.ports.at(theirs);
        peer.state = PortState::interdomain;
        peer.number = port->raw();
    }

    void bind_virq(Domain& self, std::uint8_t byte, std::uint32_t vcpu)
    {
        std::uint32_t const virq = byte < 0xf0 ? byte % PVN_VIRQ_COUNT : PVN_VIRQ_COUNT + byte;
        std::optional<Error> error;
        if (virq >= PVN_VIRQ_COUNT)
            error = Error::invalid;
        else if (vcpu >= vcpus)
            error = Error::not_found;
        else if (virq_port(self, virq, vcpu) != 0)
            error = Error::exists;
        opened(self, self.table.bind_virq(virq, VcpuId{static_cast<std::uint16_t>(vcpu)}), {PortState::virq, 0, virq, vcpu}, error);
    }

    static std::uint32_t virq_port(Domain const& domain, std::uint32_t virq, std::uint32_t vcpu)
    {
        for (auto const& [port, binding] : domain.ports)
            if (binding.state == PortState::virq && binding.number == virq && (!per_vcpu(virq) || binding.vcpu == vcpu)) return port;
        return 0;
    }

    void bind_vcpu(Domain& self, std::uint32_t port, std::uint32_t vcpu)
    {
        auto error = wrong(self, port);
        if (!error && vcpu >= vcpus) error = Error::not_found;
        if (!error) {
            auto const& binding = self.ports.at(port);
            if (binding.state == PortState::ipi || (binding.state == PortState::virq && per_vcpu(binding.number))) error = Error::invalid;
        }
        if (failed(self.table.bind_vcpu(Port{port}, VcpuId{static_cast<std::uint16_t>(vcpu)}), error)) return;
        self.ports.at(port).vcpu = vcpu;
    }

    static unsigned destination(unsigned self, Binding const& binding) { return binding.state == PortState::interdomain ? binding.remote : self; }

    void forget(Domain& self, std::uint32_t port)
    {
        auto const binding = self.ports.at(port);
        if (binding.state == PortState::interdomain) {
            auto& peer = domain_[binding.remote].ports.at(binding.number);
            peer.state = PortState::unbound;
            peer.number = 0;
        }
        self.ports.erase(port);
    }

    void close(Domain& self, Domain& other, std::uint32_t port)
    {
        auto error = wrong(self, port);
        if (!error && destination(id(self), self.ports.at(port)) != id(other)) error = Error::again;
        auto const closed = self.table.close(Port{port}, other.table, self.pages());
        if (failed(closed, error)) return;
        auto const& binding = self.ports.at(port);
        bool const numbered = binding.state == PortState::virq || binding.state == PortState::irq;
        expect(*closed == (Closed{binding.state, numbered ? binding.number : 0}));
        forget(self, port);
        self.pending.erase(port);
    }

    // The domain sees the event; tells whether it was a new one.
    static void pends(Domain& domain, std::uint32_t port, Raised const& raised)
    {
        bool const fresh = domain.pending.insert(port).second;
        expect(raised.vcpu.raw() == domain.ports.at(port).vcpu && raised.newly_pending == fresh);
        expect(!raised.upcall_due || (fresh && !domain.masked.contains(port)));
    }

    void send(Domain& self, Domain& other, std::uint32_t port)
    {
        auto error = wrong(self, port);
        if (!error) {
            auto const& binding = self.ports.at(port);
            if (binding.state == PortState::virq || binding.state == PortState::irq)
                error = Error::invalid;
            else if (destination(id(self), binding) != id(other))
                error = Error::again;
        }
        auto const raised = self.table.send(Port{port}, other.table, other.pages());
        if (failed(raised, error)) return;
        auto const& binding = self.ports.at(port);
        if (binding.state == PortState::unbound) return expect(*raised == Raised{});
        if (binding.state == PortState::ipi)
            pends(self, port, *raised);
        else
            pends(other, binding.number, *raised);
    }

    void raise_virq(Domain& self, std::uint32_t virq, std::uint32_t vcpu)
    {
        auto const port = virq < PVN_VIRQ_COUNT && (!per_vcpu(virq) || vcpu < vcpus) ? virq_port(self, virq, vcpu) : 0;
        VcpuId const to{static_cast<std::uint16_t>(vcpu)};
        expect(self.table.listens(virq, to) == (port != 0));
        auto const raised = self.table.raise_virq(virq, to, self.pages());
        if (port != 0)
            pends(self, port, raised);
        else
            expect(raised == Raised{});
    }

    void mask(Domain& self, std::uint32_t port, bool masked)
    {
        if (!masked) {
            auto const raised = self.table.unmask(Port{port}, self.pages());
            if (failed(raised, wrong(self, port))) return;
            self.masked.erase(port);
            expect(raised->vcpu.raw() == self.ports.at(port).vcpu);
        } else if (in_range(port)) {
            self.shared.event_mask[port / 64] |= std::uint64_t{1} << port % 64;
            self.masked.insert(port);
        }
    }

    // As a guest does.
    static void read_events(Domain& self)
    {
        for (auto& page : self.vcpu) page.event_pending = 0, page.pending_words = 0;
        for (auto& word : self.shared.event_pending) word = 0;
        self.pending.clear();
    }

    void die(Domain& self)
    {
        self.table.close_all([&](DomainId other) { return &domain_[other.raw()].table; });
        while (!self.ports.empty()) forget(self, self.ports.begin()->first);
        for (auto& other : domain_) {
            other.table.withdraw_offers(self.table.owner());
            for (auto& [port, binding] : other.ports)
                if (binding.state == PortState::unbound && binding.remote == id(self)) binding.remote = nobody;
        }
        read_events(self);  // its pages go with it
    }

    void check(Domain& self)
    {
        expect(self.table.consistent() && self.table.open_ports() == self.ports.size());
        std::optional<Port> open = self.table.next_open();
        for (auto const& [port, binding] : self.ports) {
            expect(open && open->raw() == port);
            open = self.table.next_open(Port{port + 1});
            auto const status = self.table.status(Port{port}, self.pages());
            expect(status && status->state == static_cast<std::uint32_t>(binding.state));
            if (binding.state == PortState::interdomain) expect(self.table.paired(Port{port}, domain_[binding.remote].table));
        }
        expect(!open);
        for (std::uint32_t word = 0; word < PVN_EVENT_PORTS / 64; ++word) {
            std::uint64_t bits = 0;
            for (auto port = self.pending.lower_bound(word * 64); port != self.pending.end() && *port < word * 64 + 64; ++port) bits |= std::uint64_t{1} << *port % 64;
            expect(self.shared.event_pending[word] == bits);
        }
    }

    static constexpr unsigned nobody = 0xffff;
    std::array<Domain, domains> domain_{Domain{0}, Domain{1}, Domain{2}};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    Machine machine;
    constexpr std::size_t step = 5;
    for (std::span bytes{data, size}; bytes.size() >= step; bytes = bytes.subspan(step)) machine.step(bytes.first(step));
    return 0;
}
