/* SPDX-License-Identifier: MIT */
/*
 * The errors of all hypercalls.  A call returns -PVN_E_...; the values are those of the errno of the same
 * meaning in Linux, so that a port can pass them on.
 */
#ifndef PARAVANE_ERRORS_H
#define PARAVANE_ERRORS_H

#define PVN_E_DENIED		1	/* the caller lacks the permission */
#define PVN_E_NOT_FOUND		2	/* no such domain, vCPU, port, ... */
#define PVN_E_IO		5	/* a device could not do it */
#define PVN_E_AGAIN		11	/* cannot be done now; nothing changed; try again */
#define PVN_E_NO_MEMORY		12	/* no frame or no descriptor left */
#define PVN_E_BAD_ADDRESS	14	/* an argument's address is not mapped as it must be */
#define PVN_E_BUSY		16	/* in use: still referenced, still bound, still running */
#define PVN_E_EXISTS		17	/* it is there already */
#define PVN_E_INVALID		22	/* an argument out of its range, or a reserved field that is not zero */
#define PVN_E_NO_SPACE		28	/* a table of fixed size is full (ports, queue) */
#define PVN_E_RANGE		34	/* a frame or address that this domain does not have */
#define PVN_E_NOT_IMPLEMENTED	38	/* unknown hypercall number or operation */
#define PVN_E_WRONG_TYPE	71	/* the frame is in use as something else (page table, writable, ...) */
#define PVN_E_NOT_LISTENING	107	/* nobody there has bound what would tell it */
#define PVN_E_SHUT_DOWN		108	/* that domain has ended */

#endif
