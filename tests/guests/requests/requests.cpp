// SPDX-License-Identifier: MIT
// dom0 asks a domain to switch itself off, and to have another number of vCPUs: refused while the domain does not listen, heard once it does, refused when it has ended, and
// never understood as anything but the requests that there are.  What was set of the scheduler can be read back.
#include "domains.hpp"

char const guest_name[] = "requests";

namespace {

long request(std::uint64_t domain, std::uint64_t what) { return hypercall(PVN_DOMAIN_REQUEST_POWER, domain, what); }

long request_vcpus(std::uint64_t domain, std::uint64_t number) { return hypercall(PVN_DOMAIN_REQUEST_VCPUS, domain, number); }

void wait_for(std::uint32_t port, std::uint64_t deadline = 0)
{
    std::uint32_t const list[] = {port};
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, deadline), 0);
}
bool take(std::uint32_t port)
{
    auto& word = guest::domain().event_pending[port / 64];
    auto const bit = std::uint64_t{1} << port % 64;
    return (__atomic_fetch_and(&word, ~bit, __ATOMIC_SEQ_CST) & bit) != 0;
}

void listener()
{
    // Not before dom0 has seen that it is not listened to.
    auto const begin = static_cast<std::uint32_t>(hypercall(PVN_EVENT_ALLOC, 0));
    CHECK_EQUAL(begin, 1u);
    wait_for(begin);
    CHECK_EQUAL(guest::domain().power_request, 0u);
    CHECK_EQUAL(request(1, PVN_SHUTDOWN_POWER_OFF), -PVN_E_DENIED);
    guest::domain().power_request = 77;  // is ours to write, and means nothing
    auto const port = static_cast<std::uint32_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_POWER, 0));
    CHECK(port > 0 && port < PVN_EVENT_PORTS);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_POWER, 0), -PVN_E_EXISTS);
    auto const vcpus = static_cast<std::uint32_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_VCPUS, 0));
    CHECK(vcpus > 0 && vcpus < PVN_EVENT_PORTS);
    CHECK_EQUAL(request_vcpus(1, 1), -PVN_E_DENIED);
    wait_for(vcpus);
    CHECK(take(vcpus));
    CHECK_EQUAL(guest::domain().vcpus_request, 2u);
    wait_for(port);
    CHECK(take(port));
    CHECK_EQUAL(guest::domain().power_request, std::uint32_t{PVN_SHUTDOWN_REBOOT});
    (void)hypercall(PVN_SCHED_SHUTDOWN, PVN_SHUTDOWN_REBOOT);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    if ((guest::start().flags & PVN_START_PRIVILEGED) == 0) return listener();
    auto const ended = static_cast<std::uint32_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_DOMAIN, 0));
    auto const timer = static_cast<std::uint32_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0));
    CHECK(ended < PVN_EVENT_PORTS && timer < PVN_EVENT_PORTS);

    // What names no domain, oneself, or no request.
    for (auto const id : {2ul, 255ul, 256ul, 65537ul, 1ul << 32 | 1, ~0ul}) CHECK_EQUAL(request(id, PVN_SHUTDOWN_POWER_OFF), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(request(0, PVN_SHUTDOWN_POWER_OFF), -PVN_E_DENIED);
    for (auto const id : {2ul, 65537ul, 1ul << 32 | 1, ~0ul}) CHECK_EQUAL(request_vcpus(id, 1), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(request_vcpus(0, 1), -PVN_E_DENIED);
    for (auto const number : {0ul, 3ul, 64ul, 1ul << 32 | 1, ~0ul}) CHECK_EQUAL(request_vcpus(1, number), -PVN_E_INVALID);
    for (auto const what : {std::uint64_t{PVN_SHUTDOWN_SUSPEND}, std::uint64_t{PVN_SHUTDOWN_CRASH}, 4ul, 1ul << 32, ~0ul})
        CHECK_EQUAL(request(1, what), -PVN_E_INVALID);

    // It has not been told to begin, so it does not listen.  Paused, it never will.
    CHECK_EQUAL(hypercall(PVN_DOMAIN_PAUSE, 1), 0);
    CHECK_EQUAL(request(1, PVN_SHUTDOWN_REBOOT), -PVN_E_NOT_LISTENING);
    CHECK_EQUAL(request_vcpus(1, 1), -PVN_E_NOT_LISTENING);

    pvn_sched_parameters set{300, PVN_SCHED_WARP, 5'000'000, 7'000'000, 9'000'000}, got{};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_SCHED, 1, reinterpret_cast<std::uint64_t>(&set)), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_SCHED, 1, reinterpret_cast<std::uint64_t>(&got)), 0);
    CHECK_EQUAL(got.weight, set.weight);
    CHECK_EQUAL(got.flags, set.flags);
    CHECK_EQUAL(got.warp, set.warp);
    CHECK_EQUAL(got.warp_limit, set.warp_limit);
    CHECK_EQUAL(got.unwarp, set.unwarp);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_SCHED, 0, reinterpret_cast<std::uint64_t>(&got)), 0);
    CHECK_EQUAL(got.weight, 256u);
    CHECK_EQUAL(got.flags, 0u);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_SCHED, 2, reinterpret_cast<std::uint64_t>(&got)), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_SCHED, 1, 0x1000), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_SCHED, 1, PVN_SLOT_P2M), -PVN_E_BAD_ADDRESS);

    // Asked until it listens: it begins to when it likes.
    CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, 1), 0);
    long begin = 0;
    while ((begin = hypercall(PVN_EVENT_BIND_DOMAIN, 1, 1)) == -PVN_E_NOT_FOUND) (void)hypercall(PVN_SCHED_YIELD);
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, static_cast<std::uint64_t>(begin)), 0);
    auto const ask_until_heard = [&](auto ask) {
        long answer = 0;
        while ((answer = ask()) == -PVN_E_NOT_LISTENING) {
            (void)take(timer);
            pvn_system_info system{};
            CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, reinterpret_cast<std::uint64_t>(&system)), 0);
            wait_for(timer, system.uptime + 10'000'000);
        }
        CHECK_EQUAL(answer, 0);
    };
    ask_until_heard([] { return request_vcpus(1, 2); });
    ask_until_heard([] { return request(1, PVN_SHUTDOWN_REBOOT); });
    while ((guest::domain_info(1).flags & PVN_DOMAIN_SHUT_DOWN) == 0) {
        wait_for(ended);
        (void)take(ended);
    }
    CHECK_EQUAL(guest::domain_info(1).reason, std::uint32_t{PVN_SHUTDOWN_REBOOT});
    CHECK_EQUAL(request(1, PVN_SHUTDOWN_REBOOT), -PVN_E_SHUT_DOWN);
    CHECK_EQUAL(request_vcpus(1, 1), -PVN_E_SHUT_DOWN);
    CHECK_EQUAL(guest::destroy_domain(1), 0);
    CHECK_EQUAL(request(1, PVN_SHUTDOWN_REBOOT), -PVN_E_NOT_FOUND);
}
