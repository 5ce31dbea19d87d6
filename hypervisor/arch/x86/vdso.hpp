// SPDX-License-Identifier: MIT
// What a context inside the guest vDSO's return path means.
#pragma once

#include "arch/x86/registers.hpp"
#include "domain/vcpu.hpp"

namespace pvn::vdso {

// If `registers` stopped in return_from_trap after it had begun to undo the entry, finishes the return: registers, virtual
// interrupt flag and GS base become those of the frame it returns to.  False: the frame is not one that could be returned to;
// then nothing has changed, and the fault belongs to that frame's context.
bool finish_return(Vcpu&, Registers& registers);
// Where the frame that it returns to lies.
std::uint64_t frame_address(Registers const&);
// RIP lies where ring 1 has the user's GS base already.
bool user_gs_loaded(Registers const&);
// RIP lies in the part that finish_return() would finish.
bool returning(Registers const&);

}  // namespace pvn::vdso
