/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A front end that breaks the contract in one way, which `attack` names, each time that it is offered a device.  It says
 * "hostile: NAME: ended" when the back end has ended the connection, or what else came of it.
 */
#ifndef PARAVANE_HOSTILE_H
#define PARAVANE_HOSTILE_H

#include <linux/module.h>
#include <linux/slab.h>

#include "bus/bus.h"

struct hostile {
	struct pvn_device *device;
	struct pvn_front_ring ring[2];	/* a block device has one, a card for sending and one for receiving */
	u32 ref;			/* of `page` */
	struct page *page;
	const char *attack;		/* under way */
	bool reported;
};

static char attack[32];
module_param_string(attack, attack, sizeof(attack), 0644);

static inline bool is(const struct hostile *hostile, const char *name)
{
	return !strcmp(hostile->attack, name);
}

static inline irqreturn_t hostile_irq(int irq, void *data)
{
	pvn_device_look(((struct hostile *)data)->device);
	return IRQ_HANDLED;
}

static inline void report(struct hostile *hostile, const char *what, int number)
{
	if (!hostile->reported)
		pr_info("hostile: %s: %s %d\n", hostile->attack, what, number);
	hostile->reported = true;
}

static inline void close_rings(struct hostile *hostile)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hostile->ring); i++)
		pvn_close_front_ring(&hostile->ring[i], hostile);
	if (hostile->page)
		pvn_grant_end_page(hostile->ref);
	hostile->page = NULL;
}

/* A page that the back end may write to, unless @read_only. */
static inline void grant_a_page(struct hostile *hostile, bool read_only)
{
	hostile->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	pvn_grant_reserve(1, &hostile->ref);
	pvn_grant(hostile->ref, hostile->device->other_domain, hostile->page, read_only);
}

/* What can be wrong before there is a connection: the same for every kind of device.  True: that was the attack. */
static inline bool attack_by_store(struct hostile *hostile, const char *prefix)
{
	struct pvn_device *device = hostile->device;
	char ring[32], port[32];

	snprintf(ring, sizeof(ring), "%sring-0", prefix);
	snprintf(port, sizeof(port), "%sport-0", prefix);
	if (is(hostile, "no-keys"))
		pvn_store_remove(device->home, "queues");
	else if (is(hostile, "no-queues"))
		pvn_store_write(device->home, "queues", "0");
	else if (is(hostile, "many-queues"))
		pvn_store_write(device->home, "queues", "4294967297");
	else if (is(hostile, "odd-pages"))
		pvn_store_write(device->home, "ring-pages", "3");
	else if (is(hostile, "many-pages"))
		pvn_store_write(device->home, "ring-pages", "16");
	else if (is(hostile, "few-refs"))
		pvn_store_write(device->home, ring, "%u", hostile->ring[0].ref[0]);
	else if (is(hostile, "no-refs"))
		pvn_store_write(device->home, ring, "%s", "none 1 2 3");
	else if (is(hostile, "same-refs"))	/* one page, four times: that is no fault, only a strange ring */
		pvn_store_write(device->home, ring, "%u %u %u %u", hostile->ring[0].ref[0], hostile->ring[0].ref[0],
				hostile->ring[0].ref[0], hostile->ring[0].ref[0]);
	else if (is(hostile, "refs-not-granted"))
		pvn_store_write(device->home, ring, "%s", "16380 16381 16382 16383");
	else if (is(hostile, "refs-nowhere"))
		pvn_store_write(device->home, ring, "%s", "4294967295 4294967294 1000000 99999999");
	else if (is(hostile, "port-0"))
		pvn_store_write(device->home, port, "0");
	else if (is(hostile, "port-of-others"))
		pvn_store_write(device->home, port, "%u", pvn_start_info->console_port);
	else if (is(hostile, "port-nowhere"))
		pvn_store_write(device->home, port, "77777777777");
	else if (is(hostile, "no-state"))
		pvn_store_write(device->home, "state", "%s", "a state that there is not");
	else if (is(hostile, "closed-at-once"))
		pvn_set_state(device, PVN_CLOSED);
	else
		return false;
	return true;
}

/* The states, as for any front end; `begin` makes rings, `strike` is called when they are connected and at each event. */
static inline void hostile_changed(struct hostile *hostile, int (*begin)(struct hostile *), void (*strike)(struct hostile *),
				   const char *prefix)
{
	struct pvn_device *device = hostile->device;

	switch (device->other_state) {
	case PVN_OFFERED:
		if (device->state == PVN_READY)
			break;
		close_rings(hostile);
		hostile->attack = attack;
		hostile->reported = false;
		if (begin(hostile))
			pr_err("hostile: cannot begin\n");
		attack_by_store(hostile, prefix);
		if (!is(hostile, "closed-at-once") && !is(hostile, "no-state"))
			pvn_set_state(device, PVN_READY);
		break;
	case PVN_CONNECTED:
		if (device->state == PVN_READY)
			pvn_set_state(device, PVN_CONNECTED);
		if (is(hostile, "closed-when-connected"))
			pvn_set_state(device, PVN_CLOSED);
		else
			strike(hostile);
		break;
	case PVN_CLOSED:
	case PVN_GONE:
		if (!hostile->ring[0].ring)
			break;
		report(hostile, "ended", 0);
		close_rings(hostile);
		pvn_set_state(device, PVN_NEW);
		break;
	case PVN_NEW:
		close_rings(hostile);
		pvn_set_state(device, PVN_NEW);
		break;
	default:
		break;
	}
}

static inline int hostile_probe(struct pvn_device *device)
{
	struct hostile *hostile = kzalloc(sizeof(*hostile), GFP_KERNEL);

	if (!hostile)
		return -ENOMEM;
	hostile->device = device;
	hostile->attack = attack;
	dev_set_drvdata(&device->dev, hostile);
	pvn_set_state(device, PVN_NEW);
	return 0;
}

static inline void hostile_remove(struct pvn_device *device)
{
	struct hostile *hostile = dev_get_drvdata(&device->dev);

	pvn_set_state(device, PVN_CLOSING);
	pvn_wait_for_other(device, ~(BIT(PVN_CONNECTED) | BIT(PVN_CLOSING)));
	close_rings(hostile);
	pvn_set_state(device, PVN_CLOSED);
	kfree(hostile);
}

#endif
