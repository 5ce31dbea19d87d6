// SPDX-License-Identifier: GPL-2.0-only
/*
 * A block device of this domain that is served to another: what it offers, and its rings (docs/abi/block.md).
 */
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "back.h"

static unsigned int max_queues = PVN_BLOCK_QUEUES;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "rings of one device at most; otherwise one for each CPU of this domain");

static unsigned int most_queues(void)
{
	return clamp(min(max_queues, num_online_cpus()), 1u, (unsigned int)PVN_BLOCK_QUEUES);
}

static struct back *back_of(struct pvn_back_end *end)
{
	return container_of(end, struct back, end);
}

/* --- the device ------------------------------------------------------------------------------------------------- */

static void close_device(struct pvn_back_end *end)
{
	struct back *back = back_of(end);

	if (back->file)
		bdev_fput(back->file);
	back->file = NULL;
	back->bdev = NULL;
}

/* Nobody else may write to what somebody writes to.  Any number may read it. */
static int open_device(struct back *back)
{
	struct pvn_device *device = back->end.device;
	blk_mode_t mode = BLK_OPEN_READ;
	u64 read_only = 0;
	char path[128];
	int error;

	if (back->file)
		return 0;
	error = pvn_store_read(device->home, "device", path, sizeof(path));
	if (error == -ENOMEM)
		return error;		/* it is tried again, and nobody need give up */
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
		if (error == -ENOMEM)
			return error;
		pvn_device_error(device, "cannot open %s: %s", path,
				 error == -EBUSY ? "it is in use" : error == -ENOENT ? "there is no such device" :
				 error == -ENOTBLK ? "it is no block device" : error == -EROFS || error == -EACCES ? "it is read-only" :
				 "it fails");
		return error;
	}
	back->bdev = file_bdev(back->file);
	back->sector_mask = bdev_logical_block_size(back->bdev) - 1;
	if (back->sector_mask >= PAGE_SIZE) {
		close_device(&back->end);
		pvn_device_error(device, "%s has sectors larger than a page", path);
		return -EINVAL;
	}
	return 0;
}

static int tell_size(struct back *back)
{
	back->sectors = bdev_nr_sectors(back->bdev);
	return pvn_store_write(back->end.device->home, "sectors", "%llu", back->sectors);
}

static int offer(struct pvn_back_end *end)
{
	struct back *back = back_of(end);
	struct pvn_device *device = end->device;
	struct { const char *key; unsigned int value; } numbers[6];
	unsigned int i;
	int error = open_device(back);

	if (error)
		return error;
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
	if (error)
		dev_err(&device->dev, "cannot say what it offers: %d\n", error);
	return error;
}

/* --- rings ------------------------------------------------------------------------------------------------------ */

static void disconnect(struct pvn_back_end *end)
{
	struct back *back = back_of(end);
	unsigned int i;

	for (i = 0; i < back->count; i++)
		back_queue_close(&back->queues[i]);
	kvfree(back->queues);
	back->queues = NULL;
	back->count = 0;
}

static int connect(struct pvn_back_end *end)
{
	struct back *back = back_of(end);
	unsigned int queues, pages;
	int error = pvn_read_ring_numbers(end->device, most_queues(), &queues, &pages);

	if (error)
		return error;
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
	if (error)
		pvn_device_error(end->device, "cannot use ring %u of the front end: %d", back->count, error);
	return error;
}

static bool broken(struct pvn_back_end *end)
{
	struct back *back = back_of(end);
	unsigned int i;

	for (i = 0; i < back->count; i++)
		if (READ_ONCE(back->queues[i].broken))
			return true;
	return false;
}

/* The device may have grown or shrunk. */
static void look(struct pvn_back_end *end)
{
	struct back *back = back_of(end);

	if (back->sectors != bdev_nr_sectors(back->bdev))
		tell_size(back);
}

/* --- the driver ------------------------------------------------------------------------------------------------- */

static const struct pvn_back_end_operations operations = {
	.offer = offer,
	.connect = connect,
	.disconnect = disconnect,
	.close = close_device,
	.broken = broken,
	.look = look,
};

static int probe(struct pvn_device *device)
{
	struct back *back = kzalloc(sizeof(*back), GFP_KERNEL);

	if (!back)
		return -ENOMEM;
	pvn_back_end_begin(&back->end, device, &operations);
	return 0;
}

static void remove(struct pvn_device *device)
{
	struct pvn_back_end *end = dev_get_drvdata(&device->dev);

	pvn_back_end_leave(end);
	kfree(back_of(end));
}

static struct pvn_driver driver = {
	.type = "block",
	.back = true,
	.probe = probe,
	.changed = pvn_back_end_changed,
	.remove = remove,
	.driver.name = "pvn-block-back",
};

static int __init block_back_init(void)
{
	return pvn_register_driver(&driver);
}
module_init(block_back_init);

static void __exit block_back_exit(void)
{
	pvn_unregister_driver(&driver);
}
module_exit(block_back_exit);

MODULE_DESCRIPTION("Back end of block devices of Paravane");
MODULE_ALIAS("pvn:block-back");
MODULE_LICENSE("GPL");
