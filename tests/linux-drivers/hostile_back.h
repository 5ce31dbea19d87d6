/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A back end that breaks the contract in one way, which `attack` names, each time that a front end comes.  It says
 * "hostile: NAME: ended" when the front end has ended the connection, or what else came of it.
 */
#ifndef PARAVANE_HOSTILE_BACK_H
#define PARAVANE_HOSTILE_BACK_H

#include <linux/module.h>
#include <linux/slab.h>

#include "bus/bus.h"

struct hostile {
	struct pvn_device *device;
	struct pvn_back_ring ring[2];	/* a block device has one, a card for sending and one for receiving */
	unsigned int pages;		/* of each */
	char attack[32];		/* under way */
	bool reported, ended;
	u32 step;
};

struct hostile_kind {
	void (*offer)(struct hostile *hostile);		/* what the device is, and what is wrong with that */
	void (*strike)(struct hostile *hostile);	/* when connected, and at each event */
	const char *const *prefixes;			/* of the rings' names */
	unsigned int rings;
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

static inline void report(struct hostile *hostile, const char *what)
{
	if (!hostile->reported)
		pr_info("hostile: %s: %s\n", hostile->attack, what);
	hostile->reported = true;
}

/* One key of what is offered: @bad if that is the attack. */
static inline void say(struct hostile *hostile, const char *key, const char *good, const char *attack_name, const char *bad)
{
	pvn_store_write(hostile->device->home, key, "%s", is(hostile, attack_name) ? bad : good);
}

static inline void drop_rings(struct hostile *hostile)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hostile->ring); i++)
		pvn_close_back_ring(&hostile->ring[i], hostile);
}

static inline int take_rings(struct hostile *hostile, const struct hostile_kind *kind)
{
	unsigned int i, queues;
	int error = pvn_read_ring_numbers(hostile->device, 1, &queues, &hostile->pages);

	for (i = 0; !error && i < kind->rings; i++)
		error = pvn_open_back_ring(&hostile->ring[i], hostile->device, kind->prefixes[i], 0, hostile->pages, hostile_irq,
					   "pvn-hostile", hostile);
	return error;
}

static inline void hostile_changed(struct hostile *hostile, const struct hostile_kind *kind)
{
	struct pvn_device *device = hostile->device;

	switch (device->other_state) {
	case PVN_NEW:
		/* A front end that is bound anew passes through closed too fast to be seen; then the attack is another. */
		if (device->state == PVN_OFFERED && is(hostile, attack)) {
			if (is(hostile, "no-such-state"))
				report(hostile, "back to new");
			break;
		}
		drop_rings(hostile);
		strscpy(hostile->attack, attack);
		hostile->reported = hostile->ended = false;
		hostile->step = 0;
		kind->offer(hostile);
		pvn_store_write(device->home, "max-ring-pages", "1");
		pvn_set_state(device, is(hostile, "closing-at-once") ? PVN_CLOSING : PVN_OFFERED);
		break;
	case PVN_READY:
		if (is(hostile, "closed-when-ready"))
			pvn_set_state(device, PVN_CLOSED);
		else if (is(hostile, "no-such-state"))
			pvn_store_write(device->home, "state", "%s", "a state that there is not");
		else if (device->state == PVN_OFFERED) {
			if (take_rings(hostile, kind))
				pr_err("hostile: cannot take its rings\n");
			pvn_set_state(device, PVN_CONNECTED);
		}
		fallthrough;
	case PVN_CONNECTED:
		if (hostile->ring[kind->rings - 1].ring)
			kind->strike(hostile);
		break;
	case PVN_CLOSING:
	case PVN_CLOSED:
	case PVN_GONE:
		if (!hostile->ended)
			pr_info("hostile: %s: ended\n", hostile->attack);
		hostile->ended = true;
		drop_rings(hostile);
		pvn_set_state(device, PVN_CLOSED);
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
	hostile->reported = hostile->ended = true;	/* of a front end that was there before */
	dev_set_drvdata(&device->dev, hostile);
	pvn_set_state(device, PVN_NEW);
	return 0;
}

static inline void hostile_remove(struct pvn_device *device)
{
	struct hostile *hostile = dev_get_drvdata(&device->dev);

	drop_rings(hostile);
	pvn_set_state(device, PVN_NEW);
	kfree(hostile);
}

#endif
