// SPDX-License-Identifier: GPL-2.0-only
/*
 * A block device of this domain that is served to another: its states (docs/abi/block.md).
 */
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "back.h"

struct workqueue_struct *block_work_queue;

static unsigned int max_queues = PVN_BLOCK_QUEUES;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "rings of one device at most; otherwise one for each CPU of this domain");

static unsigned int most_queues(void)
{
	return clamp(min(max_queues, num_online_cpus()), 1u, (unsigned int)PVN_BLOCK_QUEUES);
}

/* --- the device ------------------------------------------------------------------------------------------------- */

static void close_device(struct back *back)
{
	if (back->file)
		bdev_fput(back->file);
	back->file = NULL;
	back->bdev = NULL;
}

/* Nobody else may write to what somebody writes to.  Any number may read it. */
static int open_device(struct back *back)
{
	struct pvn_device *device = back->device;
	blk_mode_t mode = BLK_OPEN_READ;
	u64 read_only = 0;
	char path[128];
	int error;

	if (back->file)
		return 0;
	error = pvn_store_read(device->home, "device", path, sizeof(path));
	if (error) {
		pvn_device_error(device, "there is no `device` in its place in the store: %d", error);
		return error;
	}
	pvn_store_read_number(device->home, "read-only", &read_only);
	back->read_only = read_only;
	if (!back->read_only)
		mode |= BLK_OPEN_WRITE;
	back->file = bdev_file_open_by_path(path, mode, back->read_only ? NULL : back, NULL);
	if (IS_ERR(back->file)) {
		error = PTR_ERR(back->file);
		back->file = NULL;
		pvn_device_error(device, "cannot open %s: %s", path,
				 error == -EBUSY ? "it is in use" : error == -ENOENT ? "there is no such device" :
				 error == -ENOTBLK ? "it is no block device" : error == -EROFS || error == -EACCES ? "it is read-only" :
				 "it fails");
		return error;
	}
	back->bdev = file_bdev(back->file);
	back->sector_mask = bdev_logical_block_size(back->bdev) - 1;
	if (back->sector_mask >= PAGE_SIZE) {
		close_device(back);
		pvn_device_error(device, "%s has sectors larger than a page", path);
		return -EINVAL;
	}
	return 0;
}

static int tell_size(struct back *back)
{
	back->sectors = bdev_nr_sectors(back->bdev);
	return pvn_store_write(back->device->home, "sectors", "%llu", back->sectors);
}

static void offer(struct back *back)
{
	struct pvn_device *device = back->device;
	struct { const char *key; unsigned int value; } numbers[6];
	unsigned int i;
	int error = open_device(back);

	if (error) {
		pvn_set_state(device, PVN_CLOSED);
		return;
	}
	numbers[0].key = "sector-size";
	numbers[0].value = bdev_logical_block_size(back->bdev);
	numbers[1].key = "physical-sector-size";
	numbers[1].value = min_t(unsigned int, bdev_physical_block_size(back->bdev), PAGE_SIZE);
	numbers[2].key = "max-segments";
	numbers[2].value = PVN_BLOCK_SEGMENTS;
	numbers[3].key = "max-queues";
	numbers[3].value = most_queues();
	numbers[4].key = "max-ring-pages";
	numbers[4].value = PVN_RING_PAGES;
	numbers[5].key = "discard-granularity";
	numbers[5].value = bdev_discard_granularity(back->bdev);
	error = tell_size(back);
	for (i = 0; !error && i < ARRAY_SIZE(numbers); i++)
		error = pvn_store_write(device->home, numbers[i].key, "%u", numbers[i].value);
	if (!error)
		error = pvn_store_write(device->home, "flush", "%d", bdev_write_cache(back->bdev));
	if (!error)
		error = pvn_store_write(device->home, "fua", "%d", bdev_write_cache(back->bdev));
	if (!error)
		error = pvn_store_write(device->home, "discard", "%d",
					!back->read_only && bdev_max_discard_sectors(back->bdev));
	if (!error)
		error = pvn_set_state(device, PVN_OFFERED);
	if (error)
		dev_err(&device->dev, "cannot say what it offers: %d\n", error);
}

/* --- rings ------------------------------------------------------------------------------------------------------ */

static void disconnect(struct back *back)
{
	unsigned int i;

	for (i = 0; i < back->count; i++)
		back_queue_close(&back->queues[i]);
	kvfree(back->queues);
	back->queues = NULL;
	back->count = 0;
}

/* With what the front end wrote: it may be anything. */
static void connect(struct back *back)
{
	struct pvn_device *device = back->device;
	unsigned int queues, pages;
	int error = pvn_read_ring_numbers(device, most_queues(), &queues, &pages);

	if (error)
		goto fail;
	back->queues = kvcalloc(queues, sizeof(*back->queues), GFP_KERNEL);
	error = back->queues ? 0 : -ENOMEM;
	for (back->count = 0; !error && back->count < queues; back->count++) {
		struct back_queue *queue = &back->queues[back->count];

		queue->back = back;
		queue->pages = pages;
		queue->slots = PVN_BLOCK_SLOTS(pages);
		error = back_queue_open(queue, back->count);
		if (error)
			break;
	}
	if (!error) {
		pvn_set_state(device, PVN_CONNECTED);
		return;
	}
	pvn_device_error(device, "cannot use ring %u of the front end: %d", back->count, error);
fail:
	disconnect(back);
	pvn_set_state(device, PVN_CLOSED);
	close_device(back);
}

/* --- states ----------------------------------------------------------------------------------------------------- */

static bool broken(struct back *back)
{
	unsigned int i;

	for (i = 0; i < back->count; i++)
		if (READ_ONCE(back->queues[i].broken))
			return true;
	return false;
}

static void end(struct back *back)
{
	disconnect(back);
	close_device(back);
	if (back->device->state != PVN_CLOSED)
		pvn_set_state(back->device, PVN_CLOSED);
}

static void changed(struct pvn_device *device)
{
	struct back *back = dev_get_drvdata(&device->dev);
	bool online = pvn_device_online(device);

	if (broken(back)) {
		back->ended_well = false;
		pvn_store_update(device->home, "error", "%s", "the front end broke the contract of its rings");
		end(back);
		return;
	}
	switch (device->other_state) {
	case PVN_NEW:
		if (!online) {
			end(back);
			break;
		}
		if (device->state == PVN_CONNECTED)
			disconnect(back);
		if (device->state == PVN_CONNECTED || (device->state == PVN_CLOSED && back->ended_well))
			offer(back);
		break;
	case PVN_READY:
		if (!online)
			end(back);
		else if (device->state == PVN_OFFERED)
			connect(back);
		break;
	case PVN_CONNECTED:
		if (device->state != PVN_CONNECTED && device->state != PVN_CLOSING)
			break;
		/* A guest that still uses the disk is asked until the toolstack changes its mind. */
		if (online != (device->state == PVN_CONNECTED))
			pvn_set_state(device, online ? PVN_CONNECTED : PVN_CLOSING);
		else if (back->sectors != bdev_nr_sectors(back->bdev))
			tell_size(back);
		break;
	case PVN_CLOSING:
	case PVN_CLOSED:
	case PVN_GONE:
		if (device->state != PVN_CLOSED)
			back->ended_well = true;
		end(back);
		break;
	default:
		break;
	}
}

static int probe(struct pvn_device *device)
{
	struct back *back = kzalloc(sizeof(*back), GFP_KERNEL);

	if (!back)
		return -ENOMEM;
	back->device = device;
	dev_set_drvdata(&device->dev, back);
	offer(back);
	return 0;
}

/* A driver that is replaced leaves no trace but `new`, from where the next one begins. */
static void remove(struct pvn_device *device)
{
	struct back *back = dev_get_drvdata(&device->dev);

	disconnect(back);
	close_device(back);
	if (device->state != PVN_CLOSED)
		pvn_set_state(device, PVN_NEW);
	kfree(back);
}

static struct pvn_driver driver = {
	.type = "block",
	.back = true,
	.probe = probe,
	.changed = changed,
	.remove = remove,
	.driver.name = "pvn-block-back",
};

static int __init block_back_init(void)
{
	int error;

	block_work_queue = alloc_workqueue("pvn-block", WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	if (!block_work_queue)
		return -ENOMEM;
	error = pvn_register_driver(&driver);
	if (error)
		destroy_workqueue(block_work_queue);
	return error;
}
module_init(block_back_init);

static void __exit block_back_exit(void)
{
	pvn_unregister_driver(&driver);
	destroy_workqueue(block_work_queue);
}
module_exit(block_back_exit);

MODULE_DESCRIPTION("Back end of block devices of Paravane");
MODULE_ALIAS("pvn:block-back");
MODULE_LICENSE("GPL");
