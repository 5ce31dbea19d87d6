/* SPDX-License-Identifier: MIT */
/*
 * The console of a domU: one page, two byte rings, one event port.  Indices run free; a reader advances
 * `consumed` after it has read, a writer `produced` after it has written, then notifies.
 */
#ifndef PARAVANE_CONSOLE_RING_H
#define PARAVANE_CONSOLE_RING_H

#include "base.h"

#define PVN_CONSOLE_OUT_SIZE	2048
#define PVN_CONSOLE_IN_SIZE	1024

struct pvn_console_ring {
	uint8_t out[PVN_CONSOLE_OUT_SIZE];	/* guest to dom0 */
	uint8_t in[PVN_CONSOLE_IN_SIZE];	/* dom0 to guest */
	uint32_t out_produced, out_consumed;
	uint32_t in_produced, in_consumed;
	uint8_t reserved[1008];
};
PVN_ASSERT_OFFSET(struct pvn_console_ring, in, 2048);
PVN_ASSERT_OFFSET(struct pvn_console_ring, out_produced, 3072);
PVN_ASSERT_SIZE(struct pvn_console_ring, PVN_PAGE_SIZE);

#endif
