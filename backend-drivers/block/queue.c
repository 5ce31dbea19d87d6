// SPDX-License-Identifier: GPL-2.0-only
/*
 * One ring of a block device: takes requests, does them, answers.  What stands in it is hostile: it is copied once, then
 * checked.  Data go through pages of this domain, by grant copy (docs/abi/block.md says why).  What is there at once is
 * copied at once, in and out: each hypercall changes the address space twice.
 */
#include <linux/bio.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "back.h"

#define ELSEWHERE	32	/* wake-ups */
#define RETRY	(HZ / 50 ?: 1)	/* for memory, when nothing is in flight that would give some back */

/* A request that is being done.  The parts of its data: pages of this domain, and what they are copied from or to. */
struct job {
	struct back_queue *queue;
	struct list_head done;
	u64 id;
	int status;
	bool read;
	struct page *run;	/* its pages, side by side in the queue's pool; NULL: single ones */
	unsigned int count;
	struct pvn_grant_copy part[] __counted_by(count);
};

/* From the thread, or from where a device ends a request. */
static void give_up(struct back_queue *queue, const char *why)
{
	if (xchg(&queue->broken, true))
		return;
	dev_err(&queue->back->end.device->dev, "the front end %s; it is not served any more\n", why);
	pvn_device_look(queue->back->end.device);
}

/* There may be something in the ring, or memory for what is. */
static void ask(struct back_queue *queue)
{
	WRITE_ONCE(queue->asked, true);
	wake_up_process(queue->thread);
}

/* --- pages ------------------------------------------------------------------------------------------------------ */

static struct page *page_of(const struct pvn_grant_copy *part)
{
	return pfn_to_page(part->local >> PAGE_SHIFT);
}

/* Its first @count pages are there. */
static void give_pages(struct back_queue *queue, struct job *job, unsigned int count)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&queue->lock, flags);
	if (job->run)
		bitmap_clear(queue->pool_used, job->run - queue->pool, job->count);
	queue->used_pages -= job->count;
	spin_unlock_irqrestore(&queue->lock, flags);
	for (i = 0; i < count && !job->run; i++)
		__free_page(page_of(&job->part[i]));
}

/*
 * Counts the job's pages, and takes them from the pool if so many are free there side by side: for the device they are one piece
 * then, since frames of dom0 are where its pages are.  False: they would be too many.
 */
static bool take_pages(struct back_queue *queue, struct job *job)
{
	bool enough;

	if (!queue->pool)	/* what is free now, or the next time: nothing is reclaimed for it */
		queue->pool = alloc_pages(__GFP_NOWARN, POOL_ORDER);
	job->run = NULL;
	spin_lock_irq(&queue->lock);
	enough = queue->used_pages + job->count <= PAGES_OF_QUEUE;
	if (enough) {
		unsigned long first = bitmap_find_next_zero_area(queue->pool_used, POOL_PAGES, 0, job->count, 0);

		queue->used_pages += job->count;
		if (queue->pool && first < POOL_PAGES) {
			bitmap_set(queue->pool_used, first, job->count);
			job->run = queue->pool + first;
		}
	}
	spin_unlock_irq(&queue->lock);
	return enough;
}

/* With a page for each part, at the same place in it as in the front end's.  NULL: not now. */
static struct job *make_job(struct back_queue *queue, const struct pvn_block_request *request,
			    const struct pvn_block_segment *segments)
{
	struct job *job = kmalloc(struct_size(job, part, request->segments), GFP_NOIO | __GFP_NOWARN);
	unsigned int i;

	if (!job)
		return NULL;
	job->queue = queue;
	job->id = request->id;
	job->read = request->operation == PVN_BLOCK_READ;
	job->count = request->segments;
	if (!take_pages(queue, job)) {
		kfree(job);
		return NULL;
	}
	for (i = 0; i < job->count; i++) {
		struct page *page = job->run ? job->run + i : alloc_page(GFP_NOIO | __GFP_NOWARN);

		if (!page) {
			give_pages(queue, job, i);
			kfree(job);
			return NULL;
		}
		job->part[i] = (struct pvn_grant_copy){
			.local = page_to_phys(page) + segments[i].offset,
			.ref = segments[i].ref,
			.domain = queue->back->end.device->other_domain,
			.flags = job->read ? PVN_GRANT_COPY_TO : 0,
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

/* --- copies ----------------------------------------------------------------------------------------------------- */

static void do_copies(struct copies *copies)
{
	if (copies->count && pvn_hypercall(PVN_GRANT_COPY, copies->part, copies->count))
		copies->failed = true;
	copies->count = 0;
}

static void add_copies(struct copies *copies, const struct pvn_grant_copy *part, unsigned int count)
{
	if (copies->count + count > ARRAY_SIZE(copies->part))
		do_copies(copies);
	memcpy(&copies->part[copies->count], part, count * sizeof(*part));
	copies->count += count;
}

/* Whether all of them were done since this was last asked. */
static bool end_copies(struct copies *copies)
{
	bool fine;

	do_copies(copies);
	fine = !copies->failed;
	copies->failed = false;
	return fine;
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

/* Under the lock, and not published.  Whether the front end wants to be told of that one, as far as it has said so. */
static bool write_answer(struct back_queue *queue, u32 index, u64 id, int status)
{
	struct pvn_block_answer message = { .id = id, .status = status };

	*(struct pvn_block_answer *)(queue->shared.mapped.address +
		PVN_BLOCK_ANSWER_OFFSET(queue->pages, index % queue->slots)) = message;
	return pvn_ring_passes(index, index + 1, READ_ONCE(queue->shared.ring->answers_wanted));
}

/* Under the lock.  Whether the front end wants to be told. */
static bool put_answer(struct back_queue *queue, u64 id, int status)
{
	u32 old = queue->answered++;

	write_answer(queue, old, id, status);
	smp_store_release(&queue->shared.ring->answers_produced, queue->answered);
	smp_mb();	/* the front end says what it wants, then looks */
	return pvn_ring_passes(old, queue->answered, READ_ONCE(queue->shared.ring->answers_wanted));
}

static void answer(struct back_queue *queue, u64 id, int status)
{
	unsigned long flags;
	bool tell;

	spin_lock_irqsave(&queue->lock, flags);
	tell = !READ_ONCE(queue->broken) && put_answer(queue, id, status);
	spin_unlock_irqrestore(&queue->lock, flags);
	if (tell)
		pvn_notify(queue->shared.port);
}

static void left_flight(struct back_queue *queue, unsigned int count)
{
	unsigned long flags;

	/* The queue may be gone as soon as this is 0 and the lock free: wake under it. */
	spin_lock_irqsave(&queue->lock, flags);
	if (queue->starved) {
		queue->starved = false;
		ask(queue);
	}
	queue->in_flight -= count;
	if (!queue->in_flight && wq_has_sleeper(&queue->idle))
		wake_up(&queue->idle);
	spin_unlock_irqrestore(&queue->lock, flags);
}

/* They have been answered, if all was `fine`. */
static void end_jobs(struct back_queue *queue, struct list_head *jobs, bool fine)
{
	unsigned int count = 0;
	struct job *job, *next;

	if (!fine)
		give_up(queue, "took a page back that was being read to");
	list_for_each_entry_safe(job, next, jobs, done) {
		free_job(job);
		count++;
	}
	left_flight(queue, count);
}

/* What was read has been copied, if all is `fine`. */
static void answer_all(struct back_queue *queue, struct list_head *jobs, bool fine)
{
	unsigned long flags;
	bool tell = false;
	struct job *job;

	spin_lock_irqsave(&queue->lock, flags);
	list_for_each_entry(job, jobs, done)
		if (fine && !READ_ONCE(queue->broken))
			tell |= put_answer(queue, job->id, job->status);
	spin_unlock_irqrestore(&queue->lock, flags);
	if (tell)
		pvn_notify_soon(queue->shared.port);
	end_jobs(queue, jobs, fine);
}

static void told_by_wait(struct pvn_last *last, bool failed)
{
	struct back_queue *queue = container_of(last, struct back_queue, last);
	LIST_HEAD(jobs);

	list_splice_init(&queue->last_jobs, &jobs);
	end_jobs(queue, &jobs, !failed);
}

/*
 * Whether the call that waits copies and answers these, which were all that was in flight.  Then this queue's thread waits, on this
 * CPU, and until it goes on, which is after that, nobody else answers.
 */
static bool leave_to_wait(struct back_queue *queue, struct list_head *jobs, struct pvn_grant_copy *part, unsigned int count)
{
	bool wanted = false, left = false;
	unsigned long flags;
	struct job *job;
	u32 answered;

	if (in_task() || current != queue->thread || !count)
		return false;
	spin_lock_irqsave(&queue->lock, flags);
	answered = queue->answered;
	if (list_count_nodes(jobs) == queue->in_flight && !READ_ONCE(queue->broken)) {
		list_for_each_entry(job, jobs, done)
			wanted |= write_answer(queue, answered++, job->id, job->status);
		queue->last = (struct pvn_last){
			.part = part, .count = count, .port = queue->shared.port,
			.word = &queue->shared.ring->answers_produced, .value = answered, .end = told_by_wait,
		};
		/* Whoever says from now on that it wants to be told looks after that, and would find nothing yet. */
		left = wanted && pvn_wait_with(&queue->last);
	}
	if (left) {
		queue->answered = answered;
		list_splice_init(jobs, &queue->last_jobs);
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	return left;
}

static bool has_to_be_copied(const struct job *job)
{
	return job->read && !job->status;
}

/* Once the device has said all that it has to say now. */
static void finish(struct work_struct *work)
{
	struct back_queue *queue = container_of(work, struct back_queue, finish);
	LIST_HEAD(jobs);
	struct job *job;

	spin_lock_irq(&queue->lock);
	list_splice_init(&queue->done, &jobs);
	spin_unlock_irq(&queue->lock);
	list_for_each_entry(job, &jobs, done)
		if (has_to_be_copied(job))
			add_copies(&queue->out, job->part, job->count);
	if (!queue->out.failed && leave_to_wait(queue, &jobs, queue->out.part, queue->out.count))
		queue->out.count = 0;
	else
		answer_all(queue, &jobs, end_copies(&queue->out));
}

static void done(struct bio *bio)
{
	struct job *job = bio->bi_private;
	struct back_queue *queue = job->queue;
	LIST_HEAD(alone);
	unsigned long flags;

	job->status = bio->bi_status == BLK_STS_OK ? 0 :
		      bio->bi_status == BLK_STS_NOTSUPP ? -PVN_E_NOT_IMPLEMENTED :
		      bio->bi_status == BLK_STS_NOSPC ? -PVN_E_NO_SPACE : -PVN_E_IO;
	bio_put(bio);
	/* The work is queued under the lock as well: without it the queue may be gone once somebody else has answered. */
	spin_lock_irqsave(&queue->lock, flags);
	if (queue->in_flight == 1) {	/* there is nothing to wait for */
		list_add(&job->done, &alone);
	} else {
		list_add_tail(&job->done, &queue->done);
		queue_work(system_bh_wq, &queue->finish);
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	if (list_empty(&alone) || (has_to_be_copied(job) && leave_to_wait(queue, &alone, job->part, job->count)))
		return;
	answer_all(queue, &alone, !has_to_be_copied(job) || !pvn_hypercall(PVN_GRANT_COPY, job->part, job->count));
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

/*
 * Copies of requests, private ones, and of their lists of segments, as far as they go.  Why they break the contract; NULL:
 * they do not.
 */
static const char *read_requests(struct back_queue *queue, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		const struct pvn_block_request *slot = queue->shared.mapped.address +
			PVN_BLOCK_REQUEST_OFFSET((queue->consumed + i) % queue->slots);
		struct pvn_block_request *request = &queue->taken[i].request;
		struct pvn_grant_copy list;
		const char *why;

		memcpy(request, slot, offsetof(struct pvn_block_request, segment));
		barrier();	/* copied, before it is looked at */
		why = wrong(queue, request);
		if (why)
			return why;
		queue->taken[i].segments = request->segment;
		if (!(request->flags & PVN_BLOCK_INDIRECT)) {
			memcpy(request->segment, slot->segment, request->segments * sizeof(*request->segment));
			barrier();
			continue;
		}
		queue->taken[i].segments = queue->lists[i];
		list = (struct pvn_grant_copy){
			.ref = request->indirect, .domain = queue->back->end.device->other_domain,
			.bytes = request->segments * sizeof(*request->segment), .local = __pa(queue->lists[i]),
		};
		add_copies(&queue->in, &list, 1);
	}
	if (!end_copies(&queue->in))
		return "did not grant its list of segments";
	for (i = 0; i < count; i++) {
		const char *why = wrong_segments(queue, queue->taken[i].segments, queue->taken[i].request.segments);

		if (why)
			return why;
	}
	return NULL;
}

/* What is refused is answered, and has no job.  False: there is no memory for it now. */
static bool prepare(struct back_queue *queue, struct taken *taken)
{
	const struct pvn_block_request *request = &taken->request;
	unsigned int i;

	taken->job = NULL;
	taken->sectors = request->sectors;
	for (i = 0; i < request->segments; i++)
		taken->sectors += taken->segments[i].bytes >> SECTOR_SHIFT;
	if (!on_device(queue, request->sector, taken->sectors) || taken->sectors > UINT_MAX >> SECTOR_SHIFT) {
		answer(queue, request->id, -PVN_E_RANGE);
		return true;
	}
	if (queue->back->read_only && request->operation != PVN_BLOCK_READ && request->operation != PVN_BLOCK_FLUSH) {
		answer(queue, request->id, -PVN_E_DENIED);
		return true;
	}
	taken->job = make_job(queue, request, taken->segments);
	if (!taken->job)
		return false;
	if (request->operation == PVN_BLOCK_WRITE)
		add_copies(&queue->in, taken->job->part, taken->job->count);
	return true;
}

/* What ends with a page of a run and goes on in the next one is one piece. */
static void add_data(struct bio *bio, const struct job *job)
{
	const struct pvn_grant_copy *part = job->part, *end = part + job->count;

	while (part != end) {
		const struct pvn_grant_copy *first = part;
		unsigned int bytes = 0;

		do {
			bytes += part->bytes;
			part++;
		} while (job->run && part != end && !part->offset && part[-1].offset + part[-1].bytes == PAGE_SIZE);
		__bio_add_page(bio, page_of(first), bytes, first->offset);
	}
}

static void submit(struct back_queue *queue, const struct taken *taken)
{
	const struct pvn_block_request *request = &taken->request;
	struct bio *bio = bio_alloc(queue->back->bdev, request->segments, operation_of(request), GFP_NOIO);
	struct job *job = taken->job;

	bio->bi_iter.bi_sector = request->sector;
	bio->bi_private = job;
	bio->bi_end_io = done;
	add_data(bio, job);
	if (request->operation == PVN_BLOCK_DISCARD)
		bio->bi_iter.bi_size = taken->sectors << SECTOR_SHIFT;
	submit_bio(bio);
}

/* How many of the next `count` requests were taken; less for want of memory, or because the front end breaks the contract. */
static unsigned int take(struct back_queue *queue, unsigned int count)
{
	const char *why = read_requests(queue, count);
	unsigned int i, jobs = 0;
	bool fine;

	if (why) {
		give_up(queue, why);
		return 0;
	}
	for (i = 0; i < count && prepare(queue, &queue->taken[i]); i++)
		jobs += !!queue->taken[i].job;
	count = i;
	fine = end_copies(&queue->in);
	if (!fine)
		give_up(queue, "did not grant what it wants to be written");
	spin_lock_irq(&queue->lock);
	queue->in_flight += fine ? jobs : 0;
	spin_unlock_irq(&queue->lock);
	for (i = 0; i < count; i++) {
		if (!queue->taken[i].job)
			continue;
		if (fine)
			submit(queue, &queue->taken[i]);
		else
			free_job(queue->taken[i].job);
	}
	queue->consumed += count;
	return count;
}

/* Whether it must be called again, for want of memory: at once when something comes back, else after a while. */
static bool take_requests(struct back_queue *queue)
{
	struct pvn_ring *ring = queue->shared.ring;
	u32 produced;

	do {
		produced = smp_load_acquire(&ring->requests_produced);
		/* No more than the slots are unanswered, or the front end has written over its own. */
		if (produced - READ_ONCE(queue->answered) > queue->slots || produced - queue->consumed > queue->slots) {
			give_up(queue, "sent more requests than its ring holds");
			return false;
		}
		while (queue->consumed != produced) {
			unsigned int count = min(produced - queue->consumed, (u32)REQUESTS_AT_ONCE);

			if (!take(queue, count) || READ_ONCE(queue->broken))
				return !READ_ONCE(queue->broken);
		}
		WRITE_ONCE(ring->requests_wanted, queue->consumed + 1);
		smp_mb();	/* say what is wanted, then look; the front end publishes, then looks at what is wanted */
	} while (queue->consumed != READ_ONCE(ring->requests_produced));
	return false;
}

/* For how long it need not be called again, unless it is asked: jiffies. */
static long take_all(struct back_queue *queue)
{
	struct blk_plug plug;
	bool starved;

	if (READ_ONCE(queue->broken))
		return MAX_SCHEDULE_TIMEOUT;
	blk_start_plug(&plug);
	starved = take_requests(queue);
	blk_finish_plug(&plug);
	if (!starved)
		return MAX_SCHEDULE_TIMEOUT;
	spin_lock_irq(&queue->lock);
	starved = queue->starved = queue->in_flight;
	spin_unlock_irq(&queue->lock);
	return starved ? MAX_SCHEDULE_TIMEOUT : RETRY;
}

/*
 * The ring's interrupt follows the thread that it wakes, once that has stayed on another CPU: every request would wake two CPUs.
 * While the device is busy it is better that they share the work.
 */
static void draw_interrupt(struct back_queue *queue)
{
	unsigned int cpu = raw_smp_processor_id();

	if (cpu == READ_ONCE(queue->cpu) || READ_ONCE(queue->in_flight)) {
		queue->elsewhere = 0;
	} else if (++queue->elsewhere == ELSEWHERE) {
		queue->elsewhere = 0;
		irq_set_affinity(queue->shared.irq, cpumask_of(cpu));
	}
}

static int serve(void *data)
{
	long patience = MAX_SCHEDULE_TIMEOUT;
	struct back_queue *queue = data;

	set_user_nice(current, MIN_NICE);
	while (!kthread_should_stop()) {
		set_current_state(TASK_IDLE);
		if (!READ_ONCE(queue->asked) && !kthread_should_stop())
			patience = schedule_timeout(patience);
		__set_current_state(TASK_RUNNING);
		if (!READ_ONCE(queue->asked) && patience)
			continue;
		draw_interrupt(queue);
		WRITE_ONCE(queue->asked, false);
		smp_mb();	/* whoever asks from now on is heard, and what was asked is looked at now */
		patience = take_all(queue);
	}
	return 0;
}

static irqreturn_t requested(int irq, void *data)
{
	struct back_queue *queue = data;

	WRITE_ONCE(queue->cpu, smp_processor_id());
	ask(queue);
	return IRQ_HANDLED;
}

/* --- the ring --------------------------------------------------------------------------------------------------- */

int back_queue_open(struct back_queue *queue, unsigned int index)
{
	int error;

	spin_lock_init(&queue->lock);
	init_waitqueue_head(&queue->idle);
	INIT_WORK(&queue->finish, finish);
	INIT_LIST_HEAD(&queue->done);
	INIT_LIST_HEAD(&queue->last_jobs);
	queue->lists = (void *)__get_free_pages(GFP_KERNEL, get_order(LISTS_BYTES));
	if (!queue->lists)
		return -ENOMEM;
	queue->thread = kthread_run(serve, queue, "pvn-block-%u-%u-%u", queue->back->end.device->other_domain, queue->back->end.device->number, index);
	if (IS_ERR(queue->thread)) {
		free_pages((unsigned long)queue->lists, get_order(LISTS_BYTES));
		return PTR_ERR(queue->thread);
	}
	get_task_struct(queue->thread);
	error = pvn_open_back_ring(&queue->shared, queue->back->end.device, "", index, queue->pages, requested, "pvn-block-back", queue);
	if (error) {
		kthread_stop_put(queue->thread);
		free_pages((unsigned long)queue->lists, get_order(LISTS_BYTES));
	}
	return error;
}

void back_queue_close(struct back_queue *queue)
{
	if (!queue->shared.ring)
		return;
	/* Answers may still be told, so the port stays until there are none. */
	disable_irq(queue->shared.irq);
	kthread_stop(queue->thread);
	wait_event(queue->idle, !READ_ONCE(queue->in_flight));
	spin_lock_irq(&queue->lock);	/* whoever woke us has let it go */
	spin_unlock_irq(&queue->lock);
	cancel_work_sync(&queue->finish);
	put_task_struct(queue->thread);		/* nobody asks it any more */
	pvn_close_back_ring(&queue->shared, queue);
	if (queue->pool)
		__free_pages(queue->pool, POOL_ORDER);
	free_pages((unsigned long)queue->lists, get_order(LISTS_BYTES));
}
