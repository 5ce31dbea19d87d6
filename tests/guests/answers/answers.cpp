// SPDX-License-Identifier: MIT
// What a call writes for its caller is all meant: texts are zero behind their end, reserved fields are zero, and the byte after what was
// asked for stays as it was.  Anything else would be what the hypervisor's stack held before.
#include "guest.hpp"

extern "C" void* memset(void*, int, std::size_t);

char const guest_name[] = "answers";

namespace {

constexpr unsigned char untouched = 0xa5;
alignas(4096) unsigned char memory[4096];

template <class T>
T* fresh()
{
    memset(memory, untouched, sizeof memory);
    return reinterpret_cast<T*>(memory);
}

std::uint64_t place() { return reinterpret_cast<std::uint64_t>(memory); }

// `count` of these were written and nothing else.
template <class T>
void ends_after(long count)
{
    for (auto i = static_cast<std::size_t>(count) * sizeof(T); i < sizeof memory; ++i) CHECK_EQUAL(memory[i], untouched);
}

template <std::size_t size>
void is_text(char const (&text)[size])
{
    std::size_t end = 0;
    while (end < size && text[end] != 0) ++end;
    CHECK(end < size);
    for (auto i = end; i < size; ++i) CHECK_EQUAL(text[i], 0);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    auto const self = guest::start().domain_id;

    auto* const system = fresh<pvn_system_info>();
    CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, place()), 0);
    is_text(system->scheduler);
    is_text(system->version);
    CHECK(system->version[0] != 0 && system->scheduler[0] != 0);
    ends_after<pvn_system_info>(1);

    // One domain, and room for more.
    auto* const domain = fresh<pvn_domain_info>();
    CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, 0, place(), 3), 1);
    is_text(domain->last_words);
    ends_after<pvn_domain_info>(1);

    auto* const locks = fresh<pvn_lock_info>();
    auto const count = hypercall(PVN_SYSTEM_LOCKS, place(), 64);
    CHECK(count > 3);
    for (long i = 0; i < count; ++i) is_text(locks[i].name);
    ends_after<pvn_lock_info>(count);

    auto* const pool = fresh<pvn_pool_info>();
    CHECK_EQUAL(hypercall(PVN_SYSTEM_POOL_INFO, 0, place(), 16), 1);
    CHECK_EQUAL(pool->reserved, 0u);
    ends_after<pvn_pool_info>(1);

    (void)fresh<pvn_cpu_info>();
    auto const cpus = hypercall(PVN_SYSTEM_CPU_INFO, 0, place(), 64);
    CHECK(cpus > 0);
    ends_after<pvn_cpu_info>(cpus);

    auto* const vcpu = fresh<pvn_vcpu_info>();
    CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, self, 0, place()), 0);
    CHECK_EQUAL(vcpu->reserved, 0u);
    ends_after<pvn_vcpu_info>(1);

    (void)fresh<pvn_sched_parameters>();
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_SCHED, self, place()), 0);
    ends_after<pvn_sched_parameters>(1);

    (void)fresh<pvn_memory_info>();
    CHECK_EQUAL(hypercall(PVN_MEMORY_QUERY, place()), 0);
    ends_after<pvn_memory_info>(1);

    (void)fresh<pvn_grant_info>();
    CHECK_EQUAL(hypercall(PVN_GRANT_QUERY, self, place()), 0);
    ends_after<pvn_grant_info>(1);

    auto const port = hypercall(PVN_EVENT_ALLOC, self);
    CHECK(port > 0);
    auto* const status = fresh<pvn_event_status>();
    status->port = static_cast<std::uint32_t>(port);
    CHECK_EQUAL(hypercall(PVN_EVENT_STATUS, place()), 0);
    CHECK_EQUAL(status->reserved, 0u);
    ends_after<pvn_event_status>(1);

    // An instruction that traps has fewer bytes than there is room for.
    asm volatile("cli" : : : "memory");
    (void)fresh<pvn_trap_count>();
    auto const traps = hypercall(PVN_DOMAIN_GET_TRAPS, self, place(), 64);
    CHECK(traps > 0);
    ends_after<pvn_trap_count>(traps);

    // A call that fails writes nothing.
    (void)fresh<pvn_vcpu_info>();
    CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, self, 63, place()), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_CONTEXT, self, 0, place()), -PVN_E_DENIED);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE_READ, 64, place(), 4), -PVN_E_NOT_FOUND);
    ends_after<pvn_vcpu_info>(0);

    // Nor does one that has nowhere to write to; what it would have taken away is there still, but for what its page says.
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE, 1ull << PVN_TRACE_HYPERCALL), 0);
    for (int i = 0; i < 100; ++i) (void)hypercall(PVN_SYSTEM_VERSION);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_TRACE, 0), 0);
    for (auto const nowhere : {std::uint64_t{0}, std::uint64_t{PVN_SLOT_VCPU_PAGE}, std::uint64_t{PVN_SLOT_M2P}, 0x0000800000000000ul}) {
        CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_READ, nowhere, 1), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_LOG_READ, nowhere, 16, 0), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_LOCKS, nowhere, 1), -PVN_E_BAD_ADDRESS);
        long at = 0;  // whichever CPU has run this
        for (std::uint64_t cpu = 0; at == 0 && hypercall(PVN_SYSTEM_CPU_INFO, cpu, place(), 1) == 1; ++cpu) at = hypercall(PVN_SYSTEM_TRACE_READ, cpu, nowhere, 4);
        if (nowhere == 0) CHECK_EQUAL(at, -PVN_E_BAD_ADDRESS);
    }
    (void)fresh<char>();
    CHECK_EQUAL(hypercall(PVN_SYSTEM_LOG_READ, place(), 16, 0), 16);
    CHECK_EQUAL(memory[0], '(');  // "(pvn) Paravane"
}
