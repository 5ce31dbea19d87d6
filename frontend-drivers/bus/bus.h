/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What front ends and back ends are built of: grants, the store, and the bus that finds devices.
 * docs/abi/bus.md has the places in the store and the states.
 */
#ifndef PARAVANE_BUS_H
#define PARAVANE_BUS_H

#include <linux/device.h>
#include <linux/mm.h>
#include <linux/workqueue.h>

#include <asm/paravane.h>
#include <paravane/grant.h>
#include <paravane/ring.h>

/* --- grants (grants.c) ------------------------------------------------------------------------------------------ */

/* Takes @count references out of the table, or none: -ENOSPC.  They grant nothing yet. */
int pvn_grant_reserve(unsigned int count, u32 *refs);
/* One, of those that the table has by now: it does not sleep. */
bool pvn_grant_reserve_now(u32 *ref);
void pvn_grant_release(unsigned int count, const u32 *refs);

/* Lets @domain use the frame.  No more than a store: @ref is the caller's. */
void pvn_grant(u32 ref, unsigned int domain, struct page *page, bool read_only);
/* False: the other side uses it still, and the reference stays as it is. */
bool pvn_grant_end(u32 ref);
/*
 * The same for a page that was allocated for it, with the reference, both of which are given up: what the other side does not
 * let go of yet is kept here until it does.
 */
void pvn_grant_end_page(u32 ref);
/* The same for a page that is somebody else's, too.  False: @ref is not the caller's any more. */
bool pvn_grant_end_shared(u32 ref);

/* Pages of another domain, mapped side by side. */
struct pvn_mapped {
	void *address;
	unsigned int count;
	u32 handle[PVN_RING_PAGES];
};
/* -errno; -EINVAL, -EACCES and the like say that the other side granted something else. */
int pvn_map_granted(unsigned int domain, const u32 *refs, unsigned int count, struct pvn_mapped *mapped);
void pvn_unmap_granted(struct pvn_mapped *mapped);

/* --- the store (store.c) ---------------------------------------------------------------------------------------- */

#define PVN_PATH_MAX	256
#define PVN_VALUE_MAX	513	/* with a NUL */

/* Paths are absolute, or begin at the domain's own place.  All sleep, for as long as the store is not served. */
int pvn_store_read(const char *folder, const char *name, char *value, size_t size);
int pvn_store_read_number(const char *folder, const char *name, u64 *number);
__printf(3, 4) int pvn_store_write(const char *folder, const char *name, const char *format, ...);
/* The same, if there is such a folder: -ENOENT. */
__printf(3, 4) int pvn_store_update(const char *folder, const char *name, const char *format, ...);
int pvn_store_remove(const char *folder, const char *name);
/* Calls @each for each child, in order; stops when it does not return 0, with that. */
int pvn_store_list(const char *path, int (*each)(void *data, const char *name), void *data);

struct pvn_watch {
	struct list_head entry;
	u64 token;
	u32 depth;
	char path[PVN_PATH_MAX];
	void (*fired)(struct pvn_watch *watch);		/* in a work; must not use the store */
};
int pvn_watch(struct pvn_watch *watch, u32 depth, void (*fired)(struct pvn_watch *), const char *folder, const char *name);
/* Afterwards it does not fire any more.  Nothing happens if it was not begun. */
void pvn_unwatch(struct pvn_watch *watch);

/* --- the bus (bus.c) -------------------------------------------------------------------------------------------- */

enum pvn_state {
	PVN_GONE,		/* there is nothing in the store */
	PVN_NEW,		/* nobody has done anything, or no driver any more */
	PVN_OFFERED,		/* the back end says what it can do */
	PVN_READY,		/* the front end has granted its rings */
	PVN_CONNECTED,
	PVN_CLOSING,		/* wants to end */
	PVN_CLOSED,
};

struct pvn_device {
	struct device dev;
	char type[32];
	bool back;			/* its back end; else its front end */
	u16 other_domain;
	unsigned int number;		/* among the front end's domain's of this type */
	char home[PVN_PATH_MAX];	/* its own place in the store */
	char other[PVN_PATH_MAX];	/* the other side's */
	enum pvn_state state, other_state;
	struct pvn_watch other_watch, online_watch;
	bool present;			/* in the last look at the store */
	bool attach;			/* there was no driver, perhaps for want of memory: try once more */
	bool gone;			/* its place has vanished: the other side will not serve it any more */
	atomic_t changes;		/* seen of the other side */
	struct delayed_work work;	/* looks at the other side */
};

struct pvn_driver {
	const char *type;
	bool back;
	int (*probe)(struct pvn_device *device);
	/*
	 * The other side's state or its other keys may have changed (device->other_state), or what the toolstack wants
	 * (`online`).  In a work, one at a time with probe and remove.
	 */
	void (*changed)(struct pvn_device *device);
	void (*remove)(struct pvn_device *device);
	struct device_driver driver;
};

#define to_pvn_device(d)	container_of(d, struct pvn_device, dev)
#define to_pvn_driver(d)	container_of_const(d, struct pvn_driver, driver)

int __pvn_register_driver(struct pvn_driver *driver, struct module *owner, const char *module_name);
#define pvn_register_driver(driver)	__pvn_register_driver(driver, THIS_MODULE, KBUILD_MODNAME)
void pvn_unregister_driver(struct pvn_driver *driver);

/* Has changed() called: at once, or in a second, for what failed of what may be there by then. */
void pvn_device_look(struct pvn_device *device);
void pvn_device_look_later(struct pvn_device *device);
int pvn_set_state(struct pvn_device *device, enum pvn_state state);
/* From remove(), where changed() is not called any more: until the other side is in one of @states (bits), or 5 s. */
void pvn_wait_for_other(struct pvn_device *device, unsigned long states);
/* Writes `error` beside the state, where the toolstack looks, and says it in the log. */
__printf(2, 3) void pvn_device_error(struct pvn_device *device, const char *format, ...);
/* What the toolstack wants of a back end; true unless it says 0. */
bool pvn_device_online(struct pvn_device *device);

/* --- the states of a back end (back_end.c) ---------------------------------------------------------------------- */

/* In a work, one at a time. */
struct pvn_back_end;
struct pvn_back_end_operations {
	/* Both are called again in a while after -ENOMEM. */
	/* Opens what it serves, unless that is open, and writes beside its state what it can do.  -errno: has been told. */
	int (*offer)(struct pvn_back_end *end);
	/* Begins to serve, with what the front end wrote and granted.  -errno: has been told; disconnect() follows. */
	int (*connect)(struct pvn_back_end *end);
	/* Lets go of everything of the front end's; nothing if it is not connected. */
	void (*disconnect)(struct pvn_back_end *end);
	/* Closes what offer() opened; may be NULL. */
	void (*close)(struct pvn_back_end *end);
	/* Whether the front end has broken the contract since. */
	bool (*broken)(struct pvn_back_end *end);
	/* While connected, when something may have changed; may be NULL. */
	void (*look)(struct pvn_back_end *end);
};

struct pvn_back_end {
	struct pvn_device *device;
	const struct pvn_back_end_operations *operations;
	bool ended_well;		/* closed because the front end was: it may come again */
	bool must_offer;		/* there was no memory to */
};

/* From probe(). */
void pvn_back_end_begin(struct pvn_back_end *end, struct pvn_device *device, const struct pvn_back_end_operations *operations);
/* A driver's changed(). */
void pvn_back_end_changed(struct pvn_device *device);
/* From remove(): a driver that is replaced leaves no trace but `new`, from where the next one begins. */
void pvn_back_end_leave(struct pvn_back_end *end);

/* --- rings (rings.c) -------------------------------------------------------------------------------------------- */

struct pvn_front_ring {
	struct pvn_ring *ring;		/* NULL: not open */
	unsigned int pages, port;
	int irq;
	u32 ref[PVN_RING_PAGES];
};
/* All zeroes but answers_wanted, which is 1.  The handler can be called at once. */
int pvn_open_front_ring(struct pvn_front_ring *ring, unsigned int domain, unsigned int pages, irq_handler_t handler,
			const char *name, void *data);
void pvn_close_front_ring(struct pvn_front_ring *ring, void *data);
int pvn_tell_ring(struct pvn_device *device, const char *prefix, unsigned int index, const struct pvn_front_ring *ring);
/* A number of the back end's, at least 1 and at most @most; @otherwise if it has none. */
u64 pvn_offered(struct pvn_device *device, const char *key, u64 most, u64 otherwise);

struct pvn_back_ring {
	struct pvn_ring *ring;		/* NULL: not open */
	unsigned int port;
	int irq;
	struct pvn_mapped mapped;
};
/* How many the front end has made, within what was offered; -EINVAL: it has not, and its error is told. */
int pvn_read_ring_numbers(struct pvn_device *device, unsigned int most_queues, unsigned int *queues, unsigned int *pages);
/* -errno: what the front end wrote, or granted, cannot be used. */
int pvn_open_back_ring(struct pvn_back_ring *ring, struct pvn_device *device, const char *prefix, unsigned int index,
		       unsigned int pages, irq_handler_t handler, const char *irq_name, void *data);
void pvn_close_back_ring(struct pvn_back_ring *ring, void *data);

/* Whether an index that goes from @old to @new passes @wanted: then whoever waits for that has to hear. */
static inline bool pvn_ring_passes(u32 old, u32 new, u32 wanted)
{
	return new - wanted < new - old;
}

#endif
