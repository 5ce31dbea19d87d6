// SPDX-License-Identifier: MIT
// Debug registers must not watch the slot nor trap the hypervisor's own use of them, by hypercall and by MOV.  A breakpoint on the
// hypervisor's own addresses outside the slot (which are ordinary addresses to a guest) must not stop it.
#include "hostile.hpp"

char const guest_name[] = "hostile_debug";

namespace {

constexpr std::uint64_t slot_addresses[] = {PVN_SLOT_BASE, PVN_SLOT_BASE + 1, PVN_SLOT_VDSO, PVN_SLOT_CPU_TABLES, PVN_SLOT_ENTRY_STACKS + 0x1ff8,
                                            PVN_SLOT_VCPU_PAGE, PVN_SLOT_DOMAIN_PAGE, PVN_SLOT_P2M, PVN_SLOT_M2P, PVN_SLOT_END - 1, PVN_SLOT_END - 8};

bool refused_by_mov(unsigned index, std::uint64_t value)
{
    auto const caught = guest::catch_trap([=] {
        switch (index) {
        case 0: asm volatile("mov %0, %%dr0" : : "r"(value)); break;
        case 1: asm volatile("mov %0, %%dr1" : : "r"(value)); break;
        case 2: asm volatile("mov %0, %%dr2" : : "r"(value)); break;
        case 3: asm volatile("mov %0, %%dr3" : : "r"(value)); break;
        default: asm volatile("mov %0, %%dr7" : : "r"(value)); break;
        }
    });
    CHECK(caught.vector == -1 || caught.vector == 13);
    return caught.vector == 13;
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    for (std::uint64_t index = 0; index < 4; ++index) {
        for (auto const address : slot_addresses) {
            CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, index, address), -PVN_E_INVALID);
            CHECK(refused_by_mov(static_cast<unsigned>(index), address));
        }
        for (auto const address : {0x0000800000000000ul, 0xffff7ffffffffffful}) {
            CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, index, address), -PVN_E_INVALID);
            CHECK(refused_by_mov(static_cast<unsigned>(index), address));
        }
        CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, index), 0);
    }
    // General detect, I/O breakpoints, high bits.
    for (auto const value : {0x2400ul, 0x2000ul, 0x20401ul, 0x200404ul, 1ul << 32, ~0ul}) {
        CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, value), -PVN_E_INVALID);
        CHECK(refused_by_mov(7, value));
    }
    for (auto const index : {4ul, 5ul, 8ul, ~0ul, 1ul << 32}) {
        CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, index, 0), -PVN_E_INVALID);
        CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, index), -PVN_E_INVALID);
    }
    CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 7), 0x400);

    // The stub's text says where the hypervisor's first function is: movabs $address, %rax; call.
    auto const* const text = reinterpret_cast<unsigned char const*>(PVN_SLOT_TEXT);
    unsigned found = 0;
    for (unsigned i = 0; i < 0x480 && found < 4; ++i) {
        if (text[i] != 0x48 || text[i + 1] != 0xb8 || text[i + 10] != 0xe8) continue;
        std::uint64_t function;
        memcpy(&function, text + i + 2, 8);
        CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, found, function), 0);
        ++found;
    }
    CHECK(found >= 2);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, 0x4ff), 0);  // execution, all four
    for (unsigned i = 0; i < 100; ++i) CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);

    // The same as watchpoints, on the stack that it uses.
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, 0), 0);
    for (std::uint64_t i = 0; i < 4; ++i) CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, i, 0xffff808000014000 - 8 - 8 * i), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, 0xbbbb04ff), 0);
    for (unsigned i = 0; i < 100; ++i) CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, 0), 0);

    // Watchpoints of one's own still work.
    static std::uint64_t volatile watched;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 0, reinterpret_cast<std::uint64_t>(&watched)), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, 0xd0401), 0);
    CHECK_EQUAL(guest::catch_trap([] { watched = 1; }).vector, 1);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, 0), 0);
}
