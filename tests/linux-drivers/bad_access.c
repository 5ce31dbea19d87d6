// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads memory that it has freed, so that a test sees that KASAN looks.
 */
#include <linux/module.h>
#include <linux/slab.h>

static int __init bad_access_init(void)
{
	char *memory = kmalloc(64, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	kfree(memory);
	OPTIMIZER_HIDE_VAR(memory);
	pr_info("after its end: %d\n", READ_ONCE(memory[8]));
	return -EAGAIN;	/* it need not be removed */
}
module_init(bad_access_init);

MODULE_DESCRIPTION("Reads memory that it has freed");
MODULE_LICENSE("GPL");
