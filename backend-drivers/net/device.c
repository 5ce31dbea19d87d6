// SPDX-License-Identifier: GPL-2.0-only
/*
 * An interface of this domain, vifDOMAIN.NUMBER, behind which another domain's network card is: what it offers, and its rings (docs/abi/net.md).
 */
#include <linux/cpumask.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "back.h"

/* Packets that wait for a guest, for each queue. */
#define QUEUE_LENGTH	128

static unsigned int max_queues = PVN_NET_QUEUES;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "queues of one card at most; otherwise one for each CPU of this domain");

static unsigned int most_queues(void)
{
	return clamp(min(max_queues, num_online_cpus()), 1u, (unsigned int)PVN_NET_QUEUES);
}

static struct back *back_of(struct pvn_back_end *end)
{
	return container_of(end, struct back, end);
}

/* --- the interface ---------------------------------------------------------------------------------------------- */

static struct back *back_of_interface(struct net_device *dev)
{
	return *(struct back **)netdev_priv(dev);
}

static int vif_open(struct net_device *dev)
{
	if (back_of_interface(dev)->count)
		netif_tx_start_all_queues(dev);
	return 0;
}

static int vif_stop(struct net_device *dev)
{
	netif_tx_stop_all_queues(dev);
	return 0;
}

static netdev_tx_t vif_send(struct sk_buff *skb, struct net_device *dev)
{
	struct back *back = back_of_interface(dev);
	unsigned int index = skb_get_queue_mapping(skb);

	if (index < back->count)
		return back_queue_give(&back->queues[index], skb);
	dev_core_stats_tx_dropped_inc(dev);
	dev_kfree_skb_any(skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops vif_operations = {
	.ndo_open = vif_open,
	.ndo_stop = vif_stop,
	.ndo_start_xmit = vif_send,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static int make_interface(struct back *back)
{
	/* Not the guest's: the highest there is, so that a bridge takes another one's for its own. */
	static const u8 mac[ETH_ALEN] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct pvn_device *device = back->end.device;
	struct net_device *dev = alloc_netdev_mqs(sizeof(struct back *), "", NET_NAME_PREDICTABLE, ether_setup, most_queues(), most_queues());
	u64 mtu = ETH_DATA_LEN;
	int error;

	if (!dev)
		return -ENOMEM;
	*(struct back **)netdev_priv(dev) = back;
	SET_NETDEV_DEV(dev, &device->dev);
	snprintf(dev->name, sizeof(dev->name), "vif%u.%u", device->other_domain, device->number);
	dev->netdev_ops = &vif_operations;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->tx_queue_len = QUEUE_LENGTH;
	dev->min_mtu = ETH_MIN_MTU;
	dev->max_mtu = PVN_NET_PACKET_MAX - ETH_HLEN;
	pvn_store_read_number(device->home, "mtu", &mtu);
	dev->mtu = clamp_t(u64, mtu, dev->min_mtu, dev->max_mtu);
	dev->hw_features = NETIF_F_SG | NETIF_F_RXCSUM | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO6 | NETIF_F_TSO_ECN;
	dev->features = dev->hw_features;
	eth_hw_addr_set(dev, mac);
	netif_carrier_off(dev);
	error = register_netdev(dev);
	if (error) {
		free_netdev(dev);
		return error;
	}
	back->dev = dev;
	return 0;
}

static int offer(struct pvn_back_end *end)
{
	struct back *back = back_of(end);
	struct pvn_device *device = end->device;
	u64 offload = 1, rate = 0;
	int error = back->dev ? 0 : make_interface(back);

	if (error) {
		pvn_device_error(device, "cannot make its interface: %d", error);
		return error;
	}
	pvn_store_read_number(device->home, "rate", &rate);
	back->rate = rate;
	/* The toolstack can refuse to have packets divided and sums made later. */
	pvn_store_read_number(device->home, "offload", &offload);
	error = pvn_store_write(device->home, "interface", "%s", back->dev->name) ?:
		pvn_store_write(device->home, "max-queues", "%u", most_queues()) ?:
		pvn_store_write(device->home, "max-ring-pages", "%u", PVN_RING_PAGES) ?:
		pvn_store_write(device->home, "checksum", "%d", !!offload) ?:
		pvn_store_write(device->home, "gso", "%d", !!offload);
	if (error)
		dev_err(&device->dev, "cannot say what it offers: %d\n", error);
	return error;
}

/* --- rings ------------------------------------------------------------------------------------------------------ */

static void disconnect(struct pvn_back_end *end)
{
	struct back *back = back_of(end);
	unsigned int count = back->count, i;

	if (!back->queues)
		return;
	rtnl_lock();
	netif_carrier_off(back->dev);
	netif_tx_disable(back->dev);
	back->count = 0;
	rtnl_unlock();
	for (i = 0; i < count; i++)
		back_queue_close(&back->queues[i]);
	kvfree(back->queues);
	back->queues = NULL;
}

static int open_queue(struct back *back, unsigned int index, unsigned int pages)
{
	struct back_queue *queue = &back->queues[index];

	queue->back = back;
	queue->index = index;
	queue->pages = pages;
	queue->slots = PVN_NET_SLOTS(pages);
	return back_queue_open(queue);
}

static void set_offload(struct back *back)
{
	u64 checksum = 0, gso = 0;
	netdev_features_t features = NETIF_F_SG | NETIF_F_RXCSUM;

	pvn_store_read_number(back->end.device->other, "checksum", &checksum);
	pvn_store_read_number(back->end.device->other, "gso", &gso);
	if (checksum)
		features |= NETIF_F_HW_CSUM;
	if (checksum && gso)
		features |= NETIF_F_TSO | NETIF_F_TSO6 | NETIF_F_TSO_ECN;
	back->dev->hw_features = features;
	back->dev->wanted_features |= features;
	netdev_update_features(back->dev);
}

static int connect(struct pvn_back_end *end)
{
	struct back *back = back_of(end);
	unsigned int opened = 0, queues, pages;
	int error = pvn_read_ring_numbers(end->device, most_queues(), &queues, &pages);

	if (error)
		return error;
	back->queues = kvcalloc(queues, sizeof(*back->queues), GFP_KERNEL);
	error = back->queues ? 0 : -ENOMEM;
	for (opened = 0; !error && opened < queues; opened++) {
		error = open_queue(back, opened, pages);
		if (error)
			break;
	}
	rtnl_lock();
	back->count = opened;
	if (!error) {
		netif_set_real_num_tx_queues(back->dev, queues);
		netif_set_real_num_rx_queues(back->dev, queues);
		set_offload(back);
		netif_carrier_on(back->dev);
		if (netif_running(back->dev))
			netif_tx_wake_all_queues(back->dev);
	}
	rtnl_unlock();
	if (error)
		pvn_device_error(end->device, "cannot use rings %u of the front end: %d", opened, error);
	return error;
}

static bool broken(struct pvn_back_end *end)
{
	struct back *back = back_of(end);
	unsigned int i;

	for (i = 0; i < back->count; i++)
		if (READ_ONCE(back->queues[i].broken))
			return true;
	return false;
}

/* --- the driver ------------------------------------------------------------------------------------------------- */

/* The interface stays until the driver leaves: it may stand in the rules of a firewall. */
static const struct pvn_back_end_operations operations = {
	.offer = offer,
	.connect = connect,
	.disconnect = disconnect,
	.broken = broken,
};

static int probe(struct pvn_device *device)
{
	struct back *back = kzalloc(sizeof(*back), GFP_KERNEL);

	if (!back)
		return -ENOMEM;
	pvn_back_end_begin(&back->end, device, &operations);
	return 0;
}

static void remove(struct pvn_device *device)
{
	struct pvn_back_end *end = dev_get_drvdata(&device->dev);
	struct back *back = back_of(end);

	pvn_back_end_leave(end);
	if (back->dev) {
		unregister_netdev(back->dev);
		free_netdev(back->dev);
	}
	kfree(back);
}

static struct pvn_driver driver = {
	.type = "net",
	.back = true,
	.probe = probe,
	.changed = pvn_back_end_changed,
	.remove = remove,
	.driver.name = "pvn-net-back",
};

static int __init net_back_init(void)
{
	return pvn_register_driver(&driver);
}
module_init(net_back_init);

static void __exit net_back_exit(void)
{
	pvn_unregister_driver(&driver);
}
module_exit(net_back_exit);

MODULE_DESCRIPTION("Back end of network cards of Paravane");
MODULE_ALIAS("pvn:net-back");
MODULE_LICENSE("GPL");
