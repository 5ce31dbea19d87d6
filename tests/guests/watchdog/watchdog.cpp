// SPDX-License-Identifier: MIT
// A CPU that hangs in the hypervisor is found by another one, which has nothing to do: it says where it hangs, by name, and the
// machine ends.  Here because dom0 asked for that with the debug key 'H'.  Otherwise such a machine would just stand still.
#include "guest.hpp"

char const guest_name[] = "watchdog";

void guest_main()
{
    guest::install_traps();
    (void)hypercall(PVN_SYSTEM_DEBUG_KEY, 'H');
    guest::fail(__FILE__, __LINE__, "the machine goes on", 0);
}
