// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two rings of one queue.  What the guest sends is copied, by grant copy, to packets of this domain; what this domain
 * sends is copied to pages that the guest has given.  What stands in the rings is hostile: it is copied once, then checked.
 */
#include <linux/etherdevice.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/slab.h>
#include <net/page_pool/helpers.h>

#include "back.h"
#include "net/offload.h"

/* So much of a large packet is where Linux looks for headers; the rest in pages. */
#define HEADERS		256
/* A packet of so many pages is large. */
#define LARGE		4
/* So long a packet waits for a guest that gives no buffers. */
#define STALL		HZ
#define CREDIT_PERIOD	(NSEC_PER_SEC / 20)

static void give_up(struct back_queue *queue, const char *why)
{
	if (xchg(&queue->broken, true))
		return;
	dev_err(&queue->back->end.device->dev, "the front end %s; it is not served any more\n", why);
	pvn_device_look(queue->back->end.device);
}

/* Requests that are there; negative: more than there can be. */
static int requests(struct back_queue *queue, struct back_ring *ring)
{
	u32 count = smp_load_acquire(&ring->shared.ring->requests_produced) - ring->done;

	return count > queue->slots ? -1 : count;
}

/* @count requests more are done with. */
static void finish(struct back_ring *ring, unsigned int count)
{
	ring->done += count;
	smp_store_release(&ring->shared.ring->answers_produced, ring->done);
}

/* If the front end wants to hear of what has been finished since it last did. */
static void tell(struct back_ring *ring)
{
	u32 old = ring->told;

	if (old == ring->done)
		return;
	ring->told = ring->done;
	smp_mb();	/* the front end says what it wants, then looks */
	if (pvn_ring_passes(old, ring->done, READ_ONCE(ring->shared.ring->answers_wanted)))
		pvn_notify(ring->shared.port);
}

/* --- what the guest sends --------------------------------------------------------------------------------------- */

static struct pvn_net_send sent_in(struct back_queue *queue, u32 index)
{
	struct pvn_net_send message;

	memcpy(&message, queue->send.shared.mapped.address + PVN_NET_SEND_OFFSET(index % queue->slots), sizeof(message));
	barrier();	/* copied, before it is looked at */
	return message;
}

/* One page more of it.  False: no memory. */
static bool add_page(struct back_queue *queue, struct sk_buff *skb, unsigned int bytes)
{
	struct page *page = page_pool_dev_alloc_pages(queue->pool);

	if (page)
		skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, 0, bytes, PAGE_SIZE);
	return page;
}

/*
 * Room for the packet whose pieces are in queue->piece: headers, then pages.  A large one has a page for each piece where that can be,
 * so that each is one copy; others have full pages.
 */
static struct sk_buff *make_skb(struct back_queue *queue, unsigned int total, unsigned int pieces)
{
	unsigned int linear = total <= ETH_FRAME_LEN + 64 ? total : HEADERS, left, i;
	unsigned int most = min_t(unsigned int, PFN_UP(total) + 2, MAX_SKB_FRAGS + (queue->piece[0].bytes <= HEADERS));
	bool large = pieces >= LARGE && pieces <= most;
	struct sk_buff *skb;

	if (large)
		linear = min_t(unsigned int, queue->piece[0].bytes, HEADERS);
	skb = napi_alloc_skb(&queue->napi, linear);
	if (!skb)
		return NULL;
	skb_mark_for_recycle(skb);
	skb_put(skb, linear);
	for (i = 0, left = total - linear; left; i++) {
		unsigned int part = min_t(unsigned int, left, PAGE_SIZE);

		if (large)
			part = queue->piece[i].bytes - (i ? 0 : linear);
		if (part && !add_page(queue, skb, part)) {
			kfree_skb(skb);
			return NULL;
		}
		left -= part;
	}
	return skb;
}

/* A place in a packet. */
struct place {
	struct sk_buff *skb;
	int fragment;			/* -1: its linear part */
	unsigned int offset;
};

/* How many bytes are there side by side in one page; 0: none.  @address: physical. */
static unsigned int run_at(const struct place *place, phys_addr_t *address)
{
	struct skb_shared_info *shared = skb_shinfo(place->skb);
	const skb_frag_t *fragment;

	if (place->fragment < 0) {
		*address = virt_to_phys(place->skb->data + place->offset);
		return min_t(unsigned int, skb_headlen(place->skb) - place->offset, PAGE_SIZE - offset_in_page(*address));
	}
	if (place->fragment >= shared->nr_frags)
		return 0;
	fragment = &shared->frags[place->fragment];
	*address = page_to_phys(skb_frag_page(fragment)) + skb_frag_off(fragment) + place->offset;
	return min_t(unsigned int, skb_frag_size(fragment) - place->offset, PAGE_SIZE - offset_in_page(*address));
}

static void advance(struct place *place, unsigned int bytes)
{
	unsigned int size = place->fragment < 0 ? skb_headlen(place->skb) :
			    skb_frag_size(&skb_shinfo(place->skb)->frags[place->fragment]);

	place->offset += bytes;
	if (place->offset < size)
		return;
	place->fragment++;
	place->offset = 0;
}

/* Copies that put a piece of the guest's into the packet. */
static void add_copies(struct back_queue *queue, const struct pvn_net_send *piece, struct place *place)
{
	unsigned int done = 0;

	while (done < piece->bytes) {
		phys_addr_t address;
		unsigned int part = min_t(unsigned int, run_at(place, &address), piece->bytes - done);

		queue->copy[queue->copies++] = (struct pvn_grant_copy){
			.local = address, .ref = piece->ref, .domain = queue->back->end.device->other_domain,
			.offset = piece->offset + done, .bytes = part,
		};
		done += part;
		advance(place, part);
	}
}

/* What the packets that were taken wait for; then they are this domain's. */
static bool deliver(struct back_queue *queue)
{
	struct net_device *dev = queue->back->dev;
	struct sk_buff *skb;
	bool fine = !queue->copies || !pvn_hypercall(PVN_GRANT_COPY, queue->copy, queue->copies), alone;

	queue->copies = 0;
	if (!fine)
		give_up(queue, "did not grant what it sends");
	alone = skb_queue_len(&queue->taken) == 1;
	while ((skb = __skb_dequeue(&queue->taken))) {
		struct pvn_net_offload offload = *(struct pvn_net_offload *)skb->cb;
		unsigned int bytes = skb->len;

		memset(skb->cb, 0, sizeof(offload));
		skb->dev = dev;
		skb_reset_mac_header(skb);
		if (!fine || !pskb_may_pull(skb, ETH_HLEN) || !pvn_take_offload(skb, &offload)) {
			/* Of what a guest says of its own packets only it suffers. */
			dev_core_stats_rx_dropped_inc(dev);
			kfree_skb(skb);
			continue;
		}
		skb->protocol = eth_type_trans(skb, dev);
		skb_record_rx_queue(skb, queue->index);
		skb_probe_transport_header(skb);
		dev_sw_netstats_rx_add(dev, bytes);
		pvn_receive(&queue->napi, skb, alone);
	}
	return fine;
}

/*
 * The packet at @index, of at most @there requests.  How many it takes; 0: no packet stands there yet, as a whole; negative:
 * it breaks the contract.  No memory: the packet is lost.
 */
static int take_packet(struct back_queue *queue, u32 index, unsigned int there)
{
	struct pvn_net_send *piece = queue->piece;
	unsigned int count = 0, bytes = 0;
	struct sk_buff *skb;
	struct place place;
	unsigned int i;

	static_assert(sizeof(struct pvn_net_offload) <= sizeof(skb->cb));
	do {
		if (count == there)
			return 0;
		if (count == PVN_NET_FRAGMENTS)
			return -1;
		piece[count] = sent_in(queue, index + count);
		if (!piece[count].bytes || piece[count].offset + piece[count].bytes > PAGE_SIZE || piece[count].reserved ||
		    piece[count].reserved2 || (piece[count].flags & ~PVN_NET_MORE))
			return -1;
		bytes += piece[count].bytes;
	} while (piece[count++].flags & PVN_NET_MORE);
	if (bytes != piece[0].total || bytes < ETH_HLEN || bytes > PVN_NET_PACKET_MAX)
		return -1;
	skb = make_skb(queue, bytes, count);
	if (!skb) {
		dev_core_stats_rx_dropped_inc(queue->back->dev);
		return count;
	}
	place = (struct place){ .skb = skb, .fragment = -1 };
	for (i = 0; i < count; i++)
		add_copies(queue, &piece[i], &place);
	*(struct pvn_net_offload *)skb->cb = piece[0].offload;
	__skb_queue_tail(&queue->taken, skb);
	queue->credit -= bytes;
	return count;
}

/* Whether it may send now; if not, it may in a while. */
static bool may_send(struct back_queue *queue)
{
	u64 rate = queue->back->rate, now;

	if (!rate)
		return true;
	now = ktime_get_ns();
	if (now - queue->credit_time >= CREDIT_PERIOD || queue->credit > 0) {
		u64 passed = min(now - queue->credit_time, (u64)NSEC_PER_SEC);

		if (queue->credit <= 0) {
			/* At most a period's worth is saved up. */
			queue->credit = min_t(s64, queue->credit + (s64)div64_u64(rate * (passed / 1000), 1000000),
					      div64_u64(rate * (CREDIT_PERIOD / 1000), 1000000) + ETH_FRAME_LEN);
			queue->credit_time = now;
		}
		if (queue->credit > 0)
			return true;
	}
	mod_timer(&queue->more_credit, jiffies + nsecs_to_jiffies(CREDIT_PERIOD) + 1);
	return false;
}

static void credit_is_there(struct timer_list *timer)
{
	struct back_queue *queue = from_timer(queue, timer, more_credit);

	napi_schedule(&queue->napi);
}

int back_queue_poll(struct napi_struct *napi, int budget)
{
	struct back_queue *queue = container_of(napi, struct back_queue, napi);
	struct back_ring *ring = &queue->send;
	unsigned int taken = 0;
	bool limited = false;
	int packets = 0, there, count = 0;

	if (READ_ONCE(queue->broken)) {
		napi_complete(napi);
		return 0;
	}
	there = requests(queue, ring);
	while (there > 0 && packets < budget) {
		if (!may_send(queue)) {
			limited = true;
			break;
		}
		/* The copies of one packet: one for each piece, and one more for each page that it goes on in. */
		if (queue->copies + PVN_NET_FRAGMENTS + MAX_SKB_FRAGS + 2 > COPIES && !deliver(queue))
			break;
		count = take_packet(queue, ring->done + taken, there);
		if (count <= 0)
			break;
		packets++;
		taken += count;
		there -= count;
	}
	if (there < 0 || count < 0)
		give_up(queue, "sent what is no packet");
	if (deliver(queue)) {
		finish(ring, taken);
		tell(ring);
	}
	if (packets == budget || !napi_complete_done(napi, packets) || limited || READ_ONCE(queue->broken))
		return packets;
	WRITE_ONCE(ring->shared.ring->requests_wanted, ring->done + there + 1);
	smp_mb();	/* as in tell() */
	if (READ_ONCE(ring->shared.ring->requests_produced) - ring->done > there)
		napi_schedule(napi);
	return packets;
}

static irqreturn_t guest_sent(int irq, void *data)
{
	struct back_queue *queue = data;

	napi_schedule_irqoff(&queue->napi);
	return IRQ_HANDLED;
}

/* --- what it receives ------------------------------------------------------------------------------------------- */

static struct netdev_queue *transmit_queue(struct back_queue *queue)
{
	return netdev_get_tx_queue(queue->back->dev, queue->index);
}

/* Whether the guest has given @count buffers; if not, it is asked to say when. */
static bool has_buffers(struct back_queue *queue, unsigned int count)
{
	struct back_ring *ring = &queue->receive;
	int there = requests(queue, ring);

	if (there < 0)
		give_up(queue, "gave more buffers than its ring holds");
	if (there < 0 || there >= count)
		return true;
	WRITE_ONCE(ring->shared.ring->requests_wanted, ring->done + count);
	smp_mb();	/* as in tell() */
	return READ_ONCE(ring->shared.ring->requests_produced) - ring->done >= count;
}

static unsigned int runs_in(unsigned int offset, unsigned int bytes)
{
	return bytes ? PFN_UP(offset_in_page(offset) + bytes) : 0;
}

/* How often it goes on in another page. */
static unsigned int runs_of(struct sk_buff *skb)
{
	unsigned int count = runs_in(offset_in_page(skb->data), skb_headlen(skb)), i;

	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++)
		count += runs_in(skb_frag_off(&skb_shinfo(skb)->frags[i]), skb_frag_size(&skb_shinfo(skb)->frags[i]));
	return count;
}

/* Pages of the guest's that it takes.  @by_runs: one for each run of bytes, not as few as can be. */
static unsigned int pages_for(struct sk_buff *skb, bool *by_runs)
{
	unsigned int pages = DIV_ROUND_UP(skb->len, PAGE_SIZE), runs;

	*by_runs = false;
	if (pages < LARGE)
		return pages;
	runs = runs_of(skb);
	*by_runs = runs <= min_t(unsigned int, pages + 2, PVN_NET_PAGES);
	return *by_runs ? runs : pages;
}

/* As run_at(), of what is not empty. */
static unsigned int next_run(struct place *place, phys_addr_t *address)
{
	unsigned int bytes;

	while (!(bytes = run_at(place, address)))
		advance(place, 0);
	return bytes;
}

/* Into the guest's buffers, one after the other.  False: it did not grant them. */
static bool copy_packet(struct back_queue *queue, struct sk_buff *skb, const struct pvn_net_offload *offload, unsigned int pages,
			bool by_runs)
{
	struct back_ring *ring = &queue->receive;
	struct pvn_grant_copy *copy = queue->copy_out;
	struct place place = { .skb = skb, .fragment = -1 };
	unsigned int left = skb->len, page;

	for (page = 0; page < pages; page++) {
		u32 slot = (ring->done + page) % queue->slots;
		struct pvn_net_buffer *buffer = ring->shared.mapped.address + PVN_NET_BUFFER_OFFSET(slot);
		struct pvn_net_received *received = ring->shared.mapped.address + PVN_NET_RECEIVED_OFFSET(queue->pages, slot);
		phys_addr_t address;
		unsigned int run = next_run(&place, &address), bytes = by_runs ? run : min_t(unsigned int, left, PAGE_SIZE), done = 0;
		u32 ref = READ_ONCE(buffer->ref);

		for (;;) {
			unsigned int part = min(run, bytes - done);

			if (copy == queue->copy_out + COPIES_OUT)
				return false;
			*copy++ = (struct pvn_grant_copy){
				.local = address, .ref = ref, .domain = queue->back->end.device->other_domain,
				.flags = PVN_GRANT_COPY_TO, .offset = done, .bytes = part,
			};
			done += part;
			advance(&place, part);
			if (done == bytes)
				break;
			run = next_run(&place, &address);
		}
		left -= bytes;
		*received = (struct pvn_net_received){ .bytes = bytes, .flags = left ? PVN_NET_MORE : 0 };
		if (!page)
			received->offload = *offload;
	}
	return !pvn_hypercall(PVN_GRANT_COPY, queue->copy_out, copy - queue->copy_out);
}

netdev_tx_t back_queue_give(struct back_queue *queue, struct sk_buff *skb)
{
	struct netdev_queue *txq = transmit_queue(queue);
	unsigned int bytes = skb->len, pages;
	struct pvn_net_offload offload;
	bool by_runs;

	pages = pages_for(skb, &by_runs);
	if (READ_ONCE(queue->broken) || bytes > PVN_NET_PACKET_MAX || pages > queue->slots || !pvn_offload_of(skb, &offload))
		goto drop;
	if (!has_buffers(queue, pages)) {
		if (queue->stalled)
			goto drop;
		mod_timer(&queue->stall, jiffies + STALL);
		netif_tx_stop_queue(txq);
		smp_mb();	/* stopped, then looks; guest_gave is told, then looks whether it is stopped */
		if (!has_buffers(queue, pages)) {
			tell(&queue->receive);
			return NETDEV_TX_BUSY;
		}
		netif_tx_start_queue(txq);
	}
	if (READ_ONCE(queue->broken))
		goto drop;
	if (!copy_packet(queue, skb, &offload, pages, by_runs)) {
		give_up(queue, "did not grant the buffers that it gave");
		goto drop;
	}
	queue->stalled = false;
	finish(&queue->receive, pages);
	dev_sw_netstats_tx_add(queue->back->dev, 1, bytes);
	dev_consume_skb_any(skb);
	goto out;
drop:
	dev_core_stats_tx_dropped_inc(queue->back->dev);
	dev_kfree_skb_any(skb);
out:
	if (!netdev_xmit_more())
		tell(&queue->receive);
	return NETDEV_TX_OK;
}

static irqreturn_t guest_gave(int irq, void *data)
{
	struct back_queue *queue = data;

	del_timer(&queue->stall);
	WRITE_ONCE(queue->stalled, false);
	netif_tx_wake_queue(transmit_queue(queue));
	return IRQ_HANDLED;
}

/* A guest that does not read loses packets; others that wait behind them do not. */
static void no_buffers(struct timer_list *timer)
{
	struct back_queue *queue = from_timer(queue, timer, stall);

	WRITE_ONCE(queue->stalled, true);
	netif_tx_wake_queue(transmit_queue(queue));
}

/* --- the rings -------------------------------------------------------------------------------------------------- */

static int make_pool(struct back_queue *queue)
{
	struct page_pool_params params = {
		.pool_size = queue->slots,
		.nid = NUMA_NO_NODE,
		.napi = &queue->napi,
		.netdev = queue->back->dev,
	};
	struct page_pool *pool = page_pool_create(&params);

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	queue->pool = pool;
	return 0;
}

static int open_ring(struct back_queue *queue, struct back_ring *ring, const char *prefix, irq_handler_t handler, const char *name)
{
	ring->done = ring->told = 0;
	return pvn_open_back_ring(&ring->shared, queue->back->end.device, prefix, queue->index, queue->pages, handler, name, queue);
}

int back_queue_open(struct back_queue *queue)
{
	int error = make_pool(queue);

	if (error)
		return error;
	__skb_queue_head_init(&queue->taken);
	timer_setup(&queue->more_credit, credit_is_there, 0);
	timer_setup(&queue->stall, no_buffers, 0);
	queue->credit_time = ktime_get_ns();
	netif_napi_add(queue->back->dev, &queue->napi, back_queue_poll);
	napi_enable(&queue->napi);
	error = open_ring(queue, &queue->receive, "receive-", guest_gave, "pvn-net-back-give") ?:
		open_ring(queue, &queue->send, "send-", guest_sent, "pvn-net-back-take");
	if (error)
		back_queue_close(queue);
	return error;
}

/* Nothing is given any more: the interface is off. */
void back_queue_close(struct back_queue *queue)
{
	/* Handlers first, then what they start, and last what that tells by. */
	if (queue->send.shared.ring)
		disable_irq(queue->send.shared.irq);
	if (queue->receive.shared.ring)
		disable_irq(queue->receive.shared.irq);
	del_timer_sync(&queue->stall);
	napi_disable(&queue->napi);
	del_timer_sync(&queue->more_credit);
	page_pool_destroy(queue->pool);
	netif_napi_del(&queue->napi);
	pvn_close_back_ring(&queue->send.shared, queue);
	pvn_close_back_ring(&queue->receive.shared, queue);
}
