/* SPDX-License-Identifier: GPL-2.0-only */
/* What /dev/pvn tells the daemon of this kernel's own ring. */
#ifndef PARAVANE_STORE_H
#define PARAVANE_STORE_H

#include <linux/types.h>

int pvn_store_ring(u64 *pfn, u32 *port);

#endif
