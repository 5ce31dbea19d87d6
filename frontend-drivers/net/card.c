// SPDX-License-Identifier: GPL-2.0-only
/*
 * A network card that another domain serves: its states, and what Linux sees of it (docs/abi/net.md).
 */
#include <linux/cpumask.h>
#include <linux/etherdevice.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "net.h"

static unsigned int max_queues = PVN_NET_QUEUES;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "queues of one card at most; otherwise one for each CPU");
static unsigned int ring_pages = 4;
module_param(ring_pages, uint, 0444);
MODULE_PARM_DESC(ring_pages, "pages of a ring at most: 1, 2, 4 or 8; each is 64 pieces of packets");

static bool knows(struct pvn_device *device, const char *feature)
{
	return pvn_offered(device, feature, 1, 0);
}

/* --- what Linux asks -------------------------------------------------------------------------------------------- */

static int card_open(struct net_device *dev)
{
	struct card *card = *(struct card **)netdev_priv(dev);

	if (card->live)
		netif_tx_start_all_queues(dev);
	return 0;
}

static int card_stop(struct net_device *dev)
{
	netif_tx_stop_all_queues(dev);
	return 0;
}

static netdev_tx_t card_send(struct sk_buff *skb, struct net_device *dev)
{
	struct card *card = *(struct card **)netdev_priv(dev);

	return net_queue_send(&card->queues[skb_get_queue_mapping(skb)], skb);
}

static const struct net_device_ops card_operations = {
	.ndo_open = card_open,
	.ndo_stop = card_stop,
	.ndo_start_xmit = card_send,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

/* --- rings ------------------------------------------------------------------------------------------------------ */

/* Linux sends nothing any more, and nothing that came is looked at. */
static void still(struct card *card)
{
	unsigned int i;

	if (!card->live)
		return;
	card->live = false;
	netif_carrier_off(card->dev);
	netif_tx_disable(card->dev);
	for (i = 0; i < card->count; i++)
		napi_disable(&card->queues[i].napi);
}

static void close_rings(struct card *card)
{
	unsigned int i;

	if (!card->open)
		return;
	rtnl_lock();
	still(card);
	rtnl_unlock();
	for (i = 0; i < card->count; i++)
		net_queue_close(&card->queues[i]);
	card->open = false;
}

static int tell_rings(struct card *card)
{
	struct pvn_device *device = card->device;
	unsigned int i;
	int error;

	error = pvn_store_write(device->home, "queues", "%u", card->count) ?:
		pvn_store_write(device->home, "ring-pages", "%u", card->queues[0].pages) ?:
		pvn_store_write(device->home, "checksum", "1") ?:
		pvn_store_write(device->home, "gso", "1");
	for (i = 0; !error && i < card->count; i++)
		error = pvn_tell_ring(device, "send-", i, &card->queues[i].send.shared) ?:
			pvn_tell_ring(device, "receive-", i, &card->queues[i].receive.shared);
	return error;
}

/* --- the card --------------------------------------------------------------------------------------------------- */

static int make_card(struct card *card)
{
	struct pvn_device *device = card->device;
	unsigned int pages = rounddown_pow_of_two(clamp(ring_pages, 1u, (unsigned int)PVN_RING_PAGES));
	unsigned int most = clamp(min(max_queues, num_possible_cpus()), 1u, (unsigned int)PVN_NET_QUEUES), i;
	struct net_device *dev;
	char text[24];
	u8 mac[ETH_ALEN];
	int error;

	pages = rounddown_pow_of_two(pvn_offered(device, "max-ring-pages", pages, 1));
	most = pvn_offered(device, "max-queues", most, 1);
	dev = alloc_etherdev_mqs(sizeof(struct card *), most, most);
	card->queues = kcalloc(most, sizeof(*card->queues), GFP_KERNEL);
	if (!dev || !card->queues) {
		error = -ENOMEM;
		goto free;
	}
	*(struct card **)netdev_priv(dev) = card;
	SET_NETDEV_DEV(dev, &device->dev);
	dev->netdev_ops = &card_operations;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->min_mtu = ETH_MIN_MTU;
	dev->max_mtu = PVN_NET_PACKET_MAX - ETH_HLEN;
	dev->mtu = max_t(u64, pvn_offered(device, "mtu", dev->max_mtu, ETH_DATA_LEN), dev->min_mtu);
	dev->hw_features = NETIF_F_SG | NETIF_F_RXCSUM;
	if (knows(device, "checksum"))
		dev->hw_features |= NETIF_F_HW_CSUM;
	if (knows(device, "gso"))
		dev->hw_features |= NETIF_F_TSO | NETIF_F_TSO6 | NETIF_F_TSO_ECN;
	dev->features = dev->hw_features;
	if (pvn_store_read(device->other, "mac", text, sizeof(text)) || !mac_pton(text, mac) || !is_valid_ether_addr(mac)) {
		error = -EADDRNOTAVAIL;
		goto free;
	}
	eth_hw_addr_set(dev, mac);
	for (card->count = 0, error = 0; card->count < most; card->count++) {
		card->queues[card->count].dev = dev;
		card->queues[card->count].index = card->count;
		error = net_queue_init(&card->queues[card->count], device, pages);
		if (error)
			break;
	}
	if (!card->count)
		goto free;
	netif_set_real_num_tx_queues(dev, card->count);
	netif_set_real_num_rx_queues(dev, card->count);
	for (i = 0; i < card->count; i++)
		netif_napi_add(dev, &card->queues[i].napi, net_queue_poll);
	netif_carrier_off(dev);
	error = register_netdev(dev);
	if (error)
		goto free;
	card->dev = dev;
	return 0;
free:
	if (dev)
		free_netdev(dev);	/* it still knows the queues */
	for (i = 0; card->queues && i < card->count; i++)
		net_queue_exit(&card->queues[i]);
	kfree(card->queues);
	card->queues = NULL;
	card->count = 0;
	return error;
}

static void take_card_away(struct card *card)
{
	unsigned int i;

	if (!card->dev)
		return;
	unregister_netdev(card->dev);
	for (i = 0; i < card->count; i++) {
		netif_napi_del(&card->queues[i].napi);
		net_queue_exit(&card->queues[i]);
	}
	free_netdev(card->dev);
	kfree(card->queues);
	card->queues = NULL;
	card->dev = NULL;
	card->count = 0;
}

/* For the first time, or for a back end that has come back: with as many queues and pages as before. */
static void open_rings(struct card *card)
{
	struct pvn_device *device = card->device;
	unsigned int i;
	int error = 0;

	if (!card->dev)
		error = make_card(card);
	else if (pvn_offered(device, "max-queues", card->count, 1) < card->count ||
		 pvn_offered(device, "max-ring-pages", card->queues[0].pages, 1) < card->queues[0].pages)
		error = -EOPNOTSUPP;
	for (i = 0; !error && i < card->count; i++)
		error = net_queue_open(&card->queues[i]);
	card->open = true;
	error = error ?: tell_rings(card);
	if (!error) {
		pvn_set_state(device, PVN_READY);
		return;
	}
	close_rings(card);
	pvn_device_error(device, "cannot make its rings: %d", error);
	if (error == -ENOMEM)
		pvn_device_look_later(device);
	if (card->dev || error == -ENOMEM)
		return;		/* a back end may come that offers enough */
	card->dead = true;
	pvn_set_state(device, PVN_CLOSED);
}

/* --- states ----------------------------------------------------------------------------------------------------- */

static void go_live(struct card *card)
{
	unsigned int i;

	rtnl_lock();
	card->live = true;
	for (i = 0; i < card->count; i++)
		napi_enable(&card->queues[i].napi);
	netif_carrier_on(card->dev);
	if (netif_running(card->dev))
		netif_tx_wake_all_queues(card->dev);
	rtnl_unlock();
	for (i = 0; i < card->count; i++) {
		local_bh_disable();	/* it also gives the first pages */
		napi_schedule(&card->queues[i].napi);
		local_bh_enable();
	}
	pvn_set_state(card->device, PVN_CONNECTED);
}

static void suspend(struct card *card)
{
	if (!card->open)
		return;
	close_rings(card);
	pvn_set_state(card->device, PVN_NEW);
}

/* The rings stay until the back end has let them go. */
static void end(struct card *card)
{
	rtnl_lock();
	still(card);
	rtnl_unlock();
	card->dead = true;
	pvn_set_state(card->device, PVN_CLOSED);
}

static void let_go(struct card *card)
{
	close_rings(card);
	take_card_away(card);
}

static struct net_queue *broken_queue(struct card *card)
{
	unsigned int i;

	for (i = 0; i < card->count; i++)
		if (smp_load_acquire(&card->queues[i].broken))
			return &card->queues[i];
	return NULL;
}

/* Nothing that the back end says is of interest any more. */
static void abandon(struct card *card, const char *why)
{
	pvn_device_error(card->device, "the back end %s; the card is not used any more", why);
	end(card);
	let_go(card);
}

static void changed(struct pvn_device *device)
{
	struct card *card = dev_get_drvdata(&device->dev);
	struct net_queue *broken;

	if (card->dead) {
		if (device->other_state != PVN_CLOSING && device->other_state != PVN_CONNECTED)
			let_go(card);
		return;
	}
	broken = broken_queue(card);
	if (broken) {
		abandon(card, broken->why_broken);
		return;
	}
	switch (device->other_state) {
	case PVN_NEW:
		suspend(card);
		break;
	case PVN_OFFERED:
		if (card->live)
			suspend(card);
		if (!card->open)
			open_rings(card);
		break;
	case PVN_CONNECTED:
		if (card->open && !card->live)
			go_live(card);
		break;
	case PVN_CLOSING:
		end(card);
		break;
	case PVN_CLOSED:
		/* Also seen from the end of a front end before us: it will be offered anew. */
		if (!card->open && !card->dev)
			break;
		fallthrough;
	case PVN_GONE:
		end(card);
		let_go(card);
		break;
	default:
		break;
	}
}

static int probe(struct pvn_device *device)
{
	struct card *card = kzalloc(sizeof(*card), GFP_KERNEL);

	if (!card)
		return -ENOMEM;
	card->device = device;
	dev_set_drvdata(&device->dev, card);
	pvn_set_state(device, PVN_NEW);
	return 0;
}

static void remove(struct pvn_device *device)
{
	struct card *card = dev_get_drvdata(&device->dev);

	rtnl_lock();
	still(card);
	rtnl_unlock();
	if (card->open) {
		if (!card->dead)
			pvn_set_state(device, PVN_CLOSING);
		pvn_wait_for_other(device, ~(BIT(PVN_CONNECTED) | BIT(PVN_CLOSING)));
	}
	let_go(card);
	pvn_set_state(device, PVN_CLOSED);
	kfree(card);
}

static struct pvn_driver driver = {
	.type = "net",
	.probe = probe,
	.changed = changed,
	.remove = remove,
	.driver.name = "pvn-net",
};

static int __init net_init(void)
{
	int error = pvn_register_driver(&driver);

	/* Built in, on a machine of its own: no failure. */
	return error == -ENODEV && !IS_MODULE(CONFIG_PARAVANE_NET_FRONT) ? 0 : error;
}
module_init(net_init);

static void __exit net_exit(void)
{
	pvn_unregister_driver(&driver);
}
module_exit(net_exit);

MODULE_DESCRIPTION("Front end of network cards of Paravane");
MODULE_ALIAS("pvn:net-front");
MODULE_LICENSE("GPL");
