/* SPDX-License-Identifier: MIT */
/*
 * The guest vDSO: code of Paravane that a guest kernel calls or jumps to in ring 1.  docs/abi/vdso.md
 */
#ifndef PARAVANE_VDSO_H
#define PARAVANE_VDSO_H

#include "slot.h"

/*
 * call: RAX = number, RDI RSI RDX R10 R8 R9 = arguments; RAX = result (negative: -PVN_E_...); RCX and R11 are lost.
 */
#define PVN_VDSO_HYPERCALL		(PVN_SLOT_VDSO + 0x000)

/*
 * jump: RSP points to a hardware frame (RIP, CS, RFLAGS, RSP, SS) with native selectors.  Sets the virtual
 * interrupt flag from RFLAGS.IF, delivers what is pending, loads the user's GS base if CS has RPL 3, and
 * returns to the frame.  All registers are those of the frame or of the caller.
 */
#define PVN_VDSO_RETURN_FROM_TRAP	(PVN_SLOT_VDSO + 0x040)

/* call: lets events through, and delivers those pending, before it returns.  Changes RFLAGS only. */
#define PVN_VDSO_UNMASK_EVENTS		(PVN_SLOT_VDSO + 0x100)

/* call: lets events through and waits for one, with no gap between.  RAX, RCX and R11 are lost. */
#define PVN_VDSO_BLOCK			(PVN_SLOT_VDSO + 0x140)

#endif
