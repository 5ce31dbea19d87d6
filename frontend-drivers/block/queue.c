// SPDX-License-Identifier: GPL-2.0-only
/*
 * One ring of a block device: requests out, answers in.  What the back end writes is read once and checked; the only
 * thing that it can break is this disk.
 */
#include <linux/interrupt.h>
#include <linux/slab.h>

#include "block.h"

static struct pvn_block_request *slot_of_request(struct pvn_queue *queue, u32 index)
{
	return (void *)queue->ring + PVN_BLOCK_REQUEST_OFFSET(index % queue->slots);
}

static struct pvn_block_answer *slot_of_answer(struct pvn_queue *queue, u32 index)
{
	return (void *)queue->ring + PVN_BLOCK_ANSWER_OFFSET(queue->pages, index % queue->slots);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static u32 grant_page(struct pvn_queue *queue, struct pvn_request *own, struct page *page, bool read_only)
{
	u32 ref = queue->ref[--queue->refs];

	own->ref[own->grants++] = ref;
	pvn_grant(ref, queue->device->other_domain, page, read_only);
	return ref;
}

/* Nobody else uses the pages any more, unless the back end does wrong: then they are not given back yet, nor used again. */
static void end_grants(struct pvn_queue *queue, struct pvn_request *own)
{
	unsigned int i;

	for (i = 0; i < own->grants; i++)
		if (pvn_grant_end_shared(own->ref[i]))
			queue->ref[queue->refs++] = own->ref[i];
		else if (!i && own->is_indirect)
			pvn_queue_forget(own);
	own->grants = 0;
	own->is_indirect = false;
}

void pvn_queue_forget(struct pvn_request *own)
{
	if (own->indirect)
		put_page(own->indirect);
	own->indirect = NULL;
}

/*
 * Sectors that lie side by side in one page are one segment: that is how Linux has counted them.  The list is only written:
 * the back end might change what it says.
 */
static unsigned int put_segments(struct pvn_queue *queue, struct request *request, struct pvn_block_segment *segment)
{
	struct pvn_request *own = blk_mq_rq_to_pdu(request);
	bool write = rq_data_dir(request) == WRITE;
	struct pvn_block_segment last = {};
	struct page *last_page = NULL;
	struct req_iterator iterator;
	unsigned int count = 0;
	struct bio_vec part;

	rq_for_each_segment(part, request, iterator) {
		if (part.bv_page == last_page && last.offset + last.bytes == part.bv_offset) {
			last.bytes += part.bv_len;
			segment[count - 1].bytes = last.bytes;
			continue;
		}
		last = (struct pvn_block_segment){
			.ref = grant_page(queue, own, part.bv_page, write), .offset = part.bv_offset, .bytes = part.bv_len,
		};
		last_page = part.bv_page;
		segment[count++] = last;
	}
	return count;
}

static u8 operation_of(struct request *request)
{
	switch (req_op(request)) {
	case REQ_OP_READ: return PVN_BLOCK_READ;
	case REQ_OP_FLUSH: return PVN_BLOCK_FLUSH;
	case REQ_OP_DISCARD: return PVN_BLOCK_DISCARD;
	default: return PVN_BLOCK_WRITE;
	}
}

blk_status_t pvn_queue_request(struct pvn_queue *queue, struct request *request)
{
	bool data = req_op(request) == REQ_OP_READ || req_op(request) == REQ_OP_WRITE;
	unsigned int segments = data ? blk_rq_nr_phys_segments(request) : 0;
	struct pvn_request *own = blk_mq_rq_to_pdu(request);
	struct pvn_block_request *message;
	unsigned long flags;

	own->status = BLK_STS_OK;
	own->grants = 0;
	own->is_indirect = segments > PVN_BLOCK_DIRECT;
	if (own->is_indirect && !own->indirect) {
		own->indirect = alloc_page(GFP_ATOMIC);
		if (!own->indirect)
			return BLK_STS_RESOURCE;
	}

	spin_lock_irqsave(&queue->lock, flags);
	if (!queue->ring || queue->broken || queue->refs < segments + own->is_indirect ||
	    queue->produced - queue->consumed >= queue->slots) {
		bool dead = queue->broken;

		spin_unlock_irqrestore(&queue->lock, flags);
		/* References come back with the answers to others, which run the queue again. */
		return dead ? BLK_STS_IOERR : BLK_STS_DEV_RESOURCE;
	}
	message = slot_of_request(queue, queue->produced++);
	message->id = request->tag;
	message->sector = req_op(request) == REQ_OP_FLUSH ? 0 : blk_rq_pos(request);
	message->sectors = req_op(request) == REQ_OP_DISCARD ? blk_rq_sectors(request) : 0;
	message->operation = operation_of(request);
	message->flags = (request->cmd_flags & REQ_FUA ? PVN_BLOCK_FUA : 0) | (own->is_indirect ? PVN_BLOCK_INDIRECT : 0);
	message->indirect = own->is_indirect ? grant_page(queue, own, own->indirect, true) : 0;
	message->reserved = 0;
	message->segments = !data ? 0 : put_segments(queue, request, own->is_indirect ? page_address(own->indirect) : message->segment);
	queue->in_flight[request->tag] = request;
	spin_unlock_irqrestore(&queue->lock, flags);
	return BLK_STS_OK;
}

static bool publish(struct pvn_queue *queue)
{
	u32 old = queue->published;

	if (!queue->ring || old == queue->produced)
		return false;
	queue->published = queue->produced;
	smp_store_release(&queue->ring->requests_produced, queue->produced);
	smp_mb();	/* the back end says what it wants, then looks; we publish, then look at what it wants */
	return pvn_ring_passes(old, queue->produced, READ_ONCE(queue->ring->requests_wanted));
}

void pvn_queue_publish(struct pvn_queue *queue, bool soon)
{
	unsigned long flags;
	bool tell;

	spin_lock_irqsave(&queue->lock, flags);
	tell = publish(queue);
	spin_unlock_irqrestore(&queue->lock, flags);
	if (tell && soon)
		pvn_notify_soon(queue->shared.port);
	else if (tell)
		pvn_notify(queue->shared.port);
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

static bool take_answer(struct pvn_queue *queue, struct list_head *done)
{
	struct pvn_block_answer answer = *(volatile struct pvn_block_answer *)slot_of_answer(queue, queue->consumed);
	struct pvn_request *own;
	struct request *request;

	if (answer.id >= ARRAY_SIZE(queue->in_flight) || !queue->in_flight[answer.id])
		return false;
	queue->consumed++;
	request = queue->in_flight[answer.id];
	queue->in_flight[answer.id] = NULL;
	own = blk_mq_rq_to_pdu(request);
	own->status = !answer.status ? BLK_STS_OK :
		      answer.status == -PVN_E_NOT_IMPLEMENTED ? BLK_STS_NOTSUPP :
		      answer.status == -PVN_E_NO_SPACE ? BLK_STS_NOSPC : BLK_STS_IOERR;
	end_grants(queue, own);
	list_add_tail(&request->queuelist, done);
	return true;
}

static void take_answers(struct pvn_queue *queue, struct list_head *done)
{
	struct pvn_ring *ring = queue->ring;
	u32 produced;

	do {
		produced = smp_load_acquire(&ring->answers_produced);
		if (produced - queue->consumed > queue->published - queue->consumed)
			goto broken;
		while (queue->consumed != produced)
			if (!take_answer(queue, done))
				goto broken;
		WRITE_ONCE(ring->answers_wanted, queue->consumed + 1);
		smp_mb();	/* as in publish() */
	} while (queue->consumed != READ_ONCE(ring->answers_produced));
	return;
broken:
	WRITE_ONCE(queue->broken, true);
	pvn_device_look(queue->device);
}

static irqreturn_t answered(int irq, void *data)
{
	struct pvn_queue *queue = data;
	struct request *request, *next;
	unsigned long flags;
	LIST_HEAD(done);

	spin_lock_irqsave(&queue->lock, flags);
	if (queue->ring && !queue->broken)
		take_answers(queue, &done);
	spin_unlock_irqrestore(&queue->lock, flags);
	/* Here and now: the CPU that asked is this one. */
	list_for_each_entry_safe(request, next, &done, queuelist) {
		list_del_init(&request->queuelist);
		blk_mq_end_request(request, ((struct pvn_request *)blk_mq_rq_to_pdu(request))->status);
	}
	return IRQ_HANDLED;
}

/* --- the ring --------------------------------------------------------------------------------------------------- */

int pvn_queue_init(struct pvn_queue *queue, struct pvn_device *device, unsigned int pages)
{
	int error;

	queue->device = device;
	queue->pages = pages;
	queue->slots = PVN_BLOCK_SLOTS(pages);
	spin_lock_init(&queue->lock);
	queue->ref = kmalloc_array(GRANTS_OF_QUEUE, sizeof(*queue->ref), GFP_KERNEL);
	if (!queue->ref)
		return -ENOMEM;
	for (queue->refs = GRANTS_OF_QUEUE;; queue->refs /= 2) {
		if (queue->refs < GRANTS_OF_REQUEST)
			queue->refs = GRANTS_OF_REQUEST;
		error = pvn_grant_reserve(queue->refs, queue->ref);
		if (!error)
			return 0;
		if (queue->refs == GRANTS_OF_REQUEST)
			break;
	}
	queue->refs = 0;
	return error;
}

void pvn_queue_exit(struct pvn_queue *queue)
{
	if (!queue->ref)
		return;
	pvn_grant_release(queue->refs, queue->ref);
	queue->refs = 0;
	kfree(queue->ref);
	queue->ref = NULL;
}

int pvn_queue_open(struct pvn_queue *queue)
{
	int error = pvn_open_front_ring(&queue->shared, queue->device->other_domain, queue->pages, answered, "pvn-block", queue);

	if (error)
		return error;
	spin_lock_irq(&queue->lock);
	queue->produced = queue->published = queue->consumed = 0;
	queue->broken = false;
	queue->ring = queue->shared.ring;
	spin_unlock_irq(&queue->lock);
	return 0;
}

void pvn_queue_close(struct pvn_queue *queue)
{
	unsigned int i;

	spin_lock_irq(&queue->lock);
	queue->ring = NULL;
	for (i = 0; i < ARRAY_SIZE(queue->in_flight); i++) {
		struct request *request = queue->in_flight[i];

		if (!request)
			continue;
		queue->in_flight[i] = NULL;
		end_grants(queue, blk_mq_rq_to_pdu(request));
		blk_mq_requeue_request(request, false);
	}
	spin_unlock_irq(&queue->lock);
	pvn_close_front_ring(&queue->shared, queue);
}
