// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cards and packets that there must not be (hostile_back.h).
 */
#include <linux/random.h>

#include <paravane/net_ring.h>

#include "hostile_back.h"

enum { SEND, RECEIVE };

static void offer(struct hostile *hostile)
{
	struct pvn_device *device = hostile->device;
	static char mac[24];

	if (!mac[0])
		pvn_store_read(device->home, "mac", mac, sizeof(mac));
	say(hostile, "mac", mac, "mac-of-many", "ff:ff:ff:ff:ff:ff");
	if (is(hostile, "mac-none"))
		pvn_store_remove(device->home, "mac");
	else if (is(hostile, "mac-odd"))
		pvn_store_write(device->home, "mac", "%s", "a card's address");
	say(hostile, "mtu", "1500", "mtu-large", "4294967296");
	if (is(hostile, "mtu-small"))
		pvn_store_write(device->home, "mtu", "1");
	say(hostile, "max-queues", "1", "queues-beyond-numbers", "18446744073709551616");
	say(hostile, "checksum", "1", "checksum-what", "yes");
	say(hostile, "gso", "1", "gso-what", "4294967295");
}

static struct pvn_net_received *slot(struct hostile *hostile, u32 index)
{
	return (void *)hostile->ring[RECEIVE].ring +
	       PVN_NET_RECEIVED_OFFSET(hostile->pages, index % PVN_NET_SLOTS(hostile->pages));
}

static void spoil(struct hostile *hostile, struct pvn_net_received *received)
{
	*received = (struct pvn_net_received){ .bytes = 64 };
	if (is(hostile, "no-bytes"))
		received->bytes = 0;
	else if (is(hostile, "65535-bytes"))
		received->bytes = 65535;
	else if (is(hostile, "page-and-one"))
		received->bytes = 4097;
	else if (is(hostile, "tiny"))
		received->bytes = 5;
	else if (is(hostile, "more-that-is-not-there") || is(hostile, "short-first"))
		received->flags = PVN_NET_MORE;
	else if (is(hostile, "offload-flags"))
		received->offload.flags = 0x80;
	else if (is(hostile, "offload-reserved"))
		received->offload.reserved = 1;
	else if (is(hostile, "offload-kind"))
		received->offload.gso = 77;
	else if (is(hostile, "offload-ecn-alone"))
		received->offload.gso = PVN_NET_GSO_ECN;
	else if (is(hostile, "csum-beyond")) {
		received->offload.flags = PVN_NET_NEEDS_CSUM;
		received->offload.csum_start = 60000;
		received->offload.csum_offset = 65535;
	} else if (is(hostile, "gso-of-nothing")) {
		received->offload.gso = PVN_NET_GSO_TCP4;
		received->offload.gso_bytes = 1;
		received->offload.header_bytes = 65535;
	}
}

/* As in hostile_block_back.c. */
static void change_while_read(struct hostile *hostile)
{
	struct pvn_ring *ring = hostile->ring[RECEIVE].ring;
	unsigned int i;

	smp_store_release(&ring->answers_produced, 4);
	pvn_notify(hostile->ring[RECEIVE].port);
	for (i = 0; i < 100000; i++) {
		struct pvn_net_received *received = slot(hostile, i & 3);

		WRITE_ONCE(received->bytes, i & 4 ? 64 : 65535);
		WRITE_ONCE(received->flags, i & 8);
		WRITE_ONCE(received->offload.gso, i >> 4);
		WRITE_ONCE(received->offload.gso_bytes, i);
	}
	smp_store_release(&ring->answers_produced, 1u << 30);
	pvn_notify(hostile->ring[RECEIVE].port);
}

static void strike(struct hostile *hostile)
{
	struct pvn_ring *send = hostile->ring[SEND].ring, *receive = hostile->ring[RECEIVE].ring;
	u32 given = smp_load_acquire(&receive->requests_produced);
	unsigned int i;

	if (hostile->step || given < 4)
		return;
	hostile->step = 1;
	for (i = 0; i < 4; i++)
		spoil(hostile, slot(hostile, i));
	if (is(hostile, "more-forever"))
		for (i = 0; i < given; i++)
			*slot(hostile, i) = (struct pvn_net_received){ .bytes = 4096, .flags = PVN_NET_MORE };
	if (is(hostile, "short-first")) {	/* not even its header is in one page */
		slot(hostile, 0)->bytes = 1;
		slot(hostile, 1)->flags = 0;
	}
	if (is(hostile, "changes-while-read")) {
		change_while_read(hostile);
		return;
	}
	if (is(hostile, "sent-overrun")) {
		smp_store_release(&send->answers_produced, 1u << 30);
		pvn_notify(hostile->ring[SEND].port);
		return;
	}
	smp_store_release(&receive->answers_produced, is(hostile, "overrun") ? given + 1 : is(hostile, "backwards") ? ~0u :
						      is(hostile, "more-forever") ? given : is(hostile, "short-first") ? 2 : 1);
	pvn_notify(hostile->ring[RECEIVE].port);
	report(hostile, "sends");
}

static const char *const prefixes[] = { [SEND] = "send-", [RECEIVE] = "receive-" };
static const struct hostile_kind kind = { .offer = offer, .strike = strike, .prefixes = prefixes, .rings = 2 };

static void changed(struct pvn_device *device)
{
	hostile_changed(dev_get_drvdata(&device->dev), &kind);
}

static struct pvn_driver driver = {
	.type = "net", .back = true, .probe = hostile_probe, .changed = changed, .remove = hostile_remove,
	.driver.name = "pvn-hostile-net-back",
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

MODULE_DESCRIPTION("For tests: a back end of network cards that breaks the contract");
MODULE_LICENSE("GPL");
