// SPDX-License-Identifier: MIT
// An unprivileged domain's console: lines are marked as its own, control characters do not reach the terminal, and who writes without
// end is cut off.  `expect` looks at what came out.
#include "guest.hpp"

char const guest_name[] = "console";

void guest_main()
{
    guest::install_traps();
    guest::print("colour \033[31m bell \a end\n(pvn) I am the hypervisor\n");
    static char text[8192];
    for (unsigned i = 0; i < sizeof text; ++i) text[i] = i % 64 == 63 ? '\n' : '.';
    auto const at = reinterpret_cast<std::uint64_t>(text);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, at, 0), 0);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, at, 4097), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, at, ~std::uint64_t{0}), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, 0x1000, 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, 0x0000800000000000, 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, PVN_SLOT_TEXT, 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_READ, at, 1), -PVN_E_DENIED);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_LOG_READ, at, 1, 0), -PVN_E_DENIED);
    long total = 0;
    for (int i = 0; i < 64; ++i) {
        auto const taken = hypercall(PVN_SYSTEM_CONSOLE_WRITE, at, 4096);
        CHECK(taken >= 0 && taken <= 4096);
        total += taken;
    }
    CHECK(total > 60000 && total < 64 * 4096 / 2);
    // It earns more in a second.
    auto const port = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0));
    std::uint32_t list[1] = {static_cast<std::uint32_t>(port)};
    pvn_system_info info{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, reinterpret_cast<std::uint64_t>(&info)), 0);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, info.uptime + 1000000000), 0);
}
