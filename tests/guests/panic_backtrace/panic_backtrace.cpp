// SPDX-License-Identifier: MIT
// A panic says where it happened, by name: here because dom0 asked for one with the debug key 'P'.
#include "guest.hpp"

char const guest_name[] = "panic_backtrace";

void guest_main()
{
    guest::install_traps();
    (void)hypercall(PVN_SYSTEM_DEBUG_KEY, 'P');
    guest::fail(__FILE__, __LINE__, "the machine has stopped", 0);
}
