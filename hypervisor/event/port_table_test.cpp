// SPDX-License-Identifier: MIT
// Port tables: every operation, every error, and random sequences over three domains with the invariants checked after each.
#include "event/port_table.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

namespace pvn::event {
namespace {

struct Domain {
    explicit Domain(std::uint16_t id, std::uint32_t count = 2) : table{DomainId{id}, count}, vcpu(count)
    {
        for (pvn_vcpu_page& page : vcpu)
            pointers.push_back(&page);
    }
    SharedPages pages() { return {shared, pointers}; }

    PortTable table;
    pvn_domain_page shared{};  // nothing masked
    std::vector<pvn_vcpu_page> vcpu;
    std::vector<pvn_vcpu_page*> pointers{};
};

// Everything that a failed operation must leave as it was.
std::vector<std::uint8_t> image(Domain& domain)
{
    std::vector<std::uint8_t> bytes;
    auto const append = [&bytes](auto const& object) {
        auto const* from = reinterpret_cast<std::uint8_t const*>(&object);
        bytes.insert(bytes.end(), from, from + sizeof(object));
    };
    for (std::uint32_t port = 1; port < PVN_EVENT_PORTS; ++port)
        append(*domain.table.status(Port{port}, domain.pages()));
    append(domain.shared);
    for (pvn_vcpu_page const& page : domain.vcpu)
        append(page);
    return bytes;
}

template <class T>
Error error_of(Result<T> const& result)
{
    return result ? Error{} : result.error();
}

class PortTableTest : public ::testing::Test {
protected:
    // Runs an operation that must fail, and must change nothing.
    template <class Operation>
    Error failure(Operation&& operation)
    {
        auto const before_a = image(a);
        auto const before_b = image(b);
        Error const error = error_of(operation());
        EXPECT_TRUE(image(a) == before_a && image(b) == before_b) << "a failed operation changed something";
        EXPECT_TRUE(a.table.consistent() && b.table.consistent());
        return error;
    }
    void fill(Domain& domain)
    {
        while (domain.table.allocate(DomainId{0}))
            ;
    }
    pvn_event_status status(Domain& domain, Port port) { return domain.table.status(port, domain.pages()).value(); }
    // A connected pair.
    std::pair<Port, Port> connect()
    {
        Port const theirs = b.table.allocate(DomainId{1}).value();
        return {a.table.bind_domain(b.table, theirs).value(), theirs};
    }

    static constexpr Port none{0};
    static constexpr Port beyond{PVN_EVENT_PORTS};
    static constexpr Port huge{UINT32_MAX};
    Domain a{1};
    Domain b{2};
};

TEST_F(PortTableTest, allocates_all_ports_but_zero)
{
    for (std::uint32_t port = 1; port < PVN_EVENT_PORTS; ++port)
        EXPECT_EQ(a.table.allocate(DomainId{7}).value(), Port{port});
    EXPECT_EQ(failure([&] { return a.table.allocate(DomainId{7}); }), Error::no_space);
    EXPECT_EQ(a.table.open_ports(), PVN_EVENT_PORTS - 1U);
    EXPECT_EQ(status(a, Port{5}).state, std::uint32_t{PVN_PORT_UNBOUND});
    EXPECT_EQ(status(a, Port{5}).remote_domain, 7);
}

TEST_F(PortTableTest, binds_two_domains)
{
    (void)a.table.allocate(DomainId{9});  // so that the numbers differ
    auto const [ours, theirs] = connect();
    EXPECT_TRUE(a.table.paired(ours, b.table));
    EXPECT_TRUE(b.table.paired(theirs, a.table));
    pvn_event_status const left = status(a, ours);
    EXPECT_EQ(left.state, std::uint32_t{PVN_PORT_INTERDOMAIN});
    EXPECT_EQ(left.remote_domain, 2);
    EXPECT_EQ(left.remote_port, theirs.raw());
    pvn_event_status const right = status(b, theirs);
    EXPECT_EQ(right.state, std::uint32_t{PVN_PORT_INTERDOMAIN});
    EXPECT_EQ(right.remote_domain, 1);
    EXPECT_EQ(right.remote_port, ours.raw());
    EXPECT_EQ(a.table.destination(ours).value(), DomainId{2});
    EXPECT_EQ(b.table.destination(theirs).value(), DomainId{1});
}

TEST_F(PortTableTest, bind_domain_errors)
{
    for (Port const port : {none, beyond, huge})
        EXPECT_EQ(failure([&] { return a.table.bind_domain(b.table, port); }), Error::invalid);
    EXPECT_EQ(failure([&] { return a.table.bind_domain(b.table, Port{3}); }), Error::not_found);
    Port const for_other = b.table.allocate(DomainId{3}).value();
    EXPECT_EQ(failure([&] { return a.table.bind_domain(b.table, for_other); }), Error::denied);
    for (Port const port : {b.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{0}).value(), b.table.bind_ipi(VcpuId{0}).value(), b.table.bind_irq(4).value()})
        EXPECT_EQ(failure([&] { return a.table.bind_domain(b.table, port); }), Error::denied);
    auto const [ours, theirs] = connect();
    (void)ours;
    EXPECT_EQ(failure([&] { return a.table.bind_domain(b.table, theirs); }), Error::busy);
    Domain c{3};
    EXPECT_EQ(failure([&] { return c.table.bind_domain(b.table, theirs); }), Error::denied);
    Port const offered = b.table.allocate(DomainId{1}).value();
    fill(a);
    EXPECT_EQ(failure([&] { return a.table.bind_domain(b.table, offered); }), Error::no_space);
    EXPECT_EQ(failure([&] { return a.table.bind_domain(b.table, for_other); }), Error::denied);  // before no_space
}

TEST_F(PortTableTest, an_offer_dies_with_the_domain_it_was_made_to)
{
    auto const to_b = a.table.allocate(DomainId{2}).value(), to_other = a.table.allocate(DomainId{77}).value();
    auto const [ours, theirs] = connect();
    a.table.withdraw_offers(DomainId{2});
    EXPECT_EQ(status(a, to_b).state, unsigned{PVN_PORT_UNBOUND});
    EXPECT_EQ(status(a, to_b).remote_domain, 0xffff);
    EXPECT_EQ(status(a, to_other).remote_domain, 77);
    EXPECT_TRUE(a.table.paired(ours, b.table));
    EXPECT_EQ(failure([&] { return b.table.bind_domain(a.table, to_b); }), Error::denied);
    EXPECT_TRUE(a.table.close(to_b, a.table, a.pages()));
}

TEST_F(PortTableTest, a_domain_may_bind_to_itself)
{
    Port const left = a.table.allocate(DomainId{1}).value();
    Port const right = a.table.bind_domain(a.table, left).value();
    EXPECT_NE(left, right);
    EXPECT_TRUE(a.table.paired(left, a.table) && a.table.paired(right, a.table));
    EXPECT_TRUE(a.table.send(left, a.table, a.pages())->upcall_due);
    EXPECT_EQ(status(a, right).pending, 1U);
    EXPECT_TRUE(a.table.close(right, a.table, a.pages()));
    EXPECT_EQ(status(a, left).state, std::uint32_t{PVN_PORT_UNBOUND});
    EXPECT_TRUE(a.table.consistent());
}

TEST_F(PortTableTest, virqs_of_a_vcpu)
{
    Port const first = a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{0}).value();
    Port const second = a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{1}).value();
    Port const debug = a.table.bind_virq(PVN_VIRQ_DEBUG, VcpuId{0}).value();
    EXPECT_NE(first, second);
    EXPECT_EQ(failure([&] { return a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{1}); }), Error::exists);
    EXPECT_EQ(a.table.raise_virq(PVN_VIRQ_TIMER, VcpuId{1}, a.pages()), (Raised{VcpuId{1}, true, true}));
    EXPECT_EQ(status(a, second).pending, 1U);
    EXPECT_EQ(status(a, first).pending, 0U);
    EXPECT_EQ(a.table.raise_virq(PVN_VIRQ_DEBUG, VcpuId{1}, a.pages()), Raised{});
    EXPECT_EQ(a.table.raise_virq(PVN_VIRQ_DEBUG, VcpuId{2}, a.pages()), Raised{});
    EXPECT_EQ(a.table.raise_virq(PVN_VIRQ_COUNT, VcpuId{0}, a.pages()), Raised{});
    EXPECT_EQ(a.table.close(second, a.table, a.pages()).value(), (Closed{PortState::virq, PVN_VIRQ_TIMER}));
    EXPECT_EQ(a.table.raise_virq(PVN_VIRQ_TIMER, VcpuId{1}, a.pages()), Raised{});
    EXPECT_TRUE(a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{1}));
    EXPECT_EQ(status(a, debug).remote_port, std::uint32_t{PVN_VIRQ_DEBUG});
}

TEST_F(PortTableTest, who_listens_to_a_virq)
{
    EXPECT_FALSE(a.table.listens(PVN_VIRQ_POWER, VcpuId{0}));
    Port const power = a.table.bind_virq(PVN_VIRQ_POWER, VcpuId{0}).value();
    EXPECT_TRUE(a.table.listens(PVN_VIRQ_POWER, VcpuId{0}));
    EXPECT_FALSE(b.table.listens(PVN_VIRQ_POWER, VcpuId{0}));
    ASSERT_TRUE(a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{1}));
    EXPECT_FALSE(a.table.listens(PVN_VIRQ_TIMER, VcpuId{0}));
    EXPECT_TRUE(a.table.listens(PVN_VIRQ_TIMER, VcpuId{1}));
    EXPECT_FALSE(a.table.listens(PVN_VIRQ_TIMER, VcpuId{2}));
    EXPECT_FALSE(a.table.listens(PVN_VIRQ_COUNT, VcpuId{0}));
    EXPECT_TRUE(a.table.close(power, a.table, a.pages()));
    EXPECT_FALSE(a.table.listens(PVN_VIRQ_POWER, VcpuId{0}));
}

TEST_F(PortTableTest, virqs_of_a_domain)
{
    for (std::uint32_t const virq : {std::uint32_t{PVN_VIRQ_CONSOLE}, std::uint32_t{PVN_VIRQ_DOMAIN}}) {
        Port const port = a.table.bind_virq(virq, VcpuId{1}).value();
        EXPECT_EQ(failure([&] { return a.table.bind_virq(virq, VcpuId{0}); }), Error::exists);
        EXPECT_EQ(a.table.raise_virq(virq, VcpuId{0}, a.pages()).vcpu, VcpuId{1});
        ASSERT_TRUE(a.table.bind_vcpu(port, VcpuId{0}));
        EXPECT_TRUE(a.table.consistent());
        EXPECT_TRUE(a.table.close(port, a.table, a.pages()));
        EXPECT_TRUE(a.table.bind_virq(virq, VcpuId{0}));
    }
}

TEST_F(PortTableTest, virq_ipi_and_irq_errors)
{
    EXPECT_EQ(failure([&] { return a.table.bind_virq(PVN_VIRQ_COUNT, VcpuId{9}); }), Error::invalid);
    EXPECT_EQ(failure([&] { return a.table.bind_virq(UINT32_MAX, VcpuId{0}); }), Error::invalid);
    EXPECT_EQ(failure([&] { return a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{2}); }), Error::not_found);
    EXPECT_EQ(failure([&] { return a.table.bind_ipi(VcpuId{2}); }), Error::not_found);
    ASSERT_TRUE(a.table.bind_irq(17));
    ASSERT_TRUE(a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{0}));
    EXPECT_EQ(failure([&] { return a.table.bind_irq(17); }), Error::exists);
    fill(a);
    EXPECT_EQ(failure([&] { return a.table.bind_irq(17); }), Error::exists);
    EXPECT_EQ(failure([&] { return a.table.bind_irq(18); }), Error::no_space);
    EXPECT_EQ(failure([&] { return a.table.bind_ipi(VcpuId{0}); }), Error::no_space);
    EXPECT_EQ(failure([&] { return a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{0}); }), Error::exists);
    EXPECT_EQ(failure([&] { return a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{1}); }), Error::no_space);
}

TEST_F(PortTableTest, bind_vcpu)
{
    auto const [ours, theirs] = connect();
    ASSERT_TRUE(b.table.bind_vcpu(theirs, VcpuId{1}));
    EXPECT_EQ(status(b, theirs).vcpu, 1U);
    EXPECT_EQ(a.table.send(ours, b.table, b.pages()).value(), (Raised{VcpuId{1}, true, true}));
    EXPECT_EQ(b.vcpu[1].pending_words, 1U);
    EXPECT_EQ(b.vcpu[0].pending_words, 0U);
    for (Port const port : {none, beyond, huge})
        EXPECT_EQ(failure([&] { return b.table.bind_vcpu(port, VcpuId{9}); }), Error::invalid);
    EXPECT_EQ(failure([&] { return b.table.bind_vcpu(Port{99}, VcpuId{9}); }), Error::not_found);
    EXPECT_EQ(failure([&] { return b.table.bind_vcpu(theirs, VcpuId{2}); }), Error::not_found);
    Port const ipi = b.table.bind_ipi(VcpuId{0}).value();
    Port const timer = b.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{0}).value();
    EXPECT_EQ(failure([&] { return b.table.bind_vcpu(ipi, VcpuId{1}); }), Error::invalid);
    EXPECT_EQ(failure([&] { return b.table.bind_vcpu(timer, VcpuId{1}); }), Error::invalid);
    EXPECT_EQ(failure([&] { return b.table.bind_vcpu(timer, VcpuId{2}); }), Error::not_found);
}

TEST_F(PortTableTest, close_leaves_the_peer_unbound_for_us)
{
    auto const [ours, theirs] = connect();
    ASSERT_TRUE(b.table.bind_vcpu(theirs, VcpuId{1}));
    ASSERT_TRUE(b.table.send(theirs, a.table, a.pages()));
    EXPECT_EQ(a.table.close(ours, b.table, a.pages()).value(), (Closed{PortState::interdomain, 0}));
    EXPECT_EQ(a.shared.event_pending[0], 0U);
    EXPECT_EQ(status(a, ours).state, std::uint32_t{PVN_PORT_CLOSED});
    pvn_event_status const left = status(b, theirs);
    EXPECT_EQ(left.state, std::uint32_t{PVN_PORT_UNBOUND});
    EXPECT_EQ(left.remote_domain, 1);
    EXPECT_EQ(left.remote_port, 0U);
    EXPECT_EQ(left.vcpu, 1U);
    EXPECT_EQ(b.table.send(theirs, b.table, b.pages()).value(), Raised{});
    EXPECT_TRUE(a.table.bind_domain(b.table, theirs));
}

TEST_F(PortTableTest, close_errors)
{
    for (Port const port : {none, beyond, huge})
        EXPECT_EQ(failure([&] { return a.table.close(port, b.table, a.pages()); }), Error::invalid);
    EXPECT_EQ(failure([&] { return a.table.close(Port{1}, b.table, a.pages()); }), Error::not_found);
    auto const [ours, theirs] = connect();
    (void)theirs;
    EXPECT_EQ(failure([&] { return a.table.close(ours, a.table, a.pages()); }), Error::again);
    Port const ipi = a.table.bind_ipi(VcpuId{0}).value();
    EXPECT_EQ(failure([&] { return a.table.close(ipi, b.table, a.pages()); }), Error::again);
    Port const irq = a.table.bind_irq(33).value();
    EXPECT_EQ(a.table.close(irq, a.table, a.pages()).value(), (Closed{PortState::irq, 33}));
    EXPECT_TRUE(a.table.bind_irq(33));
    EXPECT_EQ(failure([&] { return a.table.destination(none); }), Error::invalid);
    EXPECT_EQ(failure([&] { return a.table.destination(Port{77}); }), Error::not_found);
}

TEST_F(PortTableTest, close_all)
{
    Domain c{3};
    auto const [ours, theirs] = connect();
    (void)ours;
    Port const third = c.table.allocate(DomainId{1}).value();
    ASSERT_TRUE(a.table.bind_domain(c.table, third));
    Port const loop = a.table.allocate(DomainId{1}).value();
    ASSERT_TRUE(a.table.bind_domain(a.table, loop));
    ASSERT_TRUE(a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{0}));
    ASSERT_TRUE(a.table.bind_ipi(VcpuId{1}));
    ASSERT_TRUE(a.table.bind_irq(3));
    a.table.close_all([&](DomainId id) -> PortTable* { return id == DomainId{2} ? &b.table : id == DomainId{3} ? &c.table : nullptr; });
    EXPECT_EQ(a.table.open_ports(), 0U);
    EXPECT_EQ(a.table.next_open(), std::nullopt);
    EXPECT_TRUE(a.table.consistent());
    EXPECT_EQ(status(b, theirs).state, std::uint32_t{PVN_PORT_UNBOUND});
    EXPECT_EQ(status(c, third).state, std::uint32_t{PVN_PORT_UNBOUND});
    EXPECT_TRUE(a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{0}));
}

TEST_F(PortTableTest, send)
{
    auto const [ours, theirs] = connect();
    EXPECT_EQ(a.table.send(ours, b.table, b.pages()).value(), (Raised{VcpuId{0}, true, true}));
    EXPECT_EQ(b.shared.event_pending[0], std::uint64_t{1} << theirs.raw());
    EXPECT_EQ(b.vcpu[0].pending_words, 1U);
    EXPECT_EQ(b.vcpu[0].event_pending, 1);
    EXPECT_EQ(a.shared.event_pending[0], 0U);
    EXPECT_EQ(a.table.send(ours, b.table, b.pages()).value(), (Raised{VcpuId{0}, false, false}));  // pending already
    b.shared.event_pending[0] = 0;
    EXPECT_EQ(a.table.send(ours, b.table, b.pages()).value(), (Raised{VcpuId{0}, true, false}));  // upcall due already

    Port const ipi = a.table.bind_ipi(VcpuId{1}).value();
    EXPECT_EQ(a.table.send(ipi, a.table, a.pages()).value(), (Raised{VcpuId{1}, true, true}));
}

TEST_F(PortTableTest, send_errors)
{
    for (Port const port : {none, beyond, huge})
        EXPECT_EQ(failure([&] { return a.table.send(port, b.table, b.pages()); }), Error::invalid);
    EXPECT_EQ(failure([&] { return a.table.send(Port{1}, b.table, b.pages()); }), Error::not_found);
    auto const [ours, theirs] = connect();
    (void)theirs;
    EXPECT_EQ(failure([&] { return a.table.send(ours, a.table, a.pages()); }), Error::again);
    Port const virq = a.table.bind_virq(PVN_VIRQ_TIMER, VcpuId{0}).value();
    Port const irq = a.table.bind_irq(1).value();
    EXPECT_EQ(failure([&] { return a.table.send(virq, b.table, b.pages()); }), Error::invalid);
    EXPECT_EQ(failure([&] { return a.table.send(irq, a.table, a.pages()); }), Error::invalid);
    Port const unbound = a.table.allocate(DomainId{2}).value();
    EXPECT_EQ(failure([&] { return a.table.send(unbound, b.table, b.pages()); }), Error::again);
    EXPECT_EQ(a.table.send(unbound, a.table, a.pages()).value(), Raised{});
}

TEST_F(PortTableTest, a_masked_port_becomes_pending_but_calls_nobody_until_it_is_unmasked)
{
    fill(a);
    Port const last{PVN_EVENT_PORTS - 1};
    ASSERT_TRUE(a.table.close(last, a.table, a.pages()));
    ASSERT_EQ(a.table.bind_irq(5).value(), last);
    a.shared.event_mask[15] = UINT64_MAX;
    EXPECT_EQ(a.table.raise(last, a.pages()).value(), (Raised{VcpuId{0}, true, false}));
    EXPECT_EQ(a.shared.event_pending[15], std::uint64_t{1} << 63);
    EXPECT_EQ(a.vcpu[0].pending_words, 0U);
    EXPECT_EQ(a.vcpu[0].event_pending, 0);
    EXPECT_EQ(a.table.unmask(last, a.pages()).value(), (Raised{VcpuId{0}, false, true}));
    EXPECT_EQ(a.shared.event_mask[15], UINT64_MAX >> 1);
    EXPECT_EQ(a.vcpu[0].pending_words, std::uint64_t{1} << 15);
    EXPECT_EQ(a.vcpu[0].event_pending, 1);
    a.shared.event_pending[15] = 0;
    EXPECT_EQ(a.table.unmask(last, a.pages()).value(), (Raised{VcpuId{0}, false, false}));  // nothing is pending
}

TEST_F(PortTableTest, raise_unmask_and_status_errors)
{
    for (Port const port : {none, beyond, huge}) {
        EXPECT_EQ(failure([&] { return a.table.raise(port, a.pages()); }), Error::invalid);
        EXPECT_EQ(failure([&] { return a.table.unmask(port, a.pages()); }), Error::invalid);
        EXPECT_EQ(failure([&] { return a.table.status(port, a.pages()); }), Error::invalid);
    }
    EXPECT_EQ(failure([&] { return a.table.raise(Port{4}, a.pages()); }), Error::not_found);
    EXPECT_EQ(failure([&] { return a.table.unmask(Port{4}, a.pages()); }), Error::not_found);
    EXPECT_EQ(status(a, Port{4}).state, std::uint32_t{PVN_PORT_CLOSED});
}

TEST_F(PortTableTest, a_vcpu_without_a_page_is_told_nothing)
{
    Port const port = a.table.bind_ipi(VcpuId{1}).value();
    SharedPages const short_of_one{a.shared, std::span{a.pointers}.first(1)};
    EXPECT_EQ(a.table.send(port, a.table, short_of_one).value(), (Raised{VcpuId{1}, true, false}));
    EXPECT_EQ(a.vcpu[0].event_pending, 0);
}

// --- Random sequences over three domains ---

class PortTableRandom : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(PortTableRandom, keeps_the_invariants)
{
    std::mt19937_64 random{GetParam()};
    auto const below = [&random](std::uint64_t limit) { return random() % limit; };
    std::vector<std::unique_ptr<Domain>> domains;
    for (std::uint16_t id = 0; id < 3; ++id)
        domains.push_back(std::make_unique<Domain>(id, 1 + id * 2U));
    std::size_t succeeded = 0;

    for (int step = 0; step < 2500; ++step) {
        Domain& domain = *domains[below(3)];
        PortTable& table = domain.table;
        Domain& other = *domains[below(3)];
        Port const port{static_cast<std::uint32_t>(below(below(20) == 0 ? 2000 : 40))};
        VcpuId const vcpu{static_cast<std::uint32_t>(below(6))};
        std::uint32_t const before = table.open_ports();
        int change = 0;
        switch (below(12)) {
        case 0:
        case 1:
            change = table.allocate(other.table.owner()) ? 1 : 0;
            break;
        case 2:
        case 3:
        case 4:
            change = table.bind_domain(other.table, port) ? 1 : 0;
            break;
        case 5:
            change = table.bind_virq(static_cast<std::uint32_t>(below(5)), vcpu) ? 1 : 0;
            break;
        case 6:
            change = table.bind_ipi(vcpu) ? 1 : 0;
            break;
        case 7:
            change = table.bind_irq(static_cast<std::uint32_t>(below(4))) ? 1 : 0;
            break;
        case 8: {
            auto const destination = table.destination(port);
            change = destination && table.close(port, domains[destination->raw()]->table, domain.pages()) ? -1 : 0;
            break;
        }
        case 9:
            (void)table.bind_vcpu(port, vcpu);
            break;
        case 10: {
            auto const bit = [](Domain& of, Port at) { return of.table.status(at, of.pages()).value().pending; };
            if (auto const sent = table.send(port, other.table, other.pages()); sent && sent->newly_pending) {
                pvn_event_status const status = table.status(port, domain.pages()).value();
                Port const target{status.state == PVN_PORT_INTERDOMAIN ? status.remote_port : port.raw()};
                EXPECT_EQ(bit(other, target), 1U);
                EXPECT_NE(other.vcpu[sent->vcpu.raw()].pending_words, 0U);
                EXPECT_EQ(other.vcpu[sent->vcpu.raw()].event_pending, 1);
            }
            break;
        }
        default:
            if (below(60) == 0) {
                table.close_all([&](DomainId id) { return &domains[id.raw()]->table; });
                change = -static_cast<int>(before);
            }
        }
        succeeded += change != 0 ? 1 : 0;
        ASSERT_EQ(static_cast<int>(table.open_ports()), static_cast<int>(before) + change) << "step " << step;
        if (step % 4 != 0)
            continue;
        for (auto& each : domains) {
            ASSERT_TRUE(each->table.consistent()) << "step " << step;
            for (auto at = each->table.next_open(); at; at = each->table.next_open(Port{at->raw() + 1})) {
                pvn_event_status const status = each->table.status(*at, each->pages()).value();
                if (status.state == PVN_PORT_INTERDOMAIN)
                    ASSERT_TRUE(each->table.paired(*at, domains[status.remote_domain]->table)) << "step " << step;
            }
        }
    }
    EXPECT_GT(succeeded, 500U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PortTableRandom, ::testing::Range<std::uint64_t>(1, 11));

}  // namespace
}  // namespace pvn::event
