// SPDX-License-Identifier: GPL-2.0-only
/*
 * What dom0 asks of the whole guest by the store: to switch off, or to reboot (docs/abi/bus.md).
 */
#define pr_fmt(fmt) "paravane: " fmt

#include <linux/init.h>
#include <linux/reboot.h>

#include "bus.h"

#define CONTROL	"control"

static void take_request(struct work_struct *work)
{
	char text[16];

	if (pvn_store_read(CONTROL, "power", text, sizeof(text)))
		return;
	pvn_store_remove(CONTROL, "power");	/* which says that it was heard */
	if (!strcmp(text, "off"))
		orderly_poweroff(true);
	else if (!strcmp(text, "reboot"))
		orderly_reboot();
	else
		pr_warn("dom0 asks for \"%s\", which is nothing known\n", text);
}
static DECLARE_WORK(request_work, take_request);

static void power_changed(struct pvn_watch *watch)
{
	queue_work(system_unbound_wq, &request_work);
}

static void listen(struct work_struct *work)
{
	static struct pvn_watch watch;
	int error = pvn_watch(&watch, 0, power_changed, CONTROL, "power") ?: pvn_store_write(CONTROL, "listens", "power");

	if (error)
		pr_warn("requests to switch off will not be heard by the store: %d\n", error);
}
static DECLARE_WORK(listen_work, listen);

static int __init power_init(void)
{
	if (pvn_domain() && !pvn_privileged() && pvn_start_info->store_pfn)
		queue_work(system_unbound_wq, &listen_work);
	return 0;
}
device_initcall(power_init);
