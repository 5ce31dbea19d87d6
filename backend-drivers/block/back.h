/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The back end of block devices: device.c is a device, queue.c the rings.
 */
#ifndef PARAVANE_BLOCK_BACK_H
#define PARAVANE_BLOCK_BACK_H

#include <linux/blkdev.h>
#include <linux/interrupt.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <paravane/block_ring.h>

#include "bus/bus.h"

/* Of data in the memory of this domain, for one queue: what goes beyond waits.  One request always fits. */
#define PAGES_OF_QUEUE	1024
/* Of these, side by side, and kept once something was asked for. */
#define POOL_ORDER	7
#define POOL_PAGES	(1 << POOL_ORDER)
/* Taken together, if they are there together. */
#define REQUESTS_AT_ONCE	8

struct back {
	struct pvn_back_end end;
	struct file *file;		/* the block device, open; NULL: not */
	struct block_device *bdev;
	bool read_only;
	unsigned int sector_mask;	/* of the device's sectors, in bytes */
	sector_t sectors;		/* as they were told */
	unsigned int count;		/* of queues */
	struct back_queue *queues;
};

/* To be done by one hypercall; one request's always fit. */
struct copies {
	unsigned int count;
	bool failed;			/* one that was done */
	struct pvn_grant_copy part[PVN_BLOCK_SEGMENTS];
};

struct job;

/* A request on its way from the ring to the device. */
struct taken {
	struct pvn_block_request request;
	const struct pvn_block_segment *segments;
	u64 sectors;
	struct job *job;
};

/* The segments of one request, in a list of its own.  None crosses a page. */
typedef struct pvn_block_segment segment_list[PVN_BLOCK_SEGMENTS];
static_assert(PAGE_SIZE % sizeof(segment_list) == 0);
#define LISTS_BYTES	(REQUESTS_AT_ONCE * sizeof(segment_list))

struct back_queue {
	struct back *back;
	unsigned int pages, slots;
	struct pvn_back_ring shared;
	struct task_struct *thread;	/* takes requests */
	bool asked;			/* it has to look */
	bool broken;			/* the front end broke the contract: nothing is taken or answered any more */
	u32 consumed;			/* requests taken: the thread's, as are the next */
	unsigned int cpu;		/* that had the ring's last interrupt */
	unsigned int elsewhere;		/* how many times in a row the thread was woken on another one, with nothing in flight */
	struct taken taken[REQUESTS_AT_ONCE];
	struct page *pool;		/* for data, side by side; NULL: there is none yet */
	segment_list *lists;		/* of those that are indirect */
	struct copies in;		/* lists, and what is written */
	struct work_struct finish;	/* in interrupts' bottom half: copies what was read, and answers */
	struct copies out;		/* that work's */
	struct pvn_last last;		/* what the call that waits copies and answers, */
	struct list_head last_jobs;	/* and those that are answered so */
	spinlock_t lock;		/* guards what follows */
	struct list_head done;		/* jobs that the device has done */
	u32 answered;
	bool starved;			/* requests wait for what those in flight will give back */
	unsigned int in_flight;
	unsigned int used_pages;	/* in the pool and beside it */
	DECLARE_BITMAP(pool_used, POOL_PAGES);
	wait_queue_head_t idle;		/* in_flight has become 0 */
};

/* Maps the rings and begins to serve.  -errno: what the front end granted cannot be used. */
int back_queue_open(struct back_queue *queue, unsigned int index);
/* Waits for the device to be done with everything. */
void back_queue_close(struct back_queue *queue);

#endif
