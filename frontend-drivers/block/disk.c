// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk that another domain serves: its states, and what Linux sees of it (docs/abi/block.md).
 */
#include <linux/blkdev.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "block.h"

static unsigned int max_queues = PVN_BLOCK_QUEUES;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "rings of one disk at most; otherwise one for each CPU");
static unsigned int ring_pages = PVN_RING_PAGES;
module_param(ring_pages, uint, 0444);
MODULE_PARM_DESC(ring_pages, "pages of a ring at most: 1, 2, 4 or 8; each is 8 requests");

struct disk {
	struct pvn_device *device;
	struct gendisk *gendisk;	/* NULL: none yet */
	struct blk_mq_tag_set tags;	/* and this is nothing */
	struct pvn_queue *queues;
	unsigned int count;		/* of queues */
	unsigned int sector_size;
	bool open;			/* the rings are there */
	bool live;			/* and the back end has them */
	bool dead;			/* the back end is gone for good */
	bool closing;			/* the back end asks for an end, and waits for who has it open */
	bool added;			/* Linux knows the disk */
	int add_error;			/* or why it does not */
	struct work_struct add_work;
};

static bool knows(struct pvn_device *device, const char *feature)
{
	return pvn_offered(device, feature, 1, 0);
}

/* --- what Linux asks -------------------------------------------------------------------------------------------- */

/*
 * Whoever asks for this mostly sleeps next, until it is done.  What is read ahead
 * or written back is to be done beside what the task does then.
 */
static bool is_waited_for(const struct request *request)
{
	return op_is_sync(request->cmd_flags) && !(request->cmd_flags & REQ_RAHEAD);
}

static blk_status_t queue_rq(struct blk_mq_hw_ctx *context, const struct blk_mq_queue_data *data)
{
	struct pvn_queue *queue = context->driver_data;
	bool waited_for = is_waited_for(data->rq);
	blk_status_t status;

	blk_mq_start_request(data->rq);
	status = pvn_queue_request(queue, data->rq);
	if (data->last || status != BLK_STS_OK)
		pvn_queue_publish(queue, waited_for);
	return status;
}

static void commit_rqs(struct blk_mq_hw_ctx *context)
{
	pvn_queue_publish(context->driver_data, false);
}

static int init_context(struct blk_mq_hw_ctx *context, void *data, unsigned int index)
{
	struct disk *disk = data;

	context->driver_data = &disk->queues[index];
	return 0;
}

static void exit_request(struct blk_mq_tag_set *tags, struct request *request, unsigned int index)
{
	pvn_queue_forget(blk_mq_rq_to_pdu(request));
}

static const struct blk_mq_ops queue_operations = {
	.queue_rq = queue_rq,
	.commit_rqs = commit_rqs,
	.init_hctx = init_context,
	.exit_request = exit_request,
};

/* The last one who had it open may have been what the back end waits for. */
static void release(struct gendisk *gendisk)
{
	struct disk *disk = gendisk->private_data;

	if (READ_ONCE(disk->closing))
		pvn_device_look(disk->device);
}

static const struct block_device_operations disk_operations = {
	.owner = THIS_MODULE,
	.release = release,
};

/* --- rings ------------------------------------------------------------------------------------------------------ */

static void close_rings(struct disk *disk)
{
	unsigned int i;

	if (!disk->open)
		return;
	/* What is not live is quiet already: that is counted. */
	if (disk->gendisk && disk->live)
		blk_mq_quiesce_queue(disk->gendisk->queue);
	for (i = 0; i < disk->count; i++)
		pvn_queue_close(&disk->queues[i]);
	disk->open = disk->live = false;
}

static int tell_rings(struct disk *disk)
{
	struct pvn_device *device = disk->device;
	unsigned int i;
	int error = pvn_store_write(device->home, "queues", "%u", disk->count) ?:
		    pvn_store_write(device->home, "ring-pages", "%u", disk->queues[0].pages);

	for (i = 0; !error && i < disk->count; i++)
		error = pvn_tell_ring(device, "", i, &disk->queues[i].shared);
	return error;
}

static int make_queues(struct disk *disk)
{
	struct pvn_device *device = disk->device;
	unsigned int pages = rounddown_pow_of_two(clamp(ring_pages, 1u, (unsigned int)PVN_RING_PAGES));
	unsigned int most = clamp(min(max_queues, num_possible_cpus()), 1u, (unsigned int)PVN_BLOCK_QUEUES);
	int error;

	pages = rounddown_pow_of_two(pvn_offered(device, "max-ring-pages", pages, 1));
	most = pvn_offered(device, "max-queues", most, 1);
	disk->queues = kcalloc(most, sizeof(*disk->queues), GFP_KERNEL);
	if (!disk->queues)
		return -ENOMEM;
	for (disk->count = 0; disk->count < most; disk->count++) {
		error = pvn_queue_init(&disk->queues[disk->count], device, pages);
		if (error) {
			pvn_queue_exit(&disk->queues[disk->count]);
			break;
		}
	}
	if (disk->count)
		return 0;
	kfree(disk->queues);
	disk->queues = NULL;
	return error;
}

/* For the first time, or for a back end that has come back: with as many queues and pages as before. */
static void open_rings(struct disk *disk)
{
	struct pvn_device *device = disk->device;
	unsigned int i;
	int error = 0;

	if (!disk->queues)
		error = make_queues(disk);
	else if (pvn_offered(device, "max-queues", disk->count, 1) < disk->count ||
		 pvn_offered(device, "max-ring-pages", disk->queues[0].pages, 1) < disk->queues[0].pages)
		error = -EOPNOTSUPP;
	for (i = 0; !error && i < disk->count; i++)
		error = pvn_queue_open(&disk->queues[i]);
	disk->open = true;
	if (!error)
		error = tell_rings(disk);
	if (!error) {
		pvn_set_state(device, PVN_READY);
		return;
	}
	close_rings(disk);
	pvn_device_error(device, "cannot make its rings: %d", error);
	if (error == -ENOMEM)
		pvn_device_look_later(device);
	if (disk->gendisk || error == -ENOMEM)
		return;		/* who uses it can still wait for a back end that offers enough */
	disk->dead = true;
	pvn_set_state(device, PVN_CLOSED);
}

/* --- the disk --------------------------------------------------------------------------------------------------- */

/* pvda to pvdz, pvdaa and so on. */
static void name_disk(char *name, unsigned int number)
{
	char letters[8];
	int count = 0;

	do
		letters[count++] = 'a' + number % 26;
	while ((number /= 26) && (number--, count < sizeof(letters)));
	name += sprintf(name, "pvd");
	while (count)
		*name++ = letters[--count];
	*name = 0;
}

/* Reads the partitions, which may wait for a back end that comes back: so not where that is noticed. */
static void add_disk_later(struct work_struct *work)
{
	struct disk *disk = container_of(work, struct disk, add_work);
	int error = device_add_disk(&disk->device->dev, disk->gendisk, NULL);

	if (error)
		WRITE_ONCE(disk->add_error, error);
	else
		WRITE_ONCE(disk->added, true);
	pvn_device_look(disk->device);
}

static int make_disk(struct disk *disk, u64 sectors)
{
	struct pvn_device *device = disk->device;
	struct queue_limits limits = {
		.logical_block_size = disk->sector_size,
		.physical_block_size = pvn_offered(device, "physical-sector-size", PAGE_SIZE, disk->sector_size),
		.max_segments = pvn_offered(device, "max-segments", PVN_BLOCK_SEGMENTS, PVN_BLOCK_DIRECT),
		.max_hw_sectors = PVN_BLOCK_SEGMENTS * PAGE_SECTORS,
		.max_segment_size = PAGE_SIZE,
		.seg_boundary_mask = PAGE_SIZE - 1,
		.dma_alignment = disk->sector_size - 1,
	};
	struct gendisk *gendisk;
	int error;

	if (!is_power_of_2(limits.physical_block_size))
		limits.physical_block_size = disk->sector_size;
	if (knows(device, "flush"))
		limits.features |= BLK_FEAT_WRITE_CACHE;
	if (knows(device, "fua"))
		limits.features |= BLK_FEAT_FUA;
	if (knows(device, "discard")) {
		limits.max_hw_discard_sectors = UINT_MAX >> SECTOR_SHIFT;
		limits.discard_granularity = pvn_offered(device, "discard-granularity", SZ_1G, disk->sector_size);
	}
	disk->tags.ops = &queue_operations;
	disk->tags.nr_hw_queues = disk->count;
	disk->tags.queue_depth = disk->queues[0].slots;
	disk->tags.numa_node = NUMA_NO_NODE;
	disk->tags.cmd_size = sizeof(struct pvn_request);
	disk->tags.driver_data = disk;
	error = blk_mq_alloc_tag_set(&disk->tags);
	if (error)
		return error;
	gendisk = blk_mq_alloc_disk(&disk->tags, &limits, disk);
	if (IS_ERR(gendisk)) {
		blk_mq_free_tag_set(&disk->tags);
		return PTR_ERR(gendisk);
	}
	gendisk->fops = &disk_operations;
	gendisk->private_data = disk;
	name_disk(gendisk->disk_name, device->number);
	set_capacity(gendisk, sectors);
	set_disk_ro(gendisk, knows(device, "read-only"));
	disk->gendisk = gendisk;
	return 0;
}

static void take_disk_away(struct disk *disk)
{
	unsigned int i;

	if (!disk->gendisk)
		return;
	if (!disk->live) {
		/* What was asked will not be answered, nor what is asked from now on. */
		for (i = 0; i < disk->count; i++)
			disk->queues[i].broken = true;
		blk_mark_disk_dead(disk->gendisk);
		blk_mq_unquiesce_queue(disk->gendisk->queue);
		blk_mq_kick_requeue_list(disk->gendisk->queue);
	}
	cancel_work_sync(&disk->add_work);
	if (disk->added)
		del_gendisk(disk->gendisk);
	put_disk(disk->gendisk);
	blk_mq_free_tag_set(&disk->tags);
	disk->gendisk = NULL;
	disk->added = false;
}

/* --- states ----------------------------------------------------------------------------------------------------- */

static int read_size(struct disk *disk, u64 *sectors)
{
	struct pvn_device *device = disk->device;
	u64 size = pvn_offered(device, "sector-size", U32_MAX, 512);
	int error = pvn_store_read_number(device->other, "sectors", sectors);

	if (error)
		return error;
	if (!is_power_of_2(size) || size < SECTOR_SIZE || size > PAGE_SIZE || *sectors > S64_MAX >> SECTOR_SHIFT ||
	    *sectors % (size >> SECTOR_SHIFT) || (disk->sector_size && disk->sector_size != size))
		return -EINVAL;
	disk->sector_size = size;
	return 0;
}

/* Nothing that the back end says is of interest any more: everything that waits for it fails. */
static void abandon(struct disk *disk, const char *why)
{
	pvn_device_error(disk->device, "the back end %s; the disk is not used any more", why);
	close_rings(disk);
	take_disk_away(disk);
	disk->dead = true;
	pvn_set_state(disk->device, PVN_CLOSED);
}

/* What a CPU asks is answered to it: or else it would be told by an interrupt from another one. */
static void place_interrupts(struct disk *disk)
{
	const unsigned int *queue_of = disk->tags.map[HCTX_TYPE_DEFAULT].mq_map;
	unsigned int i, cpu;

	cpus_read_lock();
	for (i = 0; i < disk->count; i++)
		for_each_online_cpu(cpu)
			if (queue_of[cpu] == i) {
				irq_set_affinity(disk->queues[i].shared.irq, cpumask_of(cpu));
				break;
			}
	cpus_read_unlock();
}

/* What could not be added cannot be a second time. */
static void not_added(struct disk *disk)
{
	int error = disk->add_error;

	disk->add_error = 0;
	take_disk_away(disk);
	disk->live = false;
	if (error == -ENOMEM)
		pvn_device_look_later(disk->device);
	else
		abandon(disk, "describes one that Linux does not take");
}

static void connect(struct disk *disk)
{
	struct pvn_device *device = disk->device;
	bool first = !disk->gendisk;
	u64 sectors;
	int error = read_size(disk, &sectors);

	if (!error && first)
		error = make_disk(disk, sectors);
	if (error == -ENOMEM) {
		pvn_device_look_later(device);
		return;
	}
	if (error) {
		abandon(disk, "describes none that can be used");
		return;
	}
	place_interrupts(disk);
	disk->live = true;
	if (first) {
		queue_work(system_long_wq, &disk->add_work);
		return;
	}
	set_capacity_and_notify(disk->gendisk, sectors);
	blk_mq_unquiesce_queue(disk->gendisk->queue);
	blk_mq_kick_requeue_list(disk->gendisk->queue);
	if (READ_ONCE(disk->added))
		pvn_set_state(device, PVN_CONNECTED);
	else if (READ_ONCE(disk->add_error))
		not_added(disk);	/* the back end went before that was looked at */
}

/* The back end has gone, perhaps to come back: what was not answered waits for it. */
static void suspend(struct disk *disk)
{
	if (!disk->open)
		return;
	close_rings(disk);
	pvn_set_state(disk->device, PVN_NEW);
}

/* The rings stay until the back end has let them go. */
static void end(struct disk *disk)
{
	if (disk->device->other_state != PVN_CLOSING)
		close_rings(disk);
	take_disk_away(disk);
	disk->dead = true;
	pvn_set_state(disk->device, PVN_CLOSED);
}

static bool broken(struct disk *disk)
{
	unsigned int i;

	for (i = 0; i < disk->count; i++)
		if (READ_ONCE(disk->queues[i].broken))
			return true;
	return false;
}

static void changed(struct pvn_device *device)
{
	struct disk *disk = dev_get_drvdata(&device->dev);
	u64 sectors;

	if (disk->dead) {
		if (device->other_state != PVN_CLOSING && device->other_state != PVN_CONNECTED)
			close_rings(disk);
		return;
	}
	if (broken(disk)) {
		abandon(disk, "answers what was not asked");
		return;
	}
	switch (device->other_state) {
	case PVN_NEW:
		suspend(disk);
		break;
	case PVN_OFFERED:
		if (disk->live)
			suspend(disk);
		if (!disk->open)
			open_rings(disk);
		break;
	case PVN_CONNECTED:
		WRITE_ONCE(disk->closing, false);
		if (!disk->open)
			break;
		if (!disk->live)
			connect(disk);
		else if (READ_ONCE(disk->add_error))
			not_added(disk);
		else if (device->state == PVN_READY && READ_ONCE(disk->added))
			pvn_set_state(device, PVN_CONNECTED);
		else if (device->state == PVN_CONNECTED && !read_size(disk, &sectors))
			set_capacity_and_notify(disk->gendisk, sectors);
		break;
	case PVN_CLOSING:
		if (!xchg(&disk->closing, true) && disk->gendisk && disk_openers(disk->gendisk))
			pvn_device_error(device, "%s is in use", disk->gendisk->disk_name);
		/* Who closes it last sees `closing`, or we see that it is closed. */
		if (!disk->gendisk || !disk_openers(disk->gendisk))
			end(disk);
		break;
	case PVN_CLOSED:
		/* Also seen from the end of a front end before us: it will be offered anew. */
		if (!disk->open && !disk->gendisk)
			break;
		fallthrough;
	case PVN_GONE:
		end(disk);
		break;
	default:
		break;
	}
}

static int probe(struct pvn_device *device)
{
	struct disk *disk = kzalloc(sizeof(*disk), GFP_KERNEL);

	if (!disk)
		return -ENOMEM;
	disk->device = device;
	INIT_WORK(&disk->add_work, add_disk_later);
	dev_set_drvdata(&device->dev, disk);
	pvn_set_state(device, PVN_NEW);
	return 0;
}

static void remove(struct pvn_device *device)
{
	struct disk *disk = dev_get_drvdata(&device->dev);
	unsigned int i;

	if (device->gone) {
		/* Linux would write back what it has, and nobody would answer. */
		pvn_wait_for_other(device, ~(BIT(PVN_CONNECTED) | BIT(PVN_CLOSING)));
		close_rings(disk);
	}
	take_disk_away(disk);
	if (disk->open) {
		if (!disk->dead)
			pvn_set_state(device, PVN_CLOSING);
		pvn_wait_for_other(device, ~(BIT(PVN_CONNECTED) | BIT(PVN_CLOSING)));
		close_rings(disk);
	}
	pvn_set_state(device, PVN_CLOSED);
	for (i = 0; disk->queues && i < disk->count; i++)
		pvn_queue_exit(&disk->queues[i]);
	kfree(disk->queues);
	kfree(disk);
}

static struct pvn_driver driver = {
	.type = "block",
	.probe = probe,
	.changed = changed,
	.remove = remove,
	.driver.name = "pvn-block",
};

static int __init block_init(void)
{
	int error = pvn_register_driver(&driver);

	/* Built in, on a machine of its own: no failure. */
	return error == -ENODEV && !IS_MODULE(CONFIG_PARAVANE_BLOCK_FRONT) ? 0 : error;
}
module_init(block_init);

static void __exit block_exit(void)
{
	pvn_unregister_driver(&driver);
}
module_exit(block_exit);

MODULE_DESCRIPTION("Front end of block devices of Paravane");
MODULE_ALIAS("pvn:block-front");
MODULE_LICENSE("GPL");
