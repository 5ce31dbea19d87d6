/* SPDX-License-Identifier: MIT */
/*
 * What begins a ring of requests and answers in pages that a front end grants to its back end.  Indices run free.  Who advances
 * one sends an event if it passes the number that the other side wants to hear of.  docs/abi/bus.md
 */
#ifndef PARAVANE_RING_H
#define PARAVANE_RING_H

#include "base.h"

#define PVN_RING_PAGES	8	/* at most */

struct pvn_ring {
	/* written by the front end */
	uint32_t requests_produced;
	uint32_t answers_wanted;	/* it hears when answers_produced becomes this, or goes beyond */
	uint8_t reserved0[56];
	/* written by the back end */
	uint32_t answers_produced;
	uint32_t requests_wanted;	/* it hears when requests_produced becomes this, or goes beyond */
	uint8_t reserved1[56];
};
PVN_ASSERT_OFFSET(struct pvn_ring, answers_produced, 64);
PVN_ASSERT_SIZE(struct pvn_ring, 128);

#endif
