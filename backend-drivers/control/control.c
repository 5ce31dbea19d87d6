// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/pvn: the toolstack's way to the hypervisor (include/paravane/control.h).
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include <asm/paravane.h>
#include <paravane/control.h>

#include "../../frontend-drivers/bus/store.h"

#define MAP_MAX 4096

struct control {
	struct mutex lock;		/* guards irq, and becoming a listener */
	int irq;			/* of its port; 0: none */
	struct list_head listener;	/* in `listeners`; empty: it is none */
	wait_queue_head_t wait;
	atomic64_t signals;		/* since the last read */
};

/*
 * Files that want to hear of changes of domains.  A virtual interrupt can be bound once, so it is bound here, for
 * good, when the first file asks, and told to all.
 */
static LIST_HEAD(listeners);
static DEFINE_SPINLOCK(listeners_lock);
static DEFINE_MUTEX(domain_virq_lock);	/* guards domain_virq */
static int domain_virq;			/* its irq; 0: not bound yet */

static void tell(struct control *control)
{
	atomic64_inc(&control->signals);
	wake_up_interruptible(&control->wait);
}

static irqreturn_t signalled(int irq, void *data)
{
	tell(data);
	return IRQ_HANDLED;
}

static irqreturn_t domain_changed(int irq, void *data)
{
	struct control *control;
	unsigned long flags;

	spin_lock_irqsave(&listeners_lock, flags);
	list_for_each_entry(control, &listeners, listener)
		tell(control);
	spin_unlock_irqrestore(&listeners_lock, flags);
	return IRQ_HANDLED;
}

static void forget_listener(struct control *control)
{
	unsigned long flags;

	spin_lock_irqsave(&listeners_lock, flags);
	list_del_init(&control->listener);
	spin_unlock_irqrestore(&listeners_lock, flags);
}

static int control_open(struct inode *inode, struct file *file)
{
	struct control *control;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	control = kzalloc(sizeof(*control), GFP_KERNEL);
	if (!control)
		return -ENOMEM;
	mutex_init(&control->lock);
	INIT_LIST_HEAD(&control->listener);
	init_waitqueue_head(&control->wait);
	file->private_data = control;
	return 0;
}

static int control_release(struct inode *inode, struct file *file)
{
	struct control *control = file->private_data;

	forget_listener(control);
	if (control->irq)
		pvn_unbind(control->irq, control);
	kfree(control);
	return 0;
}

static long make_hypercall(struct pvn_control_hypercall __user *user)
{
	struct pvn_control_hypercall call;

	if (copy_from_user(&call, user, sizeof(call)))
		return -EFAULT;
	call.result = pvn_hypercall(call.number, call.argument[0], call.argument[1], call.argument[2],
				    call.argument[3], call.argument[4], call.argument[5]);
	return copy_to_user(user, &call, sizeof(call)) ? -EFAULT : 0;
}

struct frames {
	const u64 *mfn;
	pgprot_t protection;
};

static int put_frame(pte_t *pte, unsigned long address, void *data)
{
	struct frames *frames = data;

	/* dom0 is laid out one to one: the frame's number is its pfn. */
	set_pte_at(current->mm, address, pte, pte_mkspecial(pfn_pte(*frames->mfn++, frames->protection)));
	return 0;
}

static long map_frames(struct file *file, struct pvn_control_map __user *user)
{
	struct pvn_control_map map;
	struct vm_area_struct *vma;
	struct frames frames;
	unsigned long size;
	u64 *mfns;
	long error = -EINVAL;

	if (copy_from_user(&map, user, sizeof(map)))
		return -EFAULT;
	if (!map.count || map.count > MAP_MAX || map.reserved || !PAGE_ALIGNED(map.address))
		return -EINVAL;
	size = (unsigned long)map.count << PAGE_SHIFT;
	mfns = memdup_array_user((u64 __user *)map.mfns, map.count, sizeof(u64));
	if (IS_ERR(mfns))
		return PTR_ERR(mfns);

	mmap_write_lock(current->mm);
	vma = vma_lookup(current->mm, map.address);
	if (vma && vma->vm_file == file && map.address + size >= map.address && map.address + size <= vma->vm_end) {
		frames.mfn = mfns;
		frames.protection = vma->vm_page_prot;
		error = apply_to_page_range(current->mm, map.address, size, put_frame, &frames);
	}
	mmap_write_unlock(current->mm);
	kfree(mfns);
	return error;
}

static long bind_port(struct control *control, unsigned int domain, unsigned int port)
{
	int irq = -EBUSY;

	mutex_lock(&control->lock);
	if (!control->irq && list_empty(&control->listener)) {
		irq = pvn_bind_interdomain(domain, port, signalled, 0, "pvn-control", control);
		if (irq > 0)
			control->irq = irq;
	}
	mutex_unlock(&control->lock);
	return irq < 0 ? irq : 0;
}

static int bind_domain_virq(void)
{
	int irq = 0;

	mutex_lock(&domain_virq_lock);
	if (!domain_virq) {
		irq = pvn_bind_virq(PVN_VIRQ_DOMAIN, 0, domain_changed, 0, "pvn-domains", &listeners);
		if (irq > 0)
			domain_virq = irq;
	}
	mutex_unlock(&domain_virq_lock);
	return irq < 0 ? irq : 0;
}

static long listen_to_domains(struct control *control)
{
	unsigned long flags;
	long error = -EBUSY;

	mutex_lock(&control->lock);
	if (!control->irq && list_empty(&control->listener)) {
		error = bind_domain_virq();
		if (!error) {
			spin_lock_irqsave(&listeners_lock, flags);
			list_add(&control->listener, &listeners);
			spin_unlock_irqrestore(&listeners_lock, flags);
		}
	}
	mutex_unlock(&control->lock);
	return error;
}

static long control_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct control *control = file->private_data;
	struct pvn_control_bind bind;

	switch (command) {
	case PVN_CONTROL_HYPERCALL:
		return make_hypercall((void __user *)argument);
	case PVN_CONTROL_MAP:
		return map_frames(file, (void __user *)argument);
	case PVN_CONTROL_BIND:
		if (copy_from_user(&bind, (void __user *)argument, sizeof(bind)))
			return -EFAULT;
		if (bind.reserved)
			return -EINVAL;
		return bind_port(control, bind.domain, bind.remote_port);
	case PVN_CONTROL_BIND_VIRQ:
		return argument == PVN_VIRQ_DOMAIN ? listen_to_domains(control) : -EINVAL;
	case PVN_CONTROL_NOTIFY:
		if (!control->irq)
			return -ENOTCONN;
		return pvn_hypercall(PVN_EVENT_SEND, pvn_port_of_irq(control->irq));
	case PVN_CONTROL_STORE: {
		struct pvn_control_store store = { 0 };
		int error = pvn_store_ring(&store.frame, &store.port);

		if (error)
			return error;
		return copy_to_user((void __user *)argument, &store, sizeof(store)) ? -EFAULT : 0;
	}
	default:
		return -ENOTTY;
	}
}

static __poll_t control_poll(struct file *file, poll_table *table)
{
	struct control *control = file->private_data;

	poll_wait(file, &control->wait, table);
	return atomic64_read(&control->signals) ? EPOLLIN | EPOLLRDNORM : 0;
}

static ssize_t control_read(struct file *file, char __user *to, size_t size, loff_t *position)
{
	struct control *control = file->private_data;
	u64 count;

	if (size < sizeof(count))
		return -EINVAL;
	if (!(file->f_flags & O_NONBLOCK)) {
		int error = wait_event_interruptible(control->wait, atomic64_read(&control->signals));

		if (error)
			return error;
	}
	count = atomic64_xchg(&control->signals, 0);
	if (!count)
		return -EAGAIN;
	return copy_to_user(to, &count, sizeof(count)) ? -EFAULT : sizeof(count);
}

static const struct vm_operations_struct control_vm_ops = {
};

static int control_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	/* A fork must not inherit references to another domain's frames. */
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &control_vm_ops;
	return 0;
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.release = control_release,
	.unlocked_ioctl = control_ioctl,
	.poll = control_poll,
	.read = control_read,
	.mmap = control_mmap,
};

static struct miscdevice control_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pvn",
	.fops = &control_fops,
	.mode = 0600,
};

static int __init control_init(void)
{
	if (!pvn_privileged())
		return 0;
	return misc_register(&control_device);
}
device_initcall(control_init);
