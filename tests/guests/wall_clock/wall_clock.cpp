// SPDX-License-Identifier: MIT
// dom0 sets the wall clock, and every domain sees it in its page, whole; others may not.  Debug keys are dom0's as well.
#include "hostile.hpp"

char const guest_name[] = "wall_clock";

namespace {

struct Wall {
    std::uint64_t seconds, nanoseconds;
};
Wall read()
{
    auto const volatile& page = guest::domain();
    for (;;) {
        auto const version = page.wall_version;
        Wall const wall{page.wall_seconds, page.wall_nanoseconds};
        if ((version & 1) == 0 && version == page.wall_version) return wall;
    }
}
constexpr std::uint64_t second = 1000000000, then = 4102444800;  // 2100-01-01

}  // namespace

void guest_main()
{
    guest::install_traps();
    if ((guest::start().flags & PVN_START_PRIVILEGED) == 0) {
        CHECK_EQUAL(hypercall(PVN_TIME_SET_WALL_CLOCK, then, 0, 0), -PVN_E_DENIED);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_DEBUG_KEY, 'h'), -PVN_E_DENIED);
        CHECK(read().seconds > 1500000000);
        while (read().seconds < then - 100000) (void)hypercall(PVN_SCHED_YIELD);
        CHECK_EQUAL(read().seconds, then - 2);
        CHECK_EQUAL(read().nanoseconds, second - 1);
        guest::print("the other domain sees it\n");
        return;
    }
    auto const at_boot = read();
    CHECK(at_boot.seconds > 1500000000 && at_boot.seconds < then);
    CHECK_EQUAL(hypercall(PVN_TIME_SET_WALL_CLOCK, then, second, 0), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_TIME_SET_WALL_CLOCK, ~0ull, 0, 0), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_TIME_SET_WALL_CLOCK, 1, 0, second + 1), -PVN_E_INVALID);
    CHECK_EQUAL(read().seconds, at_boot.seconds);
    // It was `then` one second and a nanosecond after the start.
    CHECK_EQUAL(hypercall(PVN_TIME_SET_WALL_CLOCK, then - 1, 0, 1), 0);
    CHECK_EQUAL(read().seconds, then - 2);
    CHECK_EQUAL(read().nanoseconds, second - 1);

    for (char const key : {'a', 'd', 'h', 'r', 'v'}) CHECK_EQUAL(hypercall(PVN_SYSTEM_DEBUG_KEY, static_cast<std::uint64_t>(key)), 0);
    for (std::uint64_t const key : {0ull, 'z' + 0ull, 255ull, 256ull + 'h', ~0ull}) CHECK_EQUAL(hypercall(PVN_SYSTEM_DEBUG_KEY, key), -PVN_E_INVALID);
    guest::list_results();
    guest::print("set\n");
    for (;;) (void)hypercall(PVN_SCHED_YIELD);  // the other one's verdict counts
}
