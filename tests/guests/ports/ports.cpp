// SPDX-License-Identifier: MIT
// A guest kernel's port instructions reach the ports that its domain has; ring 3 reaches those of them that the kernel gives to it, and
// none before that.  Else every process of dom0 could drive its disks.
#include "hostile.hpp"

char const guest_name[] = "ports";

extern "C" char user_cmos[], user_pic[], user_debug[];
asm(R"(
.section .user, "ax"
.global user_cmos, user_pic, user_debug
user_cmos: in $0x71, %al; int $0x80
user_pic: in $0x21, %al; int $0x80
user_debug: in $0xed, %eax; int $0x80
.text
)");

namespace {

constexpr std::uint64_t trapped = 13, done = PVN_TRAP_INT80, bytes = 8192;
std::uint8_t* bitmap;

std::uint64_t try_user(char const* code)
{
    auto const vector = guest::run_user(guest::user_context(code)).registers.vector;
    guest::vcpu().event_mask = 1;
    return vector;
}

long set(void const* address, std::uint64_t count) { return hypercall(PVN_VCPU_SET_IO_BITMAP, reinterpret_cast<std::uint64_t>(address), count); }

std::uint8_t cmos(std::uint8_t index)
{
    std::uint8_t value;
    asm volatile("out %%al, $0x70; in $0x71, %%al" : "=a"(value) : "a"(index));
    return value;
}

void of_ring_1(bool has_ports)
{
    // Register D of the clock: valid RAM and time.  [mc146818] Register D
    CHECK_EQUAL(cmos(0x0d), has_ports ? 0x80 : 0xff);

    // Strings: 16 times the same register, into memory that crosses a page and not beyond.
    auto* const page = bitmap;
    memset(page, 0x55, bytes);
    auto* to = page + 4096 - 8;
    std::uint64_t count = 16;
    auto const string = [&] { asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(0x71) : "memory"); };
    if (has_ports) {
        asm volatile("out %%al, $0x70" : : "a"(0x0d));
        CHECK_EQUAL(guest::catch_trap(string).vector, -1);
        CHECK_EQUAL(count, 0u);
        CHECK(to == page + 4096 + 8);
        for (int i = 4080; i < 4112; ++i) CHECK_EQUAL(page[i], i >= 4088 && i < 4104 ? 0x80 : 0x55);
        // More than one trap moves.
        to = page, count = bytes - 1;
        asm volatile("out %%al, $0x70" : : "a"(0x0d));
        CHECK_EQUAL(guest::catch_trap(string).vector, -1);
        CHECK_EQUAL(count, 0u);
        CHECK(page[bytes - 2] == 0x80 && page[bytes - 1] == 0x55);
        // To memory that is not there: the fault is the guest's, and no byte has been lost.
        to = reinterpret_cast<std::uint8_t*>(PVN_SLOT_CPU_TABLES), count = 1;
        CHECK_EQUAL(guest::catch_trap(string).vector, trapped);
        CHECK_EQUAL(count, 1u);
    } else {
        CHECK_EQUAL(guest::catch_trap(string).vector, trapped);
    }
    // Across the end of what it has: the four ports from 0x1f into the interrupt controller's.
    std::uint32_t wide;
    asm volatile("in %%dx, %%eax" : "=a"(wide) : "d"(0x1e), "a"(0));
    CHECK_EQUAL(wide, 0xffffffffu);
}

}  // namespace

void guest_main()
{
    guest::use_user_memory();
    guest::install_traps();
    bool const has_ports = (guest::start().flags & PVN_START_PRIVILEGED) != 0;
    bitmap = static_cast<std::uint8_t*>(guest::allocate_page());
    (void)guest::allocate_page();
    of_ring_1(has_ports);

    // Nothing at first; then one port; never Paravane's own, nor what the domain has not.
    CHECK_EQUAL(try_user(user_cmos), trapped);
    memset(bitmap, 0xff, bytes);
    bitmap[0x71 / 8] = static_cast<std::uint8_t>(~(1u << 0x71 % 8));
    CHECK_EQUAL(set(bitmap, 0x71 / 8 + 1), 0);
    CHECK_EQUAL(try_user(user_cmos), has_ports ? done : trapped);
    CHECK_EQUAL(try_user(user_pic), trapped);
    CHECK_EQUAL(try_user(user_debug), trapped);
    memset(bitmap, 0, bytes);
    CHECK_EQUAL(try_user(user_debug), trapped);  // it was a copy
    CHECK_EQUAL(set(bitmap, bytes), 0);
    CHECK_EQUAL(try_user(user_debug), has_ports ? done : trapped);
    CHECK_EQUAL(try_user(user_pic), trapped);
    // Another one replaces it.
    CHECK_EQUAL(set(bitmap, 1), 0);
    CHECK_EQUAL(try_user(user_cmos), trapped);
    CHECK_EQUAL(set(bitmap, bytes), 0);
    // Refused calls change nothing.
    CHECK_EQUAL(set(bitmap + 4, 1), -PVN_E_INVALID);
    CHECK_EQUAL(set(bitmap, bytes + 1), -PVN_E_INVALID);
    CHECK_EQUAL(set(bitmap, 0), -PVN_E_INVALID);
    CHECK_EQUAL(set(nullptr, 1), -PVN_E_INVALID);
    CHECK_EQUAL(set(reinterpret_cast<void*>(PVN_SLOT_CPU_TABLES), 8), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(set(reinterpret_cast<void*>(0x12345000), bytes), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(try_user(user_cmos), has_ports ? done : trapped);
    CHECK_EQUAL(set(nullptr, 0), 0);
    CHECK_EQUAL(try_user(user_cmos), trapped);

    // dom0 ends the machine: not before the other has had its say.
    for (pvn_domain_info other{}; has_ports && (other.flags & PVN_DOMAIN_SHUT_DOWN) == 0;) {
        (void)hypercall(PVN_SCHED_YIELD);
        CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, 1, reinterpret_cast<std::uint64_t>(&other), 1), 1);
    }
}
