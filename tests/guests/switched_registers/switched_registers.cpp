// SPDX-License-Identifier: MIT
// What a vCPU has in DR6 and TSC_AUX is its own while another domain runs on the same CPU: neither leaks, neither is lost.
#include "hostile.hpp"

char const guest_name[] = "switched_registers";

namespace {

std::uint32_t processor()
{
    std::uint32_t aux;
    asm volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
    return aux;
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    auto const self = guest::start().domain_id;
    CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 6) & 0xe00f, 0);
    CHECK_EQUAL(processor(), 0u);
    guest::let_others_run();
    CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 6) & 0xe00f, 0);
    CHECK_EQUAL(processor(), 0u);
    guest::let_others_run();
    for (std::uint64_t i = 0; i < 10; ++i) {
        auto const hits = (i + self) % 16;
        CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 6, hits), 0);
        asm volatile("wrmsr" : : "a"(0x1000 * self + i), "d"(0), "c"(0xc0000103) : "memory");
        guest::let_others_run();
        CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 6) & 0xe00f, static_cast<long>(hits));
        CHECK_EQUAL(processor(), 0x1000 * self + i);
    }
    // A value that is too wide is #GP, as on the CPU.
    CHECK_EQUAL(guest::catch_trap([] { asm volatile("wrmsr" : : "a"(0), "d"(1), "c"(0xc0000103) : "memory"); }).vector, 13);
    CHECK_EQUAL(processor(), 0x1000 * self + 9);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, 0, 0, 0), -PVN_E_INVALID);  // nothing could end it
}
