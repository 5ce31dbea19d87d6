// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets and buffers of a network card that there must not be (hostile.h).
 */
#include <linux/random.h>

#include <paravane/net_ring.h>

#include "hostile.h"

#define PAGES	4
#define SENDING	0
#define RECEIVING 1

static int begin(struct hostile *hostile)
{
	struct pvn_device *device = hostile->device;
	unsigned int domain = device->other_domain;

	grant_a_page(hostile, is(hostile, "buffer-read-only"));
	return pvn_open_front_ring(&hostile->ring[SENDING], domain, PAGES, hostile_irq, "pvn-hostile", hostile) ?:
	       pvn_open_front_ring(&hostile->ring[RECEIVING], domain, PAGES, hostile_irq, "pvn-hostile", hostile) ?:
	       pvn_store_write(device->home, "queues", "1") ?: pvn_store_write(device->home, "ring-pages", "%u", PAGES) ?:
	       pvn_store_write(device->home, "checksum", "1") ?: pvn_store_write(device->home, "gso", "1") ?:
	       pvn_tell_ring(device, "send-", 0, &hostile->ring[SENDING]) ?:
	       pvn_tell_ring(device, "receive-", 0, &hostile->ring[RECEIVING]);
}

static struct pvn_net_send *piece(struct hostile *hostile, u32 index)
{
	return (void *)hostile->ring[SENDING].ring + PVN_NET_SEND_OFFSET(index % PVN_NET_SLOTS(PAGES));
}

/* A packet of 64 bytes that is fine, and how each attack spoils it.  How many pieces it has. */
static unsigned int spoil(struct hostile *hostile)
{
	struct pvn_net_send *first = piece(hostile, 0);
	unsigned int i;

	*first = (struct pvn_net_send){ .ref = hostile->ref, .bytes = 64, .total = 64 };
	if (is(hostile, "no-bytes"))
		first->bytes = 0;
	else if (is(hostile, "beyond-page"))
		first->offset = 4090;
	else if (is(hostile, "65535-bytes"))
		first->bytes = first->total = 65535;
	else if (is(hostile, "reserved"))
		first->reserved = 1;
	else if (is(hostile, "reserved2"))
		first->reserved2 = 1;
	else if (is(hostile, "flags"))
		first->flags = 0x8000;
	else if (is(hostile, "total-less"))
		first->total = 60;
	else if (is(hostile, "total-more"))
		first->total = 1 << 31;
	else if (is(hostile, "tiny"))
		first->bytes = first->total = 13;
	else if (is(hostile, "not-granted"))
		first->ref = 16000;
	else if (is(hostile, "many-pieces") || is(hostile, "huge")) {
		bool huge = is(hostile, "huge");
		unsigned int count = huge ? 40 : PVN_NET_FRAGMENTS + 1;

		for (i = 0; i < count; i++)
			*piece(hostile, i) = (struct pvn_net_send){
				.ref = hostile->ref, .bytes = huge ? 4096 : 64, .flags = i + 1 < count ? PVN_NET_MORE : 0,
				.total = i ? 0 : count * (huge ? 4096 : 64),
			};
		return count;
	} else if (is(hostile, "short-first")) {	/* fine, but its header is in two pieces */
		for (i = 0; i < 6; i++)
			*piece(hostile, i) = (struct pvn_net_send){
				.ref = hostile->ref, .bytes = i ? 4000 : 1, .flags = i < 5 ? PVN_NET_MORE : 0, .total = i ? 0 : 20001,
			};
		return 6;
	} else if (is(hostile, "offload-flags"))
		first->offload.flags = 0xff;
	else if (is(hostile, "offload-gso")) {
		first->offload.gso = PVN_NET_GSO_TCP4;
		first->offload.gso_bytes = 1;
	} else if (is(hostile, "offload-kind"))
		first->offload.gso = 0x7f;
	else if (is(hostile, "offload-csum")) {
		first->offload.flags = PVN_NET_NEEDS_CSUM;
		first->offload.csum_start = first->offload.csum_offset = 65535;
	} else if (is(hostile, "offload-gso-large")) {
		first->offload.flags = PVN_NET_NEEDS_CSUM;
		first->offload.gso = PVN_NET_GSO_TCP6;
		first->offload.gso_bytes = 65535;
		first->offload.header_bytes = 65535;
		first->offload.csum_start = 40;
		first->offload.csum_offset = 16;
	}
	return 1;
}

/* As in hostile_block.c. */
static void change_while_read(struct hostile *hostile)
{
	struct pvn_ring *ring = hostile->ring[SENDING].ring;
	unsigned int i, j;

	for (i = 0; i < 200; i++) {
		struct pvn_net_send *now = piece(hostile, i);

		*now = (struct pvn_net_send){ .ref = hostile->ref, .bytes = 64, .total = 64 };
		smp_store_release(&ring->requests_produced, i + 1);
		pvn_notify(hostile->ring[SENDING].port);
		for (j = 0; j < 300; j++) {
			WRITE_ONCE(now->bytes, j & 1 ? 64 : 65535);
			WRITE_ONCE(now->offset, j & 2 ? 0 : 4095);
			WRITE_ONCE(now->total, j & 4 ? 64 : 1 << 30);
			WRITE_ONCE(now->flags, j & 8 ? 0 : PVN_NET_MORE);
		}
	}
	smp_store_release(&ring->requests_produced, 1 << 30);
	pvn_notify(hostile->ring[SENDING].port);
}

static void strike(struct hostile *hostile)
{
	struct pvn_ring *sending = hostile->ring[SENDING].ring, *receiving = hostile->ring[RECEIVING].ring;
	unsigned int i;

	if (!sending || !receiving)
		return;
	if (sending->answers_produced && !is(hostile, "changes-while-read")) {
		report(hostile, "taken", sending->answers_produced);
		return;
	}
	if (sending->requests_produced || receiving->requests_produced)
		return;
	if (strstarts(hostile->attack, "buffer")) {
		for (i = 0; i < 64; i++) {
			struct pvn_net_buffer *buffer = (void *)receiving + PVN_NET_BUFFER_OFFSET(i);

			buffer->ref = is(hostile, "buffer-not-granted") ? 16000 : hostile->ref;
		}
		smp_store_release(&receiving->requests_produced, is(hostile, "buffer-overrun") ? PVN_NET_SLOTS(PAGES) + 1 : 64);
		pvn_notify(hostile->ring[RECEIVING].port);
		return;
	}
	if (is(hostile, "changes-while-read")) {
		change_while_read(hostile);
		return;
	}
	i = spoil(hostile);
	smp_store_release(&sending->requests_produced, is(hostile, "overrun") ? PVN_NET_SLOTS(PAGES) + 1 : is(hostile, "backwards") ? ~0u : i);
	pvn_notify(hostile->ring[SENDING].port);
}

static void changed(struct pvn_device *device)
{
	hostile_changed(dev_get_drvdata(&device->dev), begin, strike, "send-");
}

static struct pvn_driver driver = {
	.type = "net", .probe = hostile_probe, .changed = changed, .remove = hostile_remove, .driver.name = "pvn-hostile-net",
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

MODULE_DESCRIPTION("For tests: a front end of network cards that breaks the contract");
MODULE_LICENSE("GPL");
