// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests of a block device that there must not be (hostile.h).
 */
#include <linux/delay.h>
#include <linux/random.h>

#include <paravane/block_ring.h>

#include "hostile.h"

#define PAGES	4

static struct pvn_block_request *slot(struct hostile *hostile, u32 index)
{
	return (void *)hostile->ring[0].ring + PVN_BLOCK_REQUEST_OFFSET(index % PVN_BLOCK_SLOTS(PAGES));
}

static int begin(struct hostile *hostile)
{
	struct pvn_device *device = hostile->device;

	grant_a_page(hostile, is(hostile, "read-to-read-only"));
	return pvn_open_front_ring(&hostile->ring[0], device->other_domain, PAGES, hostile_irq, "pvn-hostile", hostile) ?:
	       pvn_store_write(device->home, "queues", "1") ?: pvn_store_write(device->home, "ring-pages", "%u", PAGES) ?:
	       pvn_tell_ring(device, "", 0, &hostile->ring[0]);
}

/* A request that is fine, and how each attack spoils it. */
static void spoil(struct hostile *hostile, struct pvn_block_request *request)
{
	*request = (struct pvn_block_request){
		.id = 7, .operation = PVN_BLOCK_READ, .segments = 1,
		.segment[0] = { .ref = hostile->ref, .bytes = 4096 },
	};
	if (is(hostile, "operation"))
		request->operation = 77;
	else if (is(hostile, "reserved"))
		request->reserved = 1;
	else if (is(hostile, "flags"))
		request->flags = 0x80;
	else if (is(hostile, "fua-of-read"))
		request->flags = PVN_BLOCK_FUA;
	else if (is(hostile, "no-segments"))
		request->segments = 0;
	else if (is(hostile, "many-segments"))
		request->segments = PVN_BLOCK_DIRECT + 1;
	else if (is(hostile, "65535-segments"))
		request->segments = 65535;
	else if (is(hostile, "indirect-without"))
		request->indirect = hostile->ref;
	else if (is(hostile, "many-indirect")) {
		request->flags = PVN_BLOCK_INDIRECT;
		request->indirect = hostile->ref;
		request->segments = PVN_BLOCK_SEGMENTS + 1;
	} else if (is(hostile, "indirect-not-granted")) {
		request->flags = PVN_BLOCK_INDIRECT;
		request->indirect = 16000;
		request->segments = 20;
	} else if (is(hostile, "indirect-of-zeroes")) {
		request->flags = PVN_BLOCK_INDIRECT;
		request->indirect = hostile->ref;
		request->segments = 20;
	} else if (is(hostile, "beyond-page"))
		request->segment[0].offset = 512;
	else if (is(hostile, "offset"))
		request->segment[0].offset = 65024;
	else if (is(hostile, "no-bytes"))
		request->segment[0].bytes = 0;
	else if (is(hostile, "odd-bytes"))
		request->segment[0].bytes = 100;
	else if (is(hostile, "odd-offset")) {
		request->segment[0].offset = 100;
		request->segment[0].bytes = 512;
	} else if (is(hostile, "write-not-granted")) {
		request->operation = PVN_BLOCK_WRITE;
		request->segment[0].ref = 16000;
	} else if (is(hostile, "read-not-granted"))
		request->segment[0].ref = 16000;
	else if (is(hostile, "beyond-end"))
		request->sector = 1ull << 40;
	else if (is(hostile, "far-beyond-end"))
		request->sector = ~0ull;
	else if (is(hostile, "flush-with-data"))
		request->operation = PVN_BLOCK_FLUSH;
	else if (is(hostile, "flush-with-sectors")) {
		request->operation = PVN_BLOCK_FLUSH;
		request->segments = 0;
		request->sectors = 1;
	} else if (is(hostile, "discard-of-all")) {
		request->operation = PVN_BLOCK_DISCARD;
		request->segments = 0;
		request->sectors = ~0u;
	} else if (is(hostile, "discard-with-data"))
		request->operation = PVN_BLOCK_DISCARD;
}

/*
 * Changes requests while they are read: what is answered, and whether, does not matter.  Some may be, and the event of that
 * may come before the news that the connection is ended.
 */
static void change_while_read(struct hostile *hostile)
{
	struct pvn_ring *ring = hostile->ring[0].ring;
	unsigned int i, j;

	for (i = 0; i < 200; i++) {
		struct pvn_block_request *request = slot(hostile, i);

		hostile->attack = "";
		spoil(hostile, request);
		hostile->attack = "changes-while-read";
		smp_store_release(&ring->requests_produced, i + 1);
		pvn_notify(hostile->ring[0].port);
		for (j = 0; j < 300; j++) {
			WRITE_ONCE(request->segments, j & 1 ? 1 : 60000);
			WRITE_ONCE(request->segment[0].bytes, j & 2 ? 4096 : 65535);
			WRITE_ONCE(request->segment[0].offset, j & 4 ? 0 : 4095);
			WRITE_ONCE(request->flags, j & 8 ? 0 : PVN_BLOCK_INDIRECT);
			WRITE_ONCE(ring->requests_wanted, get_random_u32());
		}
	}
	/* Then what ends it for certain. */
	smp_store_release(&ring->requests_produced, 1 << 30);
	pvn_notify(hostile->ring[0].port);
}

static void strike(struct hostile *hostile)
{
	struct pvn_ring *ring = hostile->ring[0].ring;
	struct pvn_block_answer *answer;

	if (!ring)
		return;
	if (ring->answers_produced && !is(hostile, "changes-while-read")) {
		answer = (void *)ring + PVN_BLOCK_ANSWER_OFFSET(PAGES, 0);
		report(hostile, answer->id == 7 ? "answered" : "answered another", answer->status);
		return;
	}
	if (ring->requests_produced)
		return;
	if (is(hostile, "changes-while-read")) {
		change_while_read(hostile);
		return;
	}
	spoil(hostile, slot(hostile, 0));
	smp_store_release(&ring->requests_produced, is(hostile, "overrun") ? PVN_BLOCK_SLOTS(PAGES) + 1 : is(hostile, "backwards") ? ~0u : 1);
	pvn_notify(hostile->ring[0].port);
}

static void changed(struct pvn_device *device)
{
	hostile_changed(dev_get_drvdata(&device->dev), begin, strike, "");
}

static struct pvn_driver driver = {
	.type = "block", .probe = hostile_probe, .changed = changed, .remove = hostile_remove, .driver.name = "pvn-hostile-block",
};

static int __init hostile_init(void)
{
	return pvn_register_driver(&driver);
}
module_init(hostile_init);

static void __exit hostile_exit(void)
{
	pvn_unregister_driver(&driver);
}
module_exit(hostile_exit);

MODULE_DESCRIPTION("For tests: a front end of block devices that breaks the contract");
MODULE_LICENSE("GPL");
