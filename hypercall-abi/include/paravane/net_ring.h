/* SPDX-License-Identifier: MIT */
/*
 * Packets between the two sides of a network device: two rings for each queue, one each way.  Both are used in order.
 * docs/abi/net.md
 */
#ifndef PARAVANE_NET_RING_H
#define PARAVANE_NET_RING_H

#include "ring.h"

#define PVN_NET_QUEUES		16	/* at most, of one device */
#define PVN_NET_FRAGMENTS	64	/* at most, that a front end sends in one packet */
#define PVN_NET_PAGES		18	/* at most, that a packet to the front end takes */
#define PVN_NET_PACKET_MAX	65549	/* bytes: 64 KiB less one of IP, and an Ethernet header */

#define PVN_NET_MORE		1	/* the packet goes on in the next slot */

/* What is left to the other side to do, or has been done; the meaning of a packet's first slot.  Zeroes: nothing. */
#define PVN_NET_NEEDS_CSUM	1	/* from csum_start on, to be put csum_offset bytes further */
#define PVN_NET_CSUM_OK		2	/* the checksums of transport are right */
#define PVN_NET_GSO_TCP4	1
#define PVN_NET_GSO_TCP6	2
#define PVN_NET_GSO_ECN		0x80	/* with one of these */

struct pvn_net_offload {
	uint8_t flags;			/* PVN_NET_NEEDS_CSUM, ... */
	uint8_t gso;			/* 0: it is one packet; else PVN_NET_GSO_... */
	uint16_t header_bytes;		/* of a packet to be divided */
	uint16_t gso_bytes;		/* of payload in each part */
	uint16_t csum_start, csum_offset;
	uint16_t reserved;		/* zero */
};
PVN_ASSERT_SIZE(struct pvn_net_offload, 12);

/* From the front end: a piece of a packet.  `answers_produced` says how many are done with; there is nothing else to say of them. */
struct pvn_net_send {
	uint32_t ref;
	uint16_t offset, bytes;		/* in the granted page */
	uint16_t flags;			/* PVN_NET_MORE */
	uint16_t reserved;		/* zero */
	uint32_t total;			/* bytes of the packet; in its first slot */
	struct pvn_net_offload offload;	/* likewise */
	uint32_t reserved2;		/* zero */
};
PVN_ASSERT_SIZE(struct pvn_net_send, 32);

/* To the front end: it gives whole pages, ... */
struct pvn_net_buffer {
	uint32_t ref;
	uint32_t reserved;		/* zero */
};
PVN_ASSERT_SIZE(struct pvn_net_buffer, 8);

/* ... and these say, in the same order, what is in them now, from the first byte on. */
struct pvn_net_received {
	uint16_t bytes;
	uint16_t flags;			/* PVN_NET_MORE */
	struct pvn_net_offload offload;	/* in a packet's first */
};
PVN_ASSERT_SIZE(struct pvn_net_received, 16);

/* In a ring of `pages` (1, 2, 4 or 8): after struct pvn_ring, so many of the first, then (receiving) as many of the second. */
#define PVN_NET_SLOTS(pages)			(64u * (pages))
#define PVN_NET_SEND_OFFSET(slot)		(sizeof(struct pvn_ring) + (slot) * sizeof(struct pvn_net_send))
#define PVN_NET_BUFFER_OFFSET(slot)		(sizeof(struct pvn_ring) + (slot) * sizeof(struct pvn_net_buffer))
#define PVN_NET_RECEIVED_OFFSET(pages, slot)	(PVN_NET_BUFFER_OFFSET(PVN_NET_SLOTS(pages)) + (slot) * sizeof(struct pvn_net_received))
PVN_STATIC_ASSERT(PVN_NET_SEND_OFFSET(PVN_NET_SLOTS(1)) <= PVN_PAGE_SIZE, "a ring of one page");
PVN_STATIC_ASSERT(PVN_NET_RECEIVED_OFFSET(1, PVN_NET_SLOTS(1)) <= PVN_PAGE_SIZE, "a ring of one page");

#endif
