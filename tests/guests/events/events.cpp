// SPDX-License-Identifier: MIT
// Events: a port is allocated, bound, sent to, masked, asked about and closed; the upcall comes exactly when the port and the vCPU let
// it, once; and what names nothing is refused with the error that says so.
#include "guest.hpp"

char const guest_name[] = "events";

namespace {

int upcalls;

void on_event(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, guest::event_vector);
    CHECK(guest::vcpu().event_mask != 0);
    CHECK_EQUAL(r.rflags & 0x200, 0x200u);
    guest::vcpu().event_pending = 0;
    ++upcalls;
}

pvn_event_status status(std::uint64_t port)
{
    pvn_event_status s{};
    s.port = static_cast<std::uint32_t>(port);
    CHECK_EQUAL(hypercall(PVN_EVENT_STATUS, reinterpret_cast<std::uint64_t>(&s)), 0);
    return s;
}
void unmask_upcalls() { asm volatile("call *%0" : : "r"(std::uint64_t{PVN_VDSO_UNMASK_EVENTS}) : "memory", "cc"); }
std::uint64_t bit(std::uint64_t port) { return std::uint64_t{1} << port % 64; }

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(on_event);
    auto& page = guest::vcpu();
    auto& domain = guest::domain();
    for (auto const mask : domain.event_mask) CHECK_EQUAL(mask, ~std::uint64_t{0});

    // A pair of ports of this domain.
    auto const self = guest::start().domain_id;
    auto const offered = static_cast<std::uint64_t>(hypercall(PVN_EVENT_ALLOC, self));
    CHECK(offered >= 1 && offered < PVN_EVENT_PORTS);
    CHECK_EQUAL(status(offered).state, std::uint32_t{PVN_PORT_UNBOUND});
    CHECK_EQUAL(status(offered).remote_domain, self);
    auto const bound = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_DOMAIN, self, offered));
    CHECK(bound >= 1 && bound < PVN_EVENT_PORTS && bound != offered);
    CHECK_EQUAL(status(offered).state, std::uint32_t{PVN_PORT_INTERDOMAIN});
    CHECK_EQUAL(status(offered).remote_port, bound);
    CHECK_EQUAL(status(bound).remote_port, offered);
    CHECK_EQUAL(status(bound).pending, 1u);  // what was sent before is not known
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_DOMAIN, self, offered), -PVN_E_BUSY);
    CHECK_EQUAL(page.event_pending, 0u);     // the port is masked

    // Masked port: pending only.  Unmasked port and masked vCPU: event_pending and the word.  Then once the upcall.
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, bound), 0);
    CHECK((domain.event_pending[offered / 64] & bit(offered)) != 0);
    CHECK_EQUAL(page.event_pending, 0u);
    page.event_mask = 0;
    CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
    CHECK_EQUAL(upcalls, 0);
    page.event_mask = 1;
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, offered), 0);
    CHECK_EQUAL(domain.event_mask[offered / 64] & bit(offered), 0u);
    CHECK_EQUAL(page.event_pending, 1u);
    CHECK_EQUAL(page.pending_words, std::uint64_t{1} << offered / 64);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
    CHECK_EQUAL(upcalls, 0);
    unmask_upcalls();
    CHECK_EQUAL(upcalls, 1);
    CHECK_EQUAL(page.event_mask, 0u);
    unmask_upcalls();
    CHECK_EQUAL(upcalls, 1);

    // Pending already: no other upcall.  Cleared: one, straight from the call.
    page.pending_words = 0;
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, bound), 0);
    CHECK_EQUAL(upcalls, 1);
    domain.event_pending[offered / 64] &= ~bit(offered);
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, bound), 0);
    CHECK_EQUAL(upcalls, 2);
    page.event_mask = 1;

    // Closing one end leaves the other unbound; a send into nothing is lost, not an error.
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, bound), 0);
    CHECK_EQUAL(status(bound).state, std::uint32_t{PVN_PORT_CLOSED});
    CHECK_EQUAL(status(bound).pending, 0u);
    CHECK_EQUAL(status(offered).state, std::uint32_t{PVN_PORT_UNBOUND});
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, offered), 0);
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, offered), 0);
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, offered), -PVN_E_NOT_FOUND);

    // IPI to oneself.
    auto const ipi = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_IPI, 0));
    CHECK_EQUAL(status(ipi).state, std::uint32_t{PVN_PORT_IPI});
    domain.event_pending[ipi / 64] &= ~bit(ipi);
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, ipi), 0);
    page.event_mask = 0;
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, ipi), 0);
    CHECK_EQUAL(upcalls, 3);
    page.event_mask = 1;
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VCPU, ipi, 0), -PVN_E_INVALID);

    // Errors.
    auto const timer = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0));
    CHECK_EQUAL(status(timer).state, std::uint32_t{PVN_PORT_VIRQ});
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0), -PVN_E_EXISTS);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_COUNT, 0), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_DEBUG, 64), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, timer), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_IPI, 64), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_EVENT_ALLOC, 0x7000), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_EVENT_ALLOC, 1ull << 32), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_DOMAIN, 0x7000, 1), -PVN_E_NOT_FOUND);
    for (auto const port : {0ul, std::uint64_t{PVN_EVENT_PORTS}, 1ul << 32 | 1, ~0ul}) CHECK_EQUAL(hypercall(PVN_EVENT_BIND_DOMAIN, self, port), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_DOMAIN, self, 1000), -PVN_E_NOT_FOUND);
    for (auto const call : {PVN_EVENT_CLOSE, PVN_EVENT_SEND, PVN_EVENT_UNMASK, PVN_EVENT_BIND_VCPU}) {
        auto const number = static_cast<std::uint64_t>(call);
        CHECK_EQUAL(hypercall(number, 1000), -PVN_E_NOT_FOUND);
        CHECK_EQUAL(hypercall(number, PVN_EVENT_PORTS), -PVN_E_INVALID);
        CHECK_EQUAL(hypercall(number, 1ull << 32 | timer), -PVN_E_INVALID);
    }
    CHECK_EQUAL(hypercall(PVN_EVENT_STATUS, 0x1000), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, timer), 0);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0), timer);

    // All ports: then no space, and the whole table can be closed again.
    long last = 0;
    int count = 0;
    for (;; ++count) {
        auto const port = hypercall(PVN_EVENT_ALLOC, self);
        if (port < 0) {
            CHECK_EQUAL(port, -PVN_E_NO_SPACE);
            break;
        }
        last = port;
    }
    CHECK(count > 1000 && last == PVN_EVENT_PORTS - 1);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_DOMAIN, self, static_cast<std::uint64_t>(last)), -PVN_E_NO_SPACE);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_DEBUG, 0), -PVN_E_NO_SPACE);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_IPI, 0), -PVN_E_NO_SPACE);
    CHECK_EQUAL(status(static_cast<std::uint64_t>(last)).state, std::uint32_t{PVN_PORT_UNBOUND});
    CHECK_EQUAL(upcalls, 3);
}
