// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings between two domains: pages that the front end grants and a port, which the back end finds in the store as PREFIXring-N
 * and PREFIXport-N.
 */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>

#include "bus.h"

static void free_ring(struct pvn_front_ring *own)
{
	unsigned int i;

	for (i = 0; i < own->pages; i++)
		pvn_grant_end_page(own->ref[i]);
	own->ring = NULL;
}

int pvn_open_front_ring(struct pvn_front_ring *own, unsigned int domain, unsigned int pages, irq_handler_t handler,
			const char *name, void *data)
{
	struct pvn_ring *ring = alloc_pages_exact(pages * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);
	unsigned int i;
	int result;

	if (!ring)
		return -ENOMEM;
	result = pvn_grant_reserve(pages, own->ref);
	if (result) {
		free_pages_exact(ring, pages * PAGE_SIZE);
		return result;
	}
	ring->answers_wanted = 1;
	own->pages = pages;
	own->ring = ring;
	for (i = 0; i < pages; i++)
		pvn_grant(own->ref[i], domain, virt_to_page((void *)ring + i * PAGE_SIZE), false);
	result = pvn_alloc_port(domain);
	if (result < 0)
		goto free;
	own->port = result;
	result = pvn_bind_port(own->port, handler, 0, name, data);
	if (result < 0) {
		pvn_hypercall(PVN_EVENT_CLOSE, own->port);
		goto free;
	}
	own->irq = result;
	return 0;
free:
	free_ring(own);
	return result;
}
EXPORT_SYMBOL_GPL(pvn_open_front_ring);

void pvn_close_front_ring(struct pvn_front_ring *own, void *data)
{
	if (!own->ring)
		return;
	pvn_unbind(own->irq, data);
	free_ring(own);
}
EXPORT_SYMBOL_GPL(pvn_close_front_ring);

int pvn_tell_ring(struct pvn_device *device, const char *prefix, unsigned int index, const struct pvn_front_ring *own)
{
	char name[32], refs[PVN_RING_PAGES * 11 + 1];
	int length = 0, error;
	unsigned int i;

	for (i = 0; i < own->pages; i++)
		length += scnprintf(refs + length, sizeof(refs) - length, "%s%u", i ? " " : "", own->ref[i]);
	snprintf(name, sizeof(name), "%sring-%u", prefix, index);
	error = pvn_store_write(device->home, name, "%s", refs);
	snprintf(name, sizeof(name), "%sport-%u", prefix, index);
	return error ?: pvn_store_write(device->home, name, "%u", own->port);
}
EXPORT_SYMBOL_GPL(pvn_tell_ring);

/* Exactly @count numbers. */
static int parse_refs(const char *text, u32 *refs, unsigned int count)
{
	unsigned int i;
	int used;

	for (i = 0; i < count; i++, text += used)
		if (sscanf(text, "%u%n", &refs[i], &used) != 1)
			return -EINVAL;
	return *text ? -EINVAL : 0;
}

int pvn_open_back_ring(struct pvn_back_ring *own, struct pvn_device *device, const char *prefix, unsigned int index,
		       unsigned int pages, irq_handler_t handler, const char *irq_name, void *data)
{
	char name[32], text[PVN_RING_PAGES * 11 + 1];
	u32 refs[PVN_RING_PAGES];
	u64 port;
	int result;

	snprintf(name, sizeof(name), "%sring-%u", prefix, index);
	result = pvn_store_read(device->other, name, text, sizeof(text)) ?: parse_refs(text, refs, pages);
	snprintf(name, sizeof(name), "%sport-%u", prefix, index);
	result = result ?: pvn_store_read_number(device->other, name, &port);
	if (!result && port > U32_MAX)
		result = -EINVAL;
	result = result ?: pvn_map_granted(device->other_domain, refs, pages, &own->mapped);
	if (result)
		return result;
	own->ring = own->mapped.address;
	WRITE_ONCE(own->ring->requests_wanted, 1);
	/* The handler, and whom it wakes, use the numbers below. */
	result = pvn_bind_interdomain(device->other_domain, port, handler, IRQF_NO_AUTOEN, irq_name, data);
	if (result < 0) {
		pvn_unmap_granted(&own->mapped);
		own->ring = NULL;
		return result;
	}
	own->irq = result;
	own->port = pvn_port_of_irq(own->irq);
	/* A port that is bound is pending: whatever came before is looked at. */
	enable_irq(own->irq);
	return 0;
}
EXPORT_SYMBOL_GPL(pvn_open_back_ring);

void pvn_close_back_ring(struct pvn_back_ring *own, void *data)
{
	if (!own->ring)
		return;
	pvn_unbind(own->irq, data);
	pvn_unmap_granted(&own->mapped);
	own->ring = NULL;
}
EXPORT_SYMBOL_GPL(pvn_close_back_ring);

int pvn_read_ring_numbers(struct pvn_device *device, unsigned int most_queues, unsigned int *queues, unsigned int *pages)
{
	u64 wanted, size;

	if (pvn_store_read_number(device->other, "queues", &wanted) || !wanted || wanted > most_queues ||
	    pvn_store_read_number(device->other, "ring-pages", &size) || !is_power_of_2(size) || size > PVN_RING_PAGES) {
		pvn_device_error(device, "the front end asks for queues or rings that were not offered");
		return -EINVAL;
	}
	*queues = wanted;
	*pages = size;
	return 0;
}
EXPORT_SYMBOL_GPL(pvn_read_ring_numbers);

u64 pvn_offered(struct pvn_device *device, const char *key, u64 most, u64 otherwise)
{
	u64 value;

	if (pvn_store_read_number(device->other, key, &value) || !value)
		return otherwise;
	return min(value, most);
}
EXPORT_SYMBOL_GPL(pvn_offered);
