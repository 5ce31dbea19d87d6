// SPDX-License-Identifier: GPL-2.0-only
/*
 * One ring of a block device: takes requests, does them, answers.  What stands in it is hostile: it is copied once, then
 * checked.  Data go through pages of this domain, by grant copy (docs/abi/block.md says why).
 */
#include <linux/bio.h>
#include <linux/io.h>
#include <linux/slab.h>

#include "back.h"

#define RETRY	(HZ / 50 ?: 1)	/* for memory, when nothing is in flight that would give some back */

/* A request that is being done.  The parts of its data: pages of this domain, and what they are copied from or to. */
struct job {
	struct back_queue *queue;
	u64 id;
	unsigned int count;
	struct pvn_grant_copy part[] __counted_by(count);
};

/* From the work, or from where a device ends a request. */
static void give_up(struct back_queue *queue, const char *why)
{
	if (xchg(&queue->broken, true))
		return;
	dev_err(&queue->back->end.device->dev, "the front end %s; it is not served any more\n", why);
	pvn_device_look(queue->back->end.device);
}

/* --- pages ------------------------------------------------------------------------------------------------------ */

static struct page *page_of(const struct pvn_grant_copy *part)
{
	return pfn_to_page(part->local >> PAGE_SHIFT);
}

static void give_pages(struct back_queue *queue, struct job *job, unsigned int count)
{
	unsigned long flags;
	unsigned int i = 0;

	spin_lock_irqsave(&queue->lock, flags);
	while (i < count && queue->spares < SPARE_PAGES)
		queue->spare[queue->spares++] = page_of(&job->part[i++]);
	queue->used_pages -= job->count;
	spin_unlock_irqrestore(&queue->lock, flags);
	while (i < count)
		__free_page(page_of(&job->part[i++]));
}

/* Counts @count pages and takes those that are spare; how many, or -1: that would be too many. */
static int take_pages(struct back_queue *queue, unsigned int count, struct page **pages)
{
	int spares = -1;

	spin_lock_irq(&queue->lock);
	if (queue->used_pages + count <= PAGES_OF_QUEUE) {
		queue->used_pages += count;
		spares = min(count, queue->spares);
		queue->spares -= spares;
		memcpy(pages, &queue->spare[queue->spares], spares * sizeof(*pages));
	}
	spin_unlock_irq(&queue->lock);
	return spares;
}

/* With a page for each part, at the same place in it as in the front end's.  NULL: not now. */
static struct job *make_job(struct back_queue *queue, const struct pvn_block_request *request,
			    const struct pvn_block_segment *segments)
{
	struct page **pages = queue->taken;
	unsigned int i;
	struct job *job = kmalloc(struct_size(job, part, request->segments), GFP_NOIO | __GFP_NOWARN);
	int spares;

	if (!job)
		return NULL;
	job->queue = queue;
	job->id = request->id;
	job->count = request->segments;
	spares = take_pages(queue, job->count, pages);
	if (spares < 0) {
		kfree(job);
		return NULL;
	}
	for (i = 0; i < job->count; i++) {
		struct page *page = i < spares ? pages[i] : alloc_page(GFP_NOIO | __GFP_NOWARN);

		if (!page) {
			give_pages(queue, job, i);
			kfree(job);
			return NULL;
		}
		job->part[i] = (struct pvn_grant_copy){
			.local = page_to_phys(page) + segments[i].offset,
			.ref = segments[i].ref,
			.domain = queue->back->end.device->other_domain,
			.offset = segments[i].offset,
			.bytes = segments[i].bytes,
		};
	}
	return job;
}

static void free_job(struct job *job)
{
	give_pages(job->queue, job, job->count);
	kfree(job);
}

/* Between this domain's pages and the front end's. */
static bool copy_data(struct job *job, bool to_front)
{
	unsigned int i;

	for (i = 0; to_front && i < job->count; i++)
		job->part[i].flags = PVN_GRANT_COPY_TO;
	return !job->count || !pvn_hypercall(PVN_GRANT_COPY, job->part, job->count);
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

static void answer(struct back_queue *queue, u64 id, int status)
{
	struct pvn_block_answer message = { .id = id, .status = status };
	unsigned long flags;
	bool tell = false;
	u32 old;

	spin_lock_irqsave(&queue->lock, flags);
	if (!READ_ONCE(queue->broken)) {
		old = queue->answered++;
		*(struct pvn_block_answer *)(queue->shared.mapped.address +
			PVN_BLOCK_ANSWER_OFFSET(queue->pages, old % queue->slots)) = message;
		smp_store_release(&queue->shared.ring->answers_produced, queue->answered);
		smp_mb();	/* the front end says what it wants, then looks */
		tell = pvn_ring_passes(old, queue->answered, READ_ONCE(queue->shared.ring->answers_wanted));
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	if (tell)
		pvn_notify(queue->shared.port);
}

static void left_flight(struct back_queue *queue)
{
	unsigned long flags;

	/* The queue may be gone as soon as this is 0 and the lock free: wake under it. */
	spin_lock_irqsave(&queue->lock, flags);
	if (queue->starved) {
		queue->starved = false;
		mod_delayed_work(block_work_queue, &queue->work, 0);
	}
	if (!--queue->in_flight)
		wake_up(&queue->idle);
	spin_unlock_irqrestore(&queue->lock, flags);
}

static void done(struct bio *bio)
{
	struct job *job = bio->bi_private;
	struct back_queue *queue = job->queue;
	int status = bio->bi_status == BLK_STS_OK ? 0 :
		     bio->bi_status == BLK_STS_NOTSUPP ? -PVN_E_NOT_IMPLEMENTED :
		     bio->bi_status == BLK_STS_NOSPC ? -PVN_E_NO_SPACE : -PVN_E_IO;

	if (!status && bio_op(bio) == REQ_OP_READ && !copy_data(job, true))
		give_up(queue, "took a page back that was being read to");
	bio_put(bio);
	answer(queue, job->id, status);
	free_job(job);
	left_flight(queue);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

/* Why a request breaks the contract; NULL: it does not. */
static const char *wrong(struct back_queue *queue, const struct pvn_block_request *request)
{
	bool data = request->operation == PVN_BLOCK_READ || request->operation == PVN_BLOCK_WRITE;
	bool indirect = request->flags & PVN_BLOCK_INDIRECT;

	if (request->operation > PVN_BLOCK_DISCARD || request->reserved ||
	    (request->flags & ~(PVN_BLOCK_FUA | PVN_BLOCK_INDIRECT)) || (!indirect && request->indirect))
		return "sent a request that there is not";
	if ((request->flags & PVN_BLOCK_FUA) && request->operation != PVN_BLOCK_WRITE)
		return "asked for what only a write can do";
	if (data ? !request->segments : request->segments || indirect)
		return "sent data where there are none, or none where there are";
	if (request->operation != PVN_BLOCK_DISCARD && request->sectors)
		return "sent sectors of nothing";
	if (request->segments > (indirect ? PVN_BLOCK_SEGMENTS : PVN_BLOCK_DIRECT))
		return "sent too many segments";
	return NULL;
}

static const char *wrong_segments(struct back_queue *queue, const struct pvn_block_segment *segments, unsigned int count)
{
	unsigned int mask = queue->back->sector_mask, i;

	for (i = 0; i < count; i++)
		if (!segments[i].bytes || ((segments[i].bytes | segments[i].offset) & mask) ||
		    segments[i].offset + segments[i].bytes > PAGE_SIZE)
			return "sent a segment that is no sectors of a page";
	return NULL;
}

static bool on_device(struct back_queue *queue, u64 sector, u64 count)
{
	u64 sectors = bdev_nr_sectors(queue->back->bdev);

	return count <= sectors && sector <= sectors - count &&
	       !((sector << SECTOR_SHIFT | count << SECTOR_SHIFT) & queue->back->sector_mask);
}

static blk_opf_t operation_of(const struct pvn_block_request *request)
{
	switch (request->operation) {
	case PVN_BLOCK_READ: return REQ_OP_READ;
	case PVN_BLOCK_FLUSH: return REQ_OP_WRITE | REQ_PREFLUSH;
	case PVN_BLOCK_DISCARD: return REQ_OP_DISCARD;
	default: return REQ_OP_WRITE | REQ_SYNC | REQ_IDLE | (request->flags & PVN_BLOCK_FUA ? REQ_FUA : 0);
	}
}

enum taken { TAKEN, NOT_NOW, BROKEN };

static enum taken broken(struct back_queue *queue, const char *why)
{
	give_up(queue, why);
	return BROKEN;
}

/* `request` is a private copy. */
static enum taken take(struct back_queue *queue, const struct pvn_block_request *request)
{
	const struct pvn_block_segment *segments = request->segment;
	const char *why = wrong(queue, request);
	u64 sectors = request->sectors;
	unsigned int i;
	struct job *job;
	struct bio *bio;

	if (why)
		return broken(queue, why);
	if (request->flags & PVN_BLOCK_INDIRECT) {
		struct pvn_grant_copy copy = {
			.ref = request->indirect, .domain = queue->back->end.device->other_domain,
			.bytes = request->segments * sizeof(*segments), .local = __pa(queue->list),
		};

		if (pvn_hypercall(PVN_GRANT_COPY, &copy, 1))
			return broken(queue, "did not grant its list of segments");
		segments = queue->list;
	}
	why = wrong_segments(queue, segments, request->segments);
	if (why)
		return broken(queue, why);
	for (i = 0; i < request->segments; i++)
		sectors += segments[i].bytes >> SECTOR_SHIFT;
	if (!on_device(queue, request->sector, sectors) || sectors > UINT_MAX >> SECTOR_SHIFT) {
		answer(queue, request->id, -PVN_E_RANGE);
		return TAKEN;
	}
	if (queue->back->read_only && request->operation != PVN_BLOCK_READ && request->operation != PVN_BLOCK_FLUSH) {
		answer(queue, request->id, -PVN_E_DENIED);
		return TAKEN;
	}
	job = make_job(queue, request, segments);
	if (!job)
		return NOT_NOW;
	if (request->operation == PVN_BLOCK_WRITE && !copy_data(job, false)) {
		free_job(job);
		return broken(queue, "did not grant what it wants to be written");
	}
	bio = bio_alloc(queue->back->bdev, request->segments, operation_of(request), GFP_NOIO);
	bio->bi_iter.bi_sector = request->sector;
	bio->bi_private = job;
	bio->bi_end_io = done;
	for (i = 0; i < job->count; i++)
		__bio_add_page(bio, page_of(&job->part[i]), job->part[i].bytes, job->part[i].offset);
	if (request->operation == PVN_BLOCK_DISCARD)
		bio->bi_iter.bi_size = sectors << SECTOR_SHIFT;
	spin_lock_irq(&queue->lock);
	queue->in_flight++;
	spin_unlock_irq(&queue->lock);
	submit_bio(bio);
	return TAKEN;
}

/* Whether it must be called again, for want of memory: at once when something comes back, else after a while. */
static bool take_requests(struct back_queue *queue)
{
	struct pvn_ring *ring = queue->shared.ring;
	struct pvn_block_request request;
	u32 produced;

	do {
		produced = smp_load_acquire(&ring->requests_produced);
		/* No more than the slots are unanswered, or the front end has written over its own. */
		if (produced - READ_ONCE(queue->answered) > queue->slots || produced - queue->consumed > queue->slots) {
			give_up(queue, "sent more requests than its ring holds");
			return false;
		}
		for (; queue->consumed != produced; queue->consumed++) {
			memcpy(&request, queue->shared.mapped.address + PVN_BLOCK_REQUEST_OFFSET(queue->consumed % queue->slots),
			       sizeof(request));
			barrier();	/* copied, before it is looked at */
			switch (take(queue, &request)) {
			case BROKEN: return false;
			case NOT_NOW: return true;
			case TAKEN: break;
			}
		}
		WRITE_ONCE(ring->requests_wanted, queue->consumed + 1);
		smp_mb();	/* say what is wanted, then look; the front end publishes, then looks at what is wanted */
	} while (queue->consumed != READ_ONCE(ring->requests_produced));
	return false;
}

static void serve(struct work_struct *work)
{
	struct back_queue *queue = container_of(to_delayed_work(work), struct back_queue, work);
	struct blk_plug plug;
	bool starved;

	if (READ_ONCE(queue->broken))
		return;
	blk_start_plug(&plug);
	starved = take_requests(queue);
	blk_finish_plug(&plug);
	if (!starved)
		return;
	spin_lock_irq(&queue->lock);
	queue->starved = queue->in_flight;
	if (!queue->starved)
		queue_delayed_work(block_work_queue, &queue->work, RETRY);
	spin_unlock_irq(&queue->lock);
}

static irqreturn_t requested(int irq, void *data)
{
	struct back_queue *queue = data;

	/* Not the dearer mod_delayed_work(): one that waits for memory can go on waiting. */
	queue_delayed_work(block_work_queue, &queue->work, 0);
	return IRQ_HANDLED;
}

/* --- the ring --------------------------------------------------------------------------------------------------- */

int back_queue_open(struct back_queue *queue, unsigned int index)
{
	int error;

	spin_lock_init(&queue->lock);
	init_waitqueue_head(&queue->idle);
	INIT_DELAYED_WORK(&queue->work, serve);
	queue->list = (void *)__get_free_page(GFP_KERNEL);
	if (!queue->list)
		return -ENOMEM;
	error = pvn_open_back_ring(&queue->shared, queue->back->end.device, "", index, queue->pages, requested, "pvn-block-back", queue);
	if (error)
		free_page((unsigned long)queue->list);
	return error;
}

void back_queue_close(struct back_queue *queue)
{
	if (!queue->shared.ring)
		return;
	/* Answers may still be told, so the port stays until there are none. */
	disable_irq(queue->shared.irq);
	cancel_delayed_work_sync(&queue->work);
	wait_event(queue->idle, !READ_ONCE(queue->in_flight));
	spin_lock_irq(&queue->lock);	/* whoever woke us has let it go */
	spin_unlock_irq(&queue->lock);
	cancel_delayed_work_sync(&queue->work);
	pvn_close_back_ring(&queue->shared, queue);
	while (queue->spares)
		__free_page(queue->spare[--queue->spares]);
	free_page((unsigned long)queue->list);
}
