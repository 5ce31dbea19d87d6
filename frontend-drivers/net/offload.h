/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Linux leaves to a network device to do with a packet, and how the ring says it.  Linux's functions for virtio's form
 * of the same check what a stranger says.
 */
#ifndef PARAVANE_NET_OFFLOAD_H
#define PARAVANE_NET_OFFLOAD_H

#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/virtio_net.h>

#include <paravane/net_ring.h>

static_assert(PVN_NET_NEEDS_CSUM == VIRTIO_NET_HDR_F_NEEDS_CSUM);
static_assert(PVN_NET_CSUM_OK == VIRTIO_NET_HDR_F_DATA_VALID);
static_assert(PVN_NET_GSO_ECN == VIRTIO_NET_HDR_GSO_ECN);

/* False: this packet cannot be described. */
static inline bool pvn_offload_of(const struct sk_buff *skb, struct pvn_net_offload *offload)
{
	struct virtio_net_hdr header;

	if (virtio_net_hdr_from_skb(skb, &header, true, true, 0))
		return false;
	*offload = (struct pvn_net_offload){
		.flags = header.flags,
		.gso = header.gso_type & VIRTIO_NET_HDR_GSO_ECN,
		.header_bytes = (__force u16)header.hdr_len,
		.gso_bytes = (__force u16)header.gso_size,
		.csum_start = (__force u16)header.csum_start,
		.csum_offset = (__force u16)header.csum_offset,
	};
	switch (header.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE: return true;
	case VIRTIO_NET_HDR_GSO_TCPV4: offload->gso |= PVN_NET_GSO_TCP4; return true;
	case VIRTIO_NET_HDR_GSO_TCPV6: offload->gso |= PVN_NET_GSO_TCP6; return true;
	default: return false;
	}
}

/* @offload is a private copy of what the other side says, and @skb begins with the Ethernet header.  False: it lies. */
static inline bool pvn_take_offload(struct sk_buff *skb, const struct pvn_net_offload *offload)
{
	struct virtio_net_hdr header = {
		.flags = offload->flags,
		.hdr_len = (__force __virtio16)offload->header_bytes,
		.gso_size = (__force __virtio16)offload->gso_bytes,
		.csum_start = (__force __virtio16)offload->csum_start,
		.csum_offset = (__force __virtio16)offload->csum_offset,
	};

	if (offload->reserved || (offload->flags & ~(PVN_NET_NEEDS_CSUM | PVN_NET_CSUM_OK)))
		return false;
	switch (offload->gso & ~PVN_NET_GSO_ECN) {
	case 0:
		if (offload->gso)
			return false;
		header.gso_type = VIRTIO_NET_HDR_GSO_NONE;
		break;
	case PVN_NET_GSO_TCP4: header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4; break;
	case PVN_NET_GSO_TCP6: header.gso_type = VIRTIO_NET_HDR_GSO_TCPV6; break;
	default: return false;
	}
	header.gso_type |= offload->gso & PVN_NET_GSO_ECN;
	if (offload->flags & PVN_NET_CSUM_OK)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	return !virtio_net_hdr_to_skb(skb, &header, true);
}

/* A packet that came alone has nothing to be joined with: GRO costs more than it can save.  What waits in GRO goes first. */
static inline void pvn_receive(struct napi_struct *napi, struct sk_buff *skb, bool alone)
{
	if (alone && !napi->gro_bitmask && !napi->rx_count)
		netif_receive_skb(skb);
	else
		napi_gro_receive(napi, skb);
}

#endif
