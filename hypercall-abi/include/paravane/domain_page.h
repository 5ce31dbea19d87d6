/* SPDX-License-Identifier: MIT */
/*
 * The page that all vCPUs of a domain share with the hypervisor, at PVN_SLOT_DOMAIN_PAGE.
 * Guest-writable; nothing in it is trusted.
 */
#ifndef PARAVANE_DOMAIN_PAGE_H
#define PARAVANE_DOMAIN_PAGE_H

#include "base.h"

#define PVN_EVENT_WORDS	16
#define PVN_EVENT_PORTS	1024		/* ports 0 to 1023; port 0 is never allocated */

struct pvn_domain_page {
	/* Bit (port % 64) of word (port / 64).  Paravane sets pending bits with locked operations, a guest clears them. */
	uint64_t event_pending[PVN_EVENT_WORDS];
	uint64_t event_mask[PVN_EVENT_WORDS];	/* all ones at the start */
	/* Wall clock at system time 0.  Add system time. */
	uint32_t wall_version;			/* odd while being written */
	uint32_t wall_nanoseconds;
	uint64_t wall_seconds;			/* since 1970-01-01 UTC */
	uint64_t p2m_frames;			/* entries of PVN_SLOT_P2M */
	uint64_t m2p_frames;			/* entries of PVN_SLOT_M2P */
	/* What PVN_VIRQ_POWER asks for: PVN_SHUTDOWN_POWER_OFF or PVN_SHUTDOWN_REBOOT. */
	uint32_t power_request;
	/* How many vCPUs PVN_VIRQ_VCPUS asks to have online: 1 to pvn_start_info.max_vcpus. */
	uint32_t vcpus_request;
	uint8_t reserved[3800];
};
PVN_ASSERT_OFFSET(struct pvn_domain_page, event_mask, 128);
PVN_ASSERT_OFFSET(struct pvn_domain_page, wall_version, 256);
PVN_ASSERT_OFFSET(struct pvn_domain_page, wall_seconds, 264);
PVN_ASSERT_OFFSET(struct pvn_domain_page, p2m_frames, 272);
PVN_ASSERT_OFFSET(struct pvn_domain_page, m2p_frames, 280);
PVN_ASSERT_OFFSET(struct pvn_domain_page, power_request, 288);
PVN_ASSERT_OFFSET(struct pvn_domain_page, vcpus_request, 292);
PVN_ASSERT_SIZE(struct pvn_domain_page, PVN_PAGE_SIZE);

#endif
