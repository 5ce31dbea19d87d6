// SPDX-License-Identifier: MIT
// dom0 says where vCPUs may run and which processors are used: a pinned vCPU goes where it was sent, wherever it is when that happens;
// vCPUs leave a processor that is taken away, running or blocked, and go on elsewhere; the last one cannot be taken.  What was traced
// comes out in order.
#include "smp.hpp"

char const guest_name[] = "processors";

namespace {

constexpr std::uint64_t cpus = 4;
std::uint64_t turns[64];

[[noreturn]] void spin(std::uint64_t number)
{
    for (;;) __atomic_fetch_add(&turns[number], 1, __ATOMIC_SEQ_CST);
}

pvn_vcpu_info info_of(std::uint64_t vcpu)
{
    pvn_vcpu_info info{};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, 0, vcpu, reinterpret_cast<std::uint64_t>(&info)), 0);
    CHECK_EQUAL(info.vcpu, vcpu);
    return info;
}
pvn_cpu_info cpu(std::uint64_t id)
{
    pvn_cpu_info info{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CPU_INFO, id, reinterpret_cast<std::uint64_t>(&info), 1), 1);
    CHECK_EQUAL(info.cpu, id);
    return info;
}
long pin(std::uint64_t vcpu, std::uint64_t hard, std::uint64_t soft = ~0ull) { return hypercall(PVN_DOMAIN_SET_AFFINITY, 0, vcpu, hard, soft); }
long use(std::uint64_t id, std::uint64_t on) { return hypercall(PVN_SYSTEM_SET_CPU, id, on); }

void all_go_on(std::uint64_t count)
{
    for (std::uint64_t n = 1; n < count; ++n) {
        auto const before = guest::load(turns[n]);
        guest::wait_until([&] { return guest::load(turns[n]) > before; });
    }
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    auto const count = guest::start().vcpus;
    CHECK_EQUAL(count, 6u);
    for (std::uint64_t n = 1; n < count; ++n) guest::start_secondary(n, [](std::uint64_t number) { spin(number); });
    all_go_on(count);

    // Errors.
    pvn_vcpu_info info{};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, 0, count, reinterpret_cast<std::uint64_t>(&info)), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, 9, 0, reinterpret_cast<std::uint64_t>(&info)), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, 0, 0, 0x1000), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_AFFINITY, 0, count, 1, 1), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(pin(1, 0), -PVN_E_INVALID);
    CHECK_EQUAL(pin(1, std::uint64_t{1} << cpus), -PVN_E_INVALID);  // no such processor
    CHECK_EQUAL(use(cpus, 0), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(use(1ull << 32, 0), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(use(0, 2), -PVN_E_INVALID);
    CHECK_EQUAL(use(0, 1), -PVN_E_EXISTS);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CPU_INFO, cpus, reinterpret_cast<std::uint64_t>(&info), 1), 0);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CPU_INFO, 0, 0x1000, 1), -PVN_E_BAD_ADDRESS);

    // Pinned, one after the other, oneself too, and free again.
    for (std::uint64_t n = 0; n < count; ++n)
        for (std::uint64_t to = 0; to < cpus; ++to) {
            CHECK_EQUAL(pin(n, std::uint64_t{1} << to), 0);
            guest::wait_until([&] { return info_of(n).cpu == to; });
            CHECK_EQUAL(info_of(n).hard_affinity, std::uint64_t{1} << to);
        }
    all_go_on(count);
    CHECK_EQUAL(use(cpus - 1, 0), -PVN_E_BUSY);  // they may run nowhere else
    for (std::uint64_t n = 0; n < count; ++n) CHECK_EQUAL(pin(n, ~0ull, n % 2 != 0 ? 3 : ~0ull), 0);

    // One processor after the other is taken away under the vCPUs that run there.
    for (std::uint64_t away = 0; away + 1 < cpus; ++away) {
        CHECK_EQUAL(use(away, 0), 0);
        CHECK_EQUAL(use(away, 0), -PVN_E_EXISTS);
        guest::wait_until([&] { return cpu(away).homes == 0; });
        CHECK_EQUAL(cpu(away).flags, 0u);
        all_go_on(count);
    }
    CHECK_EQUAL(use(cpus - 1, 0), -PVN_E_BUSY);
    CHECK_EQUAL(pin(1, 1), -PVN_E_INVALID);
    for (std::uint64_t n = 0; n < count; ++n) CHECK_EQUAL(info_of(n).cpu, cpus - 1);
    for (std::uint64_t back = 0; back + 1 < cpus; ++back) CHECK_EQUAL(use(back, 1), 0);
    // Work comes back to them.
    for (std::uint64_t id = 0; id < cpus; ++id) guest::wait_until([&] { return (cpu(id).flags & PVN_CPU_BUSY) != 0; });
    all_go_on(count);

    // No processor was idle for longer than the machine has run, though they have come and gone.
    for (std::uint64_t id = 0; id < cpus; ++id) {
        auto const idle = cpu(id).idle_time;
        pvn_system_info system{};
        CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, reinterpret_cast<std::uint64_t>(&system)), 0);
        CHECK(idle < system.uptime);
    }

    // What it cost, by lock.
    pvn_lock_info locks[8]{};
    auto const kinds = hypercall(PVN_SYSTEM_LOCKS, reinterpret_cast<std::uint64_t>(locks), 8);
    CHECK(kinds >= 5);
    for (long i = 0; i < kinds; ++i) CHECK(locks[i].name[0] != 0 && locks[i].waited <= locks[i].taken);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_LOCKS, reinterpret_cast<std::uint64_t>(locks), 1), 1);

    // The trace.
    static pvn_trace_record records[64];
    auto const buffer = reinterpret_cast<std::uint64_t>(records);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE_READ, 0, buffer, 64), 0);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE, 1ull << PVN_TRACE_EVENTS), -PVN_E_INVALID);
    CHECK_EQUAL(pin(0, 1), 0);
    guest::wait_until([&] { return info_of(0).cpu == 0; });
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE, 1ull << PVN_TRACE_HYPERCALL | 1ull << PVN_TRACE_ENTER), 0);
    for (int i = 0; i < 3000; ++i) (void)hypercall(PVN_SYSTEM_VERSION);  // more than a ring holds
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE, 0), 0);
    std::uint64_t last = 0, versions = 0, taken = 0;
    for (long got = 0; (got = hypercall(PVN_SYSTEM_TRACE_READ, 0, buffer, 64)) != 0; taken += static_cast<std::uint64_t>(got)) {
        CHECK(got > 0 && got <= 64);
        for (long i = 0; i < got; ++i) {
            CHECK(records[i].time >= last && (records[i].event == PVN_TRACE_HYPERCALL || records[i].event == PVN_TRACE_ENTER));
            last = records[i].time;
            versions += records[i].event == PVN_TRACE_HYPERCALL && records[i].a == PVN_SYSTEM_VERSION && records[i].b == PVN_ABI_VERSION ? 1 : 0;
        }
    }
    CHECK_EQUAL(taken, std::uint64_t{PVN_TRACE_RECORDS} - 1);
    CHECK(versions > 500);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE_READ, cpus, buffer, 64), -PVN_E_NOT_FOUND);
    for (std::uint64_t n = 1; n < count; ++n) CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, n), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
}
