/* SPDX-License-Identifier: MIT */
/*
 * A domain's way to the store: one page, two byte rings, one event port.  Messages (store.proto) stand in them one after the other,
 * each with its length before it.  Indices run free.  The daemon may be started anew at any time: it advances
 * `requests_consumed` by whole requests, and only after the answer is in the other ring, whole.  docs/abi/store.md
 */
#ifndef PARAVANE_STORE_RING_H
#define PARAVANE_STORE_RING_H

#include "base.h"

#define PVN_STORE_REQUESTS_SIZE	1024
#define PVN_STORE_ANSWERS_SIZE	2048

#define PVN_STORE_NOT_SERVED	0	/* yet, or no more; what is written waits */
#define PVN_STORE_SERVED	1
#define PVN_STORE_BROKEN	2	/* what was written made no sense: nothing will be answered any more */

struct pvn_store_ring {
	uint8_t requests[PVN_STORE_REQUESTS_SIZE];	/* guest to store */
	uint8_t answers[PVN_STORE_ANSWERS_SIZE];	/* store to guest */
	uint32_t requests_produced, requests_consumed;
	uint32_t answers_produced, answers_consumed;
	uint32_t state;					/* PVN_STORE_...; the store's word */
	uint8_t reserved[1004];
};
PVN_ASSERT_OFFSET(struct pvn_store_ring, answers, 1024);
PVN_ASSERT_OFFSET(struct pvn_store_ring, requests_produced, 3072);
PVN_ASSERT_SIZE(struct pvn_store_ring, PVN_PAGE_SIZE);

#endif
