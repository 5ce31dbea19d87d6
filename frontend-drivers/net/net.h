/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The front end of network devices: card.c is the device and its states, queue.c the rings.
 */
#ifndef PARAVANE_NET_FRONT_H
#define PARAVANE_NET_FRONT_H

#include <linux/netdevice.h>

#include <paravane/net_ring.h>

#include "bus/bus.h"

/* One ring, whichever way.  Each slot has a grant of its own for as long as the queue lives. */
struct net_ring {
	struct pvn_front_ring shared;
	u32 produced;			/* requests written */
	u32 published;			/* and told */
	u32 done;			/* answers taken */
	u32 *ref;			/* of each slot */
};

/* So large a packet is copied rather than its pages granted, whichever way it goes. */
#define NET_SMALL_BYTES		256
#define NET_SMALL		((struct sk_buff *)1)

struct net_queue {
	struct net_device *dev;
	unsigned int index;
	struct pvn_device *device;
	unsigned int pages, slots;	/* of each ring */
	struct napi_struct napi;
	struct timer_list refill;	/* when there was no memory for buffers */
	bool broken;			/* the back end broke the contract */
	const char *why_broken;
	struct net_ring send, receive;
	struct sk_buff **skb;		/* sent, by the packet's last slot; NET_SMALL: it was copied */
	unsigned int *sent_bytes;	/* likewise */
	u32 skbs_sent, skbs_taken;	/* not those that were copied */
	spinlock_t wanting;		/* to write answers_wanted, and: */
	bool relaxed;			/* nothing waits for answers (want_answers) */
	void *small;			/* room for a small packet in each slot, granted as long as the rings are there */
	u32 *small_ref;			/* of its pages */
	struct page_pool *pool;		/* of pages to be filled; NAPI's */
	struct page **page;		/* given to be filled, by slot */
};

struct card {
	struct pvn_device *device;
	struct net_device *dev;		/* NULL: none yet */
	unsigned int count;		/* of queues */
	struct net_queue *queues;
	bool open;			/* the rings are there */
	bool live;			/* and the back end has them */
	bool dead;
};

int net_queue_init(struct net_queue *queue, struct pvn_device *device, unsigned int pages);
void net_queue_exit(struct net_queue *queue);
int net_queue_open(struct net_queue *queue);
/* What is on its way is lost. */
void net_queue_close(struct net_queue *queue);
netdev_tx_t net_queue_send(struct net_queue *queue, struct sk_buff *skb);
int net_queue_poll(struct napi_struct *napi, int budget);

#endif
