/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The back end of network cards: device.c is an interface of this domain and its states, queue.c the rings.
 */
#ifndef PARAVANE_NET_BACK_H
#define PARAVANE_NET_BACK_H

#include <linux/netdevice.h>
#include <linux/timer.h>

#include <paravane/net_ring.h>

#include "bus/bus.h"

/* Copies out of a front end that are made in one hypercall. */
#define COPIES		256
/* Copies to a front end: each page of it, and each page or fragment of the packet's, begins one. */
#define COPIES_OUT	(2 * PVN_NET_PAGES + MAX_SKB_FRAGS + 2)

struct back_ring {
	struct pvn_back_ring shared;
	u32 done;			/* requests taken, which is answers produced */
	u32 told;			/* so many of these, when the front end was last told */
};

struct back_queue {
	struct back *back;
	unsigned int index;
	unsigned int pages, slots;	/* of each ring */
	bool broken;			/* the front end broke the contract: nothing is taken or given any more */
	struct back_ring send;		/* what the guest sends */
	struct back_ring receive;
	/* of what the guest sends; NAPI's */
	struct napi_struct napi;
	struct page_pool *pool;
	struct sk_buff_head taken;	/* being copied */
	struct pvn_net_send piece[PVN_NET_FRAGMENTS];
	unsigned int copies;
	struct pvn_grant_copy copy[COPIES];
	s64 credit;			/* bytes that it may send now, if there is a rate */
	u64 credit_time;		/* ns; when that was so */
	struct timer_list more_credit;
	/* of what it receives; the transmit queue's lock guards them */
	bool stalled;			/* it has given no buffers for a while: packets are dropped */
	struct timer_list stall;
	struct pvn_grant_copy copy_out[COPIES_OUT];
};

struct back {
	struct pvn_back_end end;
	struct net_device *dev;
	u64 rate;			/* bytes per second that the guest may send; 0: any */
	unsigned int count;		/* of queues; 0: not connected */
	struct back_queue *queues;
};

/* -errno: what the front end wrote, or granted, cannot be used. */
int back_queue_open(struct back_queue *queue);
void back_queue_close(struct back_queue *queue);
/* Of the transmit queue of the same number. */
netdev_tx_t back_queue_give(struct back_queue *queue, struct sk_buff *skb);
int back_queue_poll(struct napi_struct *napi, int budget);

#endif
