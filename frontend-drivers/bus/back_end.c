// SPDX-License-Identifier: GPL-2.0-only
/*
 * The states that every back end goes through, whatever its device is (docs/abi/bus.md).
 */
#include <linux/export.h>

#include "bus.h"

static void set_closed(struct pvn_back_end *end)
{
	if (end->device->state != PVN_CLOSED)
		pvn_set_state(end->device, PVN_CLOSED);
}

static void close(struct pvn_back_end *end)
{
	end->operations->disconnect(end);
	if (end->operations->close)
		end->operations->close(end);
	set_closed(end);
}

static void offer(struct pvn_back_end *end)
{
	int error = end->operations->offer(end);

	end->must_offer = error == -ENOMEM;
	if (end->must_offer) {
		pvn_device_look_later(end->device);
		return;
	}
	if (error) {
		set_closed(end);
		return;
	}
	error = pvn_set_state(end->device, PVN_OFFERED);
	if (error)
		dev_err(&end->device->dev, "cannot say what it offers: %d\n", error);
}

/* With what the front end wrote: it may be anything. */
static void connect(struct pvn_back_end *end)
{
	int error = end->operations->connect(end);

	if (!error) {
		pvn_set_state(end->device, PVN_CONNECTED);
	} else if (error == -ENOMEM) {
		end->operations->disconnect(end);
		pvn_device_look_later(end->device);
	} else {
		close(end);
	}
}

void pvn_back_end_changed(struct pvn_device *device)
{
	struct pvn_back_end *end = dev_get_drvdata(&device->dev);
	bool online = pvn_device_online(device);

	if (end->operations->broken(end)) {
		end->ended_well = false;
		pvn_store_update(device->home, "error", "%s", "the front end broke the contract of its rings");
		close(end);
		return;
	}
	switch (device->other_state) {
	case PVN_NEW:
		if (!online) {
			close(end);
			break;
		}
		if (device->state == PVN_CONNECTED)
			end->operations->disconnect(end);
		if (device->state == PVN_CONNECTED || (device->state == PVN_CLOSED && end->ended_well) || end->must_offer)
			offer(end);
		break;
	case PVN_READY:
		if (!online)
			close(end);
		else if (device->state == PVN_OFFERED)
			connect(end);
		break;
	case PVN_CONNECTED:
		if (device->state != PVN_CONNECTED && device->state != PVN_CLOSING)
			break;
		/* A guest that uses the device still, or does not answer, is asked until the toolstack changes its mind. */
		if (online != (device->state == PVN_CONNECTED))
			pvn_set_state(device, online ? PVN_CONNECTED : PVN_CLOSING);
		else if (end->operations->look)
			end->operations->look(end);
		break;
	case PVN_CLOSING:
	case PVN_CLOSED:
	case PVN_GONE:
		if (device->state != PVN_CLOSED)
			end->ended_well = true;
		close(end);
		break;
	default:
		break;
	}
}
EXPORT_SYMBOL_GPL(pvn_back_end_changed);

void pvn_back_end_begin(struct pvn_back_end *end, struct pvn_device *device, const struct pvn_back_end_operations *operations)
{
	end->device = device;
	end->operations = operations;
	dev_set_drvdata(&device->dev, end);
	offer(end);
}
EXPORT_SYMBOL_GPL(pvn_back_end_begin);

void pvn_back_end_leave(struct pvn_back_end *end)
{
	end->operations->disconnect(end);
	if (end->operations->close)
		end->operations->close(end);
	if (end->device->state != PVN_CLOSED)
		pvn_set_state(end->device, PVN_NEW);
}
EXPORT_SYMBOL_GPL(pvn_back_end_leave);
