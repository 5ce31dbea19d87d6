// SPDX-License-Identifier: GPL-2.0-only
/*
 * Disks and answers of theirs that there must not be (hostile_back.h).
 */
#include <linux/random.h>

#include <paravane/block_ring.h>

#include "hostile_back.h"

static struct pvn_mapped kept;

static void offer(struct hostile *hostile)
{
	say(hostile, "sector-size", is(hostile, "sectors-odd") ? "4096" : "512", "sector-size-3", "3");
	if (is(hostile, "sector-size-0"))
		pvn_store_write(hostile->device->home, "sector-size", "0");
	else if (is(hostile, "sector-size-large"))
		pvn_store_write(hostile->device->home, "sector-size", "8192");
	say(hostile, "physical-sector-size", "512", "physical-3", "3");
	say(hostile, "max-segments", "256", "segments-many", "4294967295");
	say(hostile, "max-queues", "1", "queues-beyond-numbers", "18446744073709551616");
	say(hostile, "discard", "1", "discard-what", "yes");
	say(hostile, "discard-granularity", "512", "granularity-3", "3");
	say(hostile, "sectors", is(hostile, "sectors-odd") ? "8193" : "8192", "sectors-many", "18446744073709551615");
	if (is(hostile, "sectors-none"))
		pvn_store_remove(hostile->device->home, "sectors");
}

static struct pvn_block_answer *answer_slot(struct hostile *hostile, u32 index)
{
	return (void *)hostile->ring[0].ring + PVN_BLOCK_ANSWER_OFFSET(hostile->pages, index % PVN_BLOCK_SLOTS(hostile->pages));
}

/* The front end reads the answer while it changes: what comes of it does not matter.  Then comes what ends it for certain. */
static void change_while_read(struct hostile *hostile, u32 produced)
{
	struct pvn_ring *ring = hostile->ring[0].ring;
	struct pvn_block_answer *answer = answer_slot(hostile, produced - 1);
	u64 id = answer->id;
	unsigned int i;

	smp_store_release(&ring->answers_produced, produced);
	pvn_notify(hostile->ring[0].port);
	for (i = 0; i < 100000; i++) {
		WRITE_ONCE(answer->id, i & 1 ? id : get_random_u32());
		WRITE_ONCE(answer->status, i);
	}
	smp_store_release(&ring->answers_produced, 1u << 30);
	pvn_notify(hostile->ring[0].port);
}

static void strike(struct hostile *hostile)
{
	struct pvn_ring *ring = hostile->ring[0].ring;
	u32 produced = smp_load_acquire(&ring->requests_produced), first = hostile->step;

	WRITE_ONCE(ring->requests_wanted, produced + 1);
	if (produced == first)
		return;
	for (; hostile->step != produced; hostile->step++) {
		struct pvn_block_request request = *(struct pvn_block_request *)((void *)ring +
			PVN_BLOCK_REQUEST_OFFSET(hostile->step % PVN_BLOCK_SLOTS(hostile->pages)));
		struct pvn_block_answer answer = { .id = request.id };

		if (is(hostile, "not-asked"))
			answer.id = 5000;
		else if (is(hostile, "not-in-flight"))
			answer.id ^= 8;
		else if (is(hostile, "far-id"))
			answer.id = ~0ull;
		else if (is(hostile, "status-odd"))
			answer.status = 12345;
		else if (is(hostile, "keeps-pages") && !kept.count && request.segments && !(request.flags & PVN_BLOCK_INDIRECT))
			pvn_map_granted(hostile->device->other_domain, &request.segment[0].ref, 1, &kept);
		*answer_slot(hostile, hostile->step) = answer;
	}
	if (is(hostile, "changes-while-read")) {
		change_while_read(hostile, produced);
		return;
	}
	if (is(hostile, "twice"))
		*answer_slot(hostile, produced) = *answer_slot(hostile, produced - 1);
	smp_store_release(&ring->answers_produced, is(hostile, "twice") || is(hostile, "more") ? produced + 1 :
						   is(hostile, "overrun") ? 1u << 30 : is(hostile, "backwards") ? first - 1 : produced);
	pvn_notify(hostile->ring[0].port);
	if (kept.count)
		report(hostile, "keeps pages");
	else
		report(hostile, "answers");
}

static const char *const prefixes[] = { "" };
static const struct hostile_kind kind = { .offer = offer, .strike = strike, .prefixes = prefixes, .rings = 1 };

static void changed(struct pvn_device *device)
{
	hostile_changed(dev_get_drvdata(&device->dev), &kind);
}

static struct pvn_driver driver = {
	.type = "block", .back = true, .probe = hostile_probe, .changed = changed, .remove = hostile_remove,
	.driver.name = "pvn-hostile-block-back",
};

static int __init hostile_init(void)
{
	return pvn_register_driver(&driver);
}
module_init(hostile_init);

static void __exit hostile_exit(void)
{
	pvn_unregister_driver(&driver);
	if (kept.count)
		pvn_unmap_granted(&kept);
}
module_exit(hostile_exit);

MODULE_DESCRIPTION("For tests: a back end of block devices that breaks the contract");
MODULE_LICENSE("GPL");
