// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two rings of one queue: packets out, in pages that are granted for as long as the back end copies from them; packets
 * in, in pages that it copies to.  What the back end writes is read once and checked.
 */
#include <linux/etherdevice.h>
#include <linux/interrupt.h>
#include <linux/slab.h>
#include <net/page_pool/helpers.h>

#include "net.h"
#include "offload.h"

/* So much of a packet is copied to where Linux looks for headers. */
#define HEADERS		128
#define SMALL_PER_PAGE	(PAGE_SIZE / NET_SMALL_BYTES)
#define NO_REF		U32_MAX		/* of a slot that waits for one */

static void give_up(struct net_queue *queue, const char *why)
{
	if (queue->broken)
		return;
	queue->why_broken = why;
	smp_store_release(&queue->broken, true);
	netif_tx_stop_queue(netdev_get_tx_queue(queue->dev, queue->index));
	pvn_device_look(queue->device);
}

/* Whether the back end wants to hear of it. */
static bool publish(struct net_ring *ring)
{
	u32 old = ring->published;

	if (old == ring->produced)
		return false;
	WRITE_ONCE(ring->published, ring->produced);
	smp_store_release(&ring->shared.ring->requests_produced, ring->produced);
	smp_mb();	/* the back end says what it wants, then looks */
	return pvn_ring_passes(old, ring->produced, READ_ONCE(ring->shared.ring->requests_wanted));
}

/* Answers that are there; negative: more than there can be. */
static int answers(struct net_ring *ring)
{
	u32 count = smp_load_acquire(&ring->shared.ring->answers_produced) - ring->done;

	return count > READ_ONCE(ring->published) - ring->done ? -1 : count;
}

/* A grant that the other side does not let go is replaced, so that the slot can go on.  False: there is none to replace it now. */
static bool take_back(struct net_ring *ring, u32 slot)
{
	if (ring->ref[slot] == NO_REF)
		return false;
	if (likely(pvn_grant_end_shared(ring->ref[slot])) || pvn_grant_reserve_now(&ring->ref[slot]))
		return true;
	ring->ref[slot] = NO_REF;
	return false;
}

/* --- packets out ------------------------------------------------------------------------------------------------ */

static void put_piece(struct net_queue *queue, struct page *page, unsigned int offset, unsigned int bytes,
		      struct pvn_net_send *message)
{
	struct net_ring *ring = &queue->send;
	u32 slot = ring->produced++ % queue->slots;

	pvn_grant(ring->ref[slot], queue->device->other_domain, page, true);
	message->ref = ring->ref[slot];
	message->offset = offset;
	message->bytes = bytes;
	*(struct pvn_net_send *)((void *)ring->shared.ring + PVN_NET_SEND_OFFSET(slot)) = *message;
	memset(message, 0, sizeof(*message));
	message->flags = PVN_NET_MORE;
}

/* Pieces that end with their pages.  @left: bytes of the packet that come after. */
static void put_pieces(struct net_queue *queue, struct page *page, unsigned int offset, unsigned int bytes,
		       unsigned int *left, struct pvn_net_send *message)
{
	page += offset / PAGE_SIZE;
	offset %= PAGE_SIZE;
	while (bytes) {
		unsigned int part = min_t(unsigned int, bytes, PAGE_SIZE - offset);

		*left -= part;
		message->flags = *left ? PVN_NET_MORE : 0;
		put_piece(queue, page++, offset, part, message);
		bytes -= part;
		offset = 0;
	}
}

static unsigned int pieces_in(unsigned int offset, unsigned int bytes)
{
	return bytes ? PFN_UP(offset % PAGE_SIZE + bytes) : 0;
}

static unsigned int pieces_of(const struct sk_buff *skb)
{
	unsigned int count = pieces_in(offset_in_page(skb->data), skb_headlen(skb)), i;

	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++)
		count += pieces_in(skb_frag_off(&skb_shinfo(skb)->frags[i]), skb_frag_size(&skb_shinfo(skb)->frags[i]));
	return count;
}

static unsigned int room(struct net_queue *queue)
{
	return queue->slots - (queue->send.produced - READ_ONCE(queue->send.done));
}

/* Whether somebody waits until the back end has copied what it was sent. */
static bool anybody_waits(struct net_queue *queue)
{
	return READ_ONCE(queue->skbs_sent) != READ_ONCE(queue->skbs_taken) ||
	       netif_tx_queue_stopped(netdev_get_tx_queue(queue->dev, queue->index));
}

/*
 * The back end is to tell when it has copied half of what is on its way.  If nobody waits for that, as after small packets, when half of
 * the ring is full: an event and what it wakes cost more than a small packet.
 */
static void want_answers(struct net_queue *queue)
{
	struct net_ring *ring = &queue->send;
	unsigned long flags;
	bool relaxed;

	/* Who writes last has seen the most. */
	spin_lock_irqsave(&queue->wanting, flags);
	relaxed = !anybody_waits(queue);
	do {
		u32 done = READ_ONCE(ring->done);
		u32 after = relaxed ? queue->slots / 2 : (READ_ONCE(ring->published) - done) / 2 + 1;

		WRITE_ONCE(queue->relaxed, relaxed);
		WRITE_ONCE(ring->shared.ring->answers_wanted, done + after);
		smp_mb();	/* says what it wants, then looks: for answers, and whether somebody waits now */
	} while (relaxed && !(relaxed = !anybody_waits(queue)));
	spin_unlock_irqrestore(&queue->wanting, flags);
}

/* A packet, or a queue that was stopped; want_answers() may just have found nobody. */
static void now_somebody_waits(struct net_queue *queue)
{
	struct net_ring *ring = &queue->send;

	smp_mb();	/* as in want_answers() */
	if (likely(!READ_ONCE(queue->relaxed)))
		return;
	want_answers(queue);
	if (READ_ONCE(ring->shared.ring->answers_produced) != READ_ONCE(ring->done))
		napi_schedule(&queue->napi);
}

static void send_small(struct net_queue *queue, struct sk_buff *skb, struct pvn_net_send *message)
{
	struct net_ring *ring = &queue->send;
	u32 slot = ring->produced++ % queue->slots;

	skb_copy_bits(skb, 0, queue->small + slot * NET_SMALL_BYTES, skb->len);
	message->ref = queue->small_ref[slot / SMALL_PER_PAGE];
	message->offset = slot % SMALL_PER_PAGE * NET_SMALL_BYTES;
	message->bytes = skb->len;
	*(struct pvn_net_send *)((void *)ring->shared.ring + PVN_NET_SEND_OFFSET(slot)) = *message;
	queue->skb[slot] = NET_SMALL;
	skb_tx_timestamp(skb);
	dev_sw_netstats_tx_add(queue->dev, 1, skb->len);
	dev_consume_skb_any(skb);
}

static void send_pieces(struct net_queue *queue, struct sk_buff *skb, struct pvn_net_send *message)
{
	unsigned int left = skb->len, i;
	u32 last;

	put_pieces(queue, virt_to_page(skb->data), offset_in_page(skb->data), skb_headlen(skb), &left, message);
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *fragment = &skb_shinfo(skb)->frags[i];

		put_pieces(queue, skb_frag_page(fragment), skb_frag_off(fragment), skb_frag_size(fragment), &left, message);
	}
	last = (queue->send.produced - 1) % queue->slots;
	queue->skb[last] = skb;
	queue->sent_bytes[last] = skb->len;
	skb_tx_timestamp(skb);
	netdev_tx_sent_queue(netdev_get_tx_queue(queue->dev, queue->index), skb->len);
	WRITE_ONCE(queue->skbs_sent, queue->skbs_sent + 1);
}

netdev_tx_t net_queue_send(struct net_queue *queue, struct sk_buff *skb)
{
	struct netdev_queue *txq = netdev_get_tx_queue(queue->dev, queue->index);
	struct net_ring *ring = &queue->send;
	struct pvn_net_send message = { .total = skb->len };
	bool waits = false;

	if (!ring->shared.ring || queue->broken || skb->len > PVN_NET_PACKET_MAX || !pvn_offload_of(skb, &message.offload) ||
	    (pieces_of(skb) > PVN_NET_FRAGMENTS && skb_linearize(skb))) {
		dev_core_stats_tx_dropped_inc(queue->dev);
		dev_kfree_skb_any(skb);
		goto out;
	}
	if (skb->len <= NET_SMALL_BYTES) {
		send_small(queue, skb, &message);
	} else {
		send_pieces(queue, skb, &message);
		waits = true;
	}
	if (room(queue) < PVN_NET_FRAGMENTS) {
		waits = true;
		netif_tx_stop_queue(txq);
		smp_mb();	/* stopped, then looks; net_queue_poll makes room, then looks whether it is stopped */
		if (room(queue) >= PVN_NET_FRAGMENTS)
			netif_tx_start_queue(txq);
	}
out:
	if (ring->shared.ring && (!netdev_xmit_more() || netif_xmit_stopped(txq)) && publish(ring))
		pvn_notify(ring->shared.port);
	if (waits)
		now_somebody_waits(queue);
	return NETDEV_TX_OK;
}

/* The back end has copied what it is done with. */
static void take_sent(struct net_queue *queue, int budget)
{
	struct netdev_queue *txq = netdev_get_tx_queue(queue->dev, queue->index);
	struct net_ring *ring = &queue->send;
	unsigned int packets = 0, bytes = 0, told = 0;
	int count;

	do {
		count = answers(ring);
		if (count < 0) {
			give_up(queue, "took what was not sent");
			return;
		}
		while (count--) {
			u32 slot = ring->done % queue->slots;
			struct sk_buff *skb = queue->skb[slot];

			if (skb != NET_SMALL && !take_back(ring, slot)) {
				give_up(queue, "keeps pages that it has sent");
				return;
			}
			queue->skb[slot] = NULL;
			if (skb && skb != NET_SMALL) {
				packets++;
				bytes += queue->sent_bytes[slot];
				napi_consume_skb(skb, budget);
			}
			WRITE_ONCE(ring->done, ring->done + 1);
		}
		WRITE_ONCE(queue->skbs_taken, queue->skbs_taken + packets - told);
		told = packets;
		want_answers(queue);
	} while (READ_ONCE(ring->shared.ring->answers_produced) != ring->done);
	dev_sw_netstats_tx_add(queue->dev, packets, bytes);
	netdev_tx_completed_queue(txq, packets, bytes);
	smp_mb();	/* as where the queue is stopped */
	if (netif_tx_queue_stopped(txq) && room(queue) >= PVN_NET_FRAGMENTS)
		netif_tx_wake_queue(txq);
}

/* --- packets in ------------------------------------------------------------------------------------------------- */

/* Gives pages for as many slots as are free. */
static void fill(struct net_queue *queue)
{
	struct net_ring *ring = &queue->receive;

	while (ring->produced - ring->done < queue->slots) {
		u32 slot = ring->produced % queue->slots;
		struct pvn_net_buffer *buffer = (void *)ring->shared.ring + PVN_NET_BUFFER_OFFSET(slot);

		if (!queue->page[slot]) {
			struct page *page = page_pool_dev_alloc_pages(queue->pool);

			if (!page) {
				/* The back end may have none left to tell us of. */
				mod_timer(&queue->refill, jiffies + HZ / 10);
				break;
			}
			queue->page[slot] = page;
			pvn_grant(ring->ref[slot], queue->device->other_domain, page, false);
		}
		*buffer = (struct pvn_net_buffer){ .ref = ring->ref[slot] };
		ring->produced++;
	}
	if (publish(ring))
		pvn_notify(ring->shared.port);
}

static void refill(struct timer_list *timer)
{
	struct net_queue *queue = from_timer(queue, timer, refill);

	napi_schedule(&queue->napi);
}

static struct pvn_net_received received_in(struct net_queue *queue, u32 index)
{
	struct pvn_net_received received;

	memcpy(&received, (void *)queue->receive.shared.ring + PVN_NET_RECEIVED_OFFSET(queue->pages, index % queue->slots), sizeof(received));
	barrier();	/* copied, before it is looked at */
	return received;
}

/*
 * A packet of @count pages, which the back end has no more access to.  A small one is copied, and the page stays where it
 * is, granted.  NULL: no memory; the packet is lost.
 */
static struct sk_buff *make_skb(struct net_queue *queue, const struct pvn_net_received *piece, unsigned int count, bool *fine)
{
	struct net_ring *ring = &queue->receive;
	bool whole = count == 1 && piece[0].bytes <= NET_SMALL_BYTES;
	unsigned int linear = whole ? NET_SMALL_BYTES : count > MAX_SKB_FRAGS ? piece[0].bytes : HEADERS;
	struct sk_buff *skb = napi_alloc_skb(&queue->napi, linear);
	unsigned int i, copied;

	*fine = true;
	for (i = 0; i < count; i++) {
		u32 slot = (ring->done + i) % queue->slots;
		struct page *page = queue->page[slot];

		if (whole) {
			if (skb)
				skb_put_data(skb, page_address(page), piece[0].bytes);
			break;
		}
		queue->page[slot] = NULL;
		if (!take_back(ring, slot))
			*fine = false;
		if (!skb) {
			page_pool_put_full_page(queue->pool, page, true);
			continue;
		}
		copied = i ? 0 : min_t(unsigned int, piece[0].bytes, linear);
		if (copied)
			skb_put_data(skb, page_address(page), copied);
		if (piece[i].bytes > copied)
			skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, copied, piece[i].bytes - copied, PAGE_SIZE);
		else
			page_pool_put_full_page(queue->pool, page, true);
	}
	if (skb)
		skb_mark_for_recycle(skb);
	return skb;
}

/* False: that was no packet.  @alone: no other one came with it. */
static bool take_packet(struct net_queue *queue, const struct pvn_net_received *piece, unsigned int count, bool alone)
{
	struct net_device *dev = queue->dev;
	unsigned int bytes = 0, i;
	struct sk_buff *skb;
	bool fine;

	for (i = 0; i < count; i++)
		bytes += piece[i].bytes;
	skb = make_skb(queue, piece, count, &fine);
	WRITE_ONCE(queue->receive.done, queue->receive.done + count);
	if (!skb) {
		dev_core_stats_rx_dropped_inc(dev);
		return fine;
	}
	skb->dev = dev;
	skb_reset_mac_header(skb);
	if (!fine || !pskb_may_pull(skb, ETH_HLEN) || !pvn_take_offload(skb, &piece[0].offload)) {
		kfree_skb(skb);
		return false;
	}
	dev_sw_netstats_rx_add(dev, bytes);
	skb->protocol = eth_type_trans(skb, dev);
	skb_record_rx_queue(skb, queue->index);
	pvn_receive(&queue->napi, skb, alone);
	return true;
}

static int take_received(struct net_queue *queue, int budget)
{
	struct pvn_net_received piece[PVN_NET_PAGES];
	int packets = 0, there = answers(&queue->receive), count;

	if (there < 0)
		goto broken;
	for (; packets < budget && there; packets++, there -= count) {
		count = 0;
		do {
			if (count == ARRAY_SIZE(piece) || count == there)
				goto broken;
			piece[count] = received_in(queue, queue->receive.done + count);
			if (!piece[count].bytes || piece[count].bytes > PAGE_SIZE)
				goto broken;
		} while (piece[count++].flags & PVN_NET_MORE);
		if (!take_packet(queue, piece, count, !packets && count == there))
			goto broken;
	}
	if (queue->receive.produced - queue->receive.done < queue->slots)
		fill(queue);
	return packets;
broken:
	give_up(queue, "sent what is no packet");
	return packets;
}

int net_queue_poll(struct napi_struct *napi, int budget)
{
	struct net_queue *queue = container_of(napi, struct net_queue, napi);
	struct net_ring *receive = &queue->receive;
	int packets = 0;

	if (READ_ONCE(queue->broken) || !receive->shared.ring) {
		napi_complete(napi);
		return 0;
	}
	take_sent(queue, budget);
	packets = take_received(queue, budget);
	if (packets == budget || !napi_complete_done(napi, packets))
		return packets;
	WRITE_ONCE(receive->shared.ring->answers_wanted, receive->done + 1);
	smp_mb();	/* as in publish() */
	if (READ_ONCE(receive->shared.ring->answers_produced) != receive->done && !READ_ONCE(queue->broken))
		napi_schedule(napi);
	return packets;
}

static irqreturn_t answered(int irq, void *data)
{
	struct net_queue *queue = data;

	napi_schedule_irqoff(&queue->napi);
	return IRQ_HANDLED;
}

/* --- the rings -------------------------------------------------------------------------------------------------- */

static unsigned int small_pages(const struct net_queue *queue)
{
	return queue->slots / SMALL_PER_PAGE;
}

static int init_ring(struct net_ring *ring, unsigned int slots)
{
	int error;

	ring->ref = kvmalloc_array(slots, sizeof(*ring->ref), GFP_KERNEL);
	if (!ring->ref)
		return -ENOMEM;
	error = pvn_grant_reserve(slots, ring->ref);
	if (error) {
		kvfree(ring->ref);
		ring->ref = NULL;
	}
	return error;
}

static void exit_ring(struct net_ring *ring, unsigned int slots)
{
	unsigned int i;

	for (i = 0; ring->ref && i < slots; i++)
		if (ring->ref[i] != NO_REF)
			pvn_grant_release(1, &ring->ref[i]);
	kvfree(ring->ref);
	ring->ref = NULL;
}

int net_queue_init(struct net_queue *queue, struct pvn_device *device, unsigned int pages)
{
	int error;

	queue->device = device;
	queue->pages = pages;
	queue->slots = PVN_NET_SLOTS(pages);
	timer_setup(&queue->refill, refill, 0);
	spin_lock_init(&queue->wanting);
	queue->skb = kvcalloc(queue->slots, sizeof(*queue->skb), GFP_KERNEL);
	queue->sent_bytes = kvcalloc(queue->slots, sizeof(*queue->sent_bytes), GFP_KERNEL);
	queue->page = kvcalloc(queue->slots, sizeof(*queue->page), GFP_KERNEL);
	queue->small_ref = kvcalloc(small_pages(queue), sizeof(*queue->small_ref), GFP_KERNEL);
	error = queue->skb && queue->sent_bytes && queue->page && queue->small_ref ? 0 : -ENOMEM;
	error = error ?: init_ring(&queue->send, queue->slots) ?: init_ring(&queue->receive, queue->slots);
	if (error)
		net_queue_exit(queue);
	return error;
}

void net_queue_exit(struct net_queue *queue)
{
	exit_ring(&queue->send, queue->slots);
	exit_ring(&queue->receive, queue->slots);
	kvfree(queue->skb);
	kvfree(queue->sent_bytes);
	kvfree(queue->page);
	kvfree(queue->small_ref);
	queue->skb = NULL;
	queue->sent_bytes = NULL;
	queue->page = NULL;
	queue->small_ref = NULL;
}

static int make_pool(struct net_queue *queue)
{
	struct page_pool_params params = {
		.pool_size = queue->slots,
		.nid = NUMA_NO_NODE,
		.napi = &queue->napi,
		.netdev = queue->dev,
	};
	struct page_pool *pool = page_pool_create(&params);

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	queue->pool = pool;
	return 0;
}

static int open_ring(struct net_queue *queue, struct net_ring *ring, const char *name)
{
	unsigned int i;
	int error = 0;

	for (i = 0; !error && i < queue->slots; i++)
		if (ring->ref[i] == NO_REF)
			error = pvn_grant_reserve(1, &ring->ref[i]);
	if (error)
		return error;
	ring->produced = ring->published = ring->done = 0;
	return pvn_open_front_ring(&ring->shared, queue->device->other_domain, queue->pages, answered, name, queue);
}

static int make_small(struct net_queue *queue)
{
	void *room = alloc_pages_exact(small_pages(queue) * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);
	unsigned int i;
	int error;

	static_assert(PVN_NET_SLOTS(1) % SMALL_PER_PAGE == 0);
	if (!room)
		return -ENOMEM;
	error = pvn_grant_reserve(small_pages(queue), queue->small_ref);
	if (error) {
		free_pages_exact(room, small_pages(queue) * PAGE_SIZE);
		return error;
	}
	for (i = 0; i < small_pages(queue); i++)
		pvn_grant(queue->small_ref[i], queue->device->other_domain, virt_to_page(room + i * PAGE_SIZE), true);
	queue->small = room;
	return 0;
}

static void free_small(struct net_queue *queue)
{
	unsigned int i;

	for (i = 0; queue->small && i < small_pages(queue); i++)
		pvn_grant_end_page(queue->small_ref[i]);
	queue->small = NULL;
}

int net_queue_open(struct net_queue *queue)
{
	int error = make_pool(queue) ?: make_small(queue) ?: open_ring(queue, &queue->send, "pvn-net-send") ?:
		    open_ring(queue, &queue->receive, "pvn-net-receive");

	if (error)
		net_queue_close(queue);
	queue->broken = false;
	return error;
}

void net_queue_close(struct net_queue *queue)
{
	unsigned int i;
	u32 done;

	del_timer_sync(&queue->refill);
	for (done = queue->send.done; queue->send.shared.ring && done != queue->send.produced; done++) {
		u32 slot = done % queue->slots;

		if (queue->skb[slot] != NET_SMALL) {
			take_back(&queue->send, slot);
			dev_kfree_skb_any(queue->skb[slot]);
		}
		queue->skb[slot] = NULL;
	}
	queue->skbs_taken = queue->skbs_sent;
	queue->relaxed = false;
	free_small(queue);
	for (i = 0; i < queue->slots && queue->page; i++) {
		if (!queue->page[i])
			continue;
		take_back(&queue->receive, i);
		page_pool_put_full_page(queue->pool, queue->page[i], false);
		queue->page[i] = NULL;
	}
	pvn_close_front_ring(&queue->send.shared, queue);
	pvn_close_front_ring(&queue->receive.shared, queue);
	page_pool_destroy(queue->pool);
	queue->pool = NULL;
	netdev_tx_reset_queue(netdev_get_tx_queue(queue->dev, queue->index));
}
