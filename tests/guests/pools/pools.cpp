// SPDX-License-Identifier: MIT
// dom0 divides the processors into pools: a processor goes from one to another, with vCPUs running on it, and those stay behind; a
// domain's vCPUs run in its pool only, and go where it is taken; under each policy.  A pool is not robbed of what its domains need.
#include "smp.hpp"

char const guest_name[] = "pools";

namespace {

constexpr std::uint64_t cpus = 4;
std::uint64_t turns[64];

long use(std::uint64_t id, std::uint64_t on) { return hypercall(PVN_SYSTEM_SET_CPU, id, on); }
long take_cpu(std::uint64_t to, std::uint64_t id) { return hypercall(PVN_SYSTEM_POOL_TAKE_CPU, to, id); }

// Two vCPUs that want the last processor, now here and now there, are in each other's way until each has been told so.
bool together, told_of_taking, told_of_using;
void want_the_last()
{
    for (std::uint64_t to = 0; !(guest::load(told_of_taking) && guest::load(told_of_using)); to ^= 1) {
        auto const taken = take_cpu(to, cpus - 1);
        CHECK(taken == 0 || taken == -PVN_E_EXISTS || taken == -PVN_E_AGAIN);
        if (taken == -PVN_E_AGAIN) guest::store(told_of_taking, true);
        auto const used = use(cpus - 1, 1);
        CHECK(used == -PVN_E_EXISTS || used == -PVN_E_AGAIN);
        if (used == -PVN_E_AGAIN) guest::store(told_of_using, true);
    }
}

[[noreturn]] void spin(std::uint64_t number)
{
    for (;;) {
        __atomic_fetch_add(&turns[number], 1, __ATOMIC_SEQ_CST);
        if (number == 1 && guest::load(together)) want_the_last();
    }
}

std::uint64_t address(auto& object) { return reinterpret_cast<std::uint64_t>(&object); }
pvn_vcpu_info info_of(std::uint64_t vcpu)
{
    pvn_vcpu_info info{};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, 0, vcpu, address(info)), 0);
    return info;
}
pvn_cpu_info cpu(std::uint64_t id)
{
    pvn_cpu_info info{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CPU_INFO, id, address(info), 1), 1);
    return info;
}
pvn_pool_info pool(std::uint64_t id)
{
    pvn_pool_info info{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_POOL_INFO, id, address(info), 1), 1);
    CHECK_EQUAL(info.pool, id);
    return info;
}
long pin(std::uint64_t vcpu, std::uint64_t hard) { return hypercall(PVN_DOMAIN_SET_AFFINITY, 0, vcpu, hard, ~0ull); }
long take_domain(std::uint64_t domain, std::uint64_t to) { return hypercall(PVN_DOMAIN_TAKE_TO_POOL, domain, to); }
long create(std::uint64_t policy) { return hypercall(PVN_SYSTEM_POOL_CREATE, policy); }
long destroy(std::uint64_t id) { return hypercall(PVN_SYSTEM_POOL_DESTROY, id); }

std::uint64_t count;

// While it is looked up whether a processor is needed, it becomes so: between two steps of a call that stops at each (`stops`), or else maybe too late.
bool needed_in_between;
void need_while_asked()
{
    constexpr std::uint64_t last = cpus - 1;
    auto const port = hypercall(PVN_EVENT_BIND_IPI, 0);
    CHECK(port > 0);
    guest::domain().event_mask[0] = 0;
    static int upcalls;
    guest::set_handler([](guest::Registers&) {
        guest::vcpu().event_pending = 0;
        guest::domain().event_pending[0] = 0;
        ++upcalls;
        auto const pinned = pin(1, 1 << last);
        needed_in_between = pinned == 0;
        CHECK(needed_in_between || pinned == -PVN_E_INVALID);  // too late: the processor has left the pool
    });
    for (auto const& asked : {pvn_call{PVN_SYSTEM_SET_CPU, 0, {last, 0, 0, 0, 0, 0}}, pvn_call{PVN_SYSTEM_POOL_TAKE_CPU, 0, {1, last, 0, 0, 0, 0}}}) {
        CHECK_EQUAL(create(PVN_SCHED_POLICY_BVT), 1);
        CHECK_EQUAL(hypercall(PVN_EVENT_SEND, static_cast<std::uint64_t>(port)), 0);
        guest::vcpu().event_mask = 0;  // of which Paravane hears when the call stops or ends
        auto const result = hypercall(asked.number, asked.argument[0], asked.argument[1]);
        guest::vcpu().event_mask = 1;
        CHECK_EQUAL(result, needed_in_between ? -PVN_E_BUSY : 0);
        CHECK_EQUAL(pin(1, ~0ull), 0);
        if (!needed_in_between) CHECK_EQUAL(asked.number == PVN_SYSTEM_SET_CPU ? use(last, 1) : take_cpu(0, last), 0);
        CHECK_EQUAL(destroy(1), 0);
    }
    CHECK_EQUAL(upcalls, 2);
    guest::set_handler(nullptr);
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, static_cast<std::uint64_t>(port)), 0);
}

void all_go_on()
{
    for (std::uint64_t n = 1; n < count; ++n) {
        auto const before = guest::load(turns[n]);
        guest::wait_until([&] { return guest::load(turns[n]) > before; });
    }
}

void all_run_on(std::uint64_t mask)
{
    for (std::uint64_t n = 0; n < count; ++n) guest::wait_until([&] { return (mask >> info_of(n).cpu & 1) != 0; });
    all_go_on();
    for (std::uint64_t n = 0; n < count; ++n) CHECK((mask >> info_of(n).cpu & 1) != 0);
    for (std::uint64_t id = 0; id < cpus; ++id)
        if ((mask >> id & 1) == 0) CHECK_EQUAL(cpu(id).homes, 0u);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    count = guest::start().vcpus;
    for (std::uint64_t n = 1; n < count; ++n) guest::start_secondary(n, [](std::uint64_t number) { spin(number); });
    all_go_on();

    auto const first = pool(0);
    CHECK(first.policy == PVN_SCHED_POLICY_BVT && first.cpus == 15 && first.domains == 1);
    pvn_pool_info none{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_POOL_INFO, 1, address(none), 1), 0);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_POOL_INFO, ~0ull, address(none), 1), 0);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_POOL_INFO, 0, 0x1000, 1), -PVN_E_BAD_ADDRESS);

    // What there is not, and what may not be.
    CHECK_EQUAL(create(3), -PVN_E_INVALID);
    CHECK_EQUAL(create(1ull << 32), -PVN_E_INVALID);
    CHECK_EQUAL(destroy(0), -PVN_E_INVALID);
    for (auto const no : {1ull, 15ull, 16ull, 1ull << 32, ~0ull}) {
        CHECK_EQUAL(destroy(no), -PVN_E_NOT_FOUND);
        CHECK_EQUAL(take_cpu(no, 1), -PVN_E_NOT_FOUND);
        CHECK_EQUAL(take_domain(0, no), -PVN_E_NOT_FOUND);
    }
    CHECK_EQUAL(take_cpu(0, 1), -PVN_E_EXISTS);
    CHECK_EQUAL(take_domain(7, 0), -PVN_E_NOT_FOUND);
    for (long n = 1; n < 16; ++n) CHECK_EQUAL(create(PVN_SCHED_POLICY_NULL), n);
    CHECK_EQUAL(create(PVN_SCHED_POLICY_BVT), -PVN_E_NO_SPACE);
    for (std::uint64_t n = 1; n < 16; ++n) CHECK_EQUAL(destroy(n), 0);

    // Each policy in turn gets half of the processors, then the domain, then the rest.
    for (unsigned const policy : {unsigned{PVN_SCHED_POLICY_RR}, unsigned{PVN_SCHED_POLICY_BVT}, unsigned{PVN_SCHED_POLICY_NULL}}) {
        auto const id = create(policy);
        CHECK_EQUAL(id, 1);
        CHECK(pool(1).policy == policy && pool(1).cpus == 0 && pool(1).domains == 0);
        CHECK_EQUAL(take_domain(0, 1), -PVN_E_INVALID);  // no processor
        CHECK_EQUAL(take_cpu(1, cpus), -PVN_E_NOT_FOUND);
        CHECK_EQUAL(take_cpu(1, ~0ull), -PVN_E_NOT_FOUND);
        for (unsigned id_ : {2u, 3u}) {
            CHECK_EQUAL(take_cpu(1, id_), 0);
            CHECK(cpu(id_).pool == 1 && cpu(id_).homes == 0 && cpu(id_).flags == PVN_CPU_ONLINE);  // done when the call returns
        }
        CHECK(pool(0).cpus == 3 && pool(1).cpus == 12);
        CHECK_EQUAL(take_cpu(1, 3), -PVN_E_EXISTS);
        CHECK_EQUAL(destroy(1), -PVN_E_BUSY);
        all_run_on(3);
        CHECK_EQUAL(pin(1, 12), -PVN_E_INVALID);  // processors of another pool

        // What is pinned cannot be left behind, or taken along.
        CHECK_EQUAL(pin(1, 1), 0);
        CHECK_EQUAL(take_cpu(1, 0), -PVN_E_BUSY);
        CHECK_EQUAL(use(0, 0), -PVN_E_BUSY);
        CHECK_EQUAL(take_domain(0, 1), -PVN_E_INVALID);
        CHECK_EQUAL(pin(1, ~0ull), 0);

        // `null` gives a processor to one vCPU for good, so there the others wait until it is undone.
        if (policy != PVN_SCHED_POLICY_NULL) {
            CHECK_EQUAL(take_domain(0, 1), 0);
            CHECK(pool(0).domains == 0 && pool(1).domains == 1);
            all_run_on(12);
            CHECK_EQUAL(destroy(1), -PVN_E_BUSY);
            // The last processor of the first pool stays there, for domains to come; that of another only while it has domains.
            CHECK_EQUAL(take_cpu(1, 0), 0);
            CHECK_EQUAL(take_cpu(1, 1), -PVN_E_BUSY);
            CHECK_EQUAL(use(1, 0), -PVN_E_BUSY);
            all_run_on(13);
            // Taken out of use in its pool, and back.
            CHECK_EQUAL(use(2, 0), 0);
            CHECK_EQUAL(take_cpu(0, 2), -PVN_E_INVALID);
            CHECK_EQUAL(pool(1).cpus, 9u);
            all_run_on(9);
            CHECK_EQUAL(use(2, 1), 0);
            CHECK_EQUAL(pool(1).cpus, 13u);
            CHECK_EQUAL(take_domain(0, 0), 0);
            all_run_on(2);
            CHECK_EQUAL(take_cpu(0, 0), 0);
        }
        for (unsigned id_ : {2u, 3u}) CHECK_EQUAL(take_cpu(0, id_), 0);
        CHECK_EQUAL(destroy(1), 0);
        CHECK_EQUAL(pool(0).cpus, 15u);
        for (std::uint64_t id_ = 0; id_ < cpus; ++id_) guest::wait_until([&] { return (cpu(id_).flags & PVN_CPU_BUSY) != 0; });
        all_go_on();
    }

    need_while_asked();

    // To and fro, under a load that moves by itself too.
    CHECK_EQUAL(create(PVN_SCHED_POLICY_RR), 1);
    for (int round = 0; round < 60; ++round) {
        auto const id = static_cast<std::uint64_t>(round) % 3 + 1;
        CHECK_EQUAL(take_cpu(1, id), 0);
        if (round % 2 == 0) CHECK_EQUAL(take_domain(0, 1), 0);
        if (round % 2 == 0) CHECK_EQUAL(take_domain(0, 0), 0);
        CHECK_EQUAL(take_cpu(0, id), 0);
    }
    guest::store(together, true);
    want_the_last();
    guest::store(together, false);
    all_go_on();  // the other one has come out of it, too
    CHECK(take_cpu(0, cpus - 1) == 0 || pool(0).cpus == 15);
    all_go_on();
    CHECK_EQUAL(destroy(1), 0);
    for (std::uint64_t n = 1; n < count; ++n) CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, n), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
}
