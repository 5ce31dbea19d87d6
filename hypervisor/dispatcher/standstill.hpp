// SPDX-License-Identifier: MIT
// One CPU works while all others run no guest and change nothing: for what has to see the machine in one moment, but takes too long
// for a lock.
#pragma once

namespace pvn::standstill {

// True: every other CPU waits, with interrupts on, until end().  This one is in a hypercall and holds no lock.  False: somebody else
// has brought them to a stand, or a CPU could not come to one (it may be waiting for a vCPU of this one, say); try again later.
[[nodiscard]] bool begin();
void end();

// A long piece of work between the two lets interrupts in here, now and then.
void breathe();

// On the way to a guest: waits while another CPU has all others stand.
void stand_if_asked();

}  // namespace pvn::standstill
