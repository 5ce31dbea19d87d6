/* SPDX-License-Identifier: MIT */
/*
 * /dev/pvn in dom0: how the toolstack reaches the hypervisor.  Only root can open it.
 * An open file can make hypercalls, map memory of other domains, and listen to one event port.
 */
#ifndef PARAVANE_CONTROL_H
#define PARAVANE_CONTROL_H

#include "base.h"
#if defined(__KERNEL__)
#include <linux/ioctl.h>
#else
#include <sys/ioctl.h>
#endif

/* Addresses in arguments must be mapped, and stay so: lock the memory first. */
struct pvn_control_hypercall {
	uint64_t number;
	uint64_t argument[6];
	int64_t result;			/* out */
};
PVN_ASSERT_SIZE(struct pvn_control_hypercall, 64);

/* Puts frames (PVN_DOMAIN_GET_MFNS) at consecutive pages of a shared mapping of /dev/pvn. */
struct pvn_control_map {
	uint64_t address;		/* page aligned */
	uint64_t mfns;			/* address of uint64_t[count] */
	uint32_t count;			/* at most 4096 */
	uint32_t reserved;		/* zero */
};
PVN_ASSERT_SIZE(struct pvn_control_map, 24);

/* What this file hears: readable (poll, read of 8 bytes: a count) when it was signalled.  One port or virq for each file. */
struct pvn_control_bind {
	uint16_t domain;
	uint16_t reserved;		/* zero */
	uint32_t remote_port;
};
PVN_ASSERT_SIZE(struct pvn_control_bind, 8);

/* The store's ring (store_ring.h) of this kernel itself. */
struct pvn_control_store {
	uint64_t frame;			/* out: machine frame */
	uint32_t port;			/* out: offered to this domain itself */
	uint32_t reserved;
};
PVN_ASSERT_SIZE(struct pvn_control_store, 16);

#define PVN_CONTROL_HYPERCALL	_IOWR('P', 1, struct pvn_control_hypercall)
#define PVN_CONTROL_MAP		_IOW('P', 2, struct pvn_control_map)
#define PVN_CONTROL_BIND	_IOW('P', 3, struct pvn_control_bind)
#define PVN_CONTROL_BIND_VIRQ	_IO('P', 4)	/* argument: PVN_VIRQ_DOMAIN.  Any number of files hear it */
#define PVN_CONTROL_NOTIFY	_IO('P', 5)	/* signals the other end of this file's port */
#define PVN_CONTROL_STORE	_IOR('P', 6, struct pvn_control_store)

#endif
