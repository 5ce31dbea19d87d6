/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The front end of block devices: disk.c is the device and its states, queue.c the rings.
 */
#ifndef PARAVANE_BLOCK_FRONT_H
#define PARAVANE_BLOCK_FRONT_H

#include <linux/blk-mq.h>
#include <linux/spinlock.h>

#include <paravane/block_ring.h>

#include "bus/bus.h"

/* A request takes one more, for the page with its segments. */
#define GRANTS_OF_REQUEST	(PVN_BLOCK_SEGMENTS + 1)
/* References that a queue sets aside: as many as that, at least. */
#define GRANTS_OF_QUEUE		1024

/* What stands behind each struct request. */
struct pvn_request {
	blk_status_t status;
	unsigned int grants;
	bool is_indirect;		/* the grant of that page is the first */
	struct page *indirect;		/* kept from one request to the next; NULL: none yet */
	u32 ref[GRANTS_OF_REQUEST];
};

struct pvn_queue {
	struct pvn_device *device;
	unsigned int pages, slots;
	struct pvn_front_ring shared;
	spinlock_t lock;		/* guards all that follows */
	struct pvn_ring *ring;		/* NULL: none */
	u32 produced;			/* requests written */
	u32 published;			/* of these, told to the back end */
	u32 consumed;			/* answers read */
	bool broken;			/* the back end's answers made no sense, or nobody is to be asked any more */
	struct request *in_flight[PVN_BLOCK_SLOTS(PVN_RING_PAGES)];	/* by tag */
	unsigned int refs;		/* free ones in `ref` */
	u32 *ref;
};

int pvn_queue_init(struct pvn_queue *queue, struct pvn_device *device, unsigned int pages);
void pvn_queue_exit(struct pvn_queue *queue);
/* Makes the ring, grants it, opens the port. */
int pvn_queue_open(struct pvn_queue *queue);
/* No request comes any more when this is called.  Those that were not answered are put back into Linux's queue. */
void pvn_queue_close(struct pvn_queue *queue);
/* Does not tell the back end yet. */
blk_status_t pvn_queue_request(struct pvn_queue *queue, struct request *request);
/* @soon: the back end may be told with the hypercall by which the task waits. */
void pvn_queue_publish(struct pvn_queue *queue, bool soon);
/* The end of a request that will not be used again. */
void pvn_queue_forget(struct pvn_request *own);

#endif
