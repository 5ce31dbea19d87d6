// SPDX-License-Identifier: GPL-2.0-only
/*
 * The grant table of this domain, and what it has mapped of others' (include/paravane/grant.h).
 */
#define pr_fmt(fmt) "paravane: " fmt

#include <linux/bitmap.h>
#include <linux/export.h>
#include <linux/spinlock.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "bus.h"

#define REFS	(PVN_GRANT_PAGES * PVN_GRANTS_PER_PAGE)

static u64 *table[PVN_GRANT_PAGES];
static unsigned int pages;		/* of the table */
static unsigned int unused;		/* how many references are nobody's */
static DECLARE_BITMAP(taken, REFS);
static unsigned int next;		/* where to look for the next */
static DEFINE_SPINLOCK(lock);		/* guards all of these */
static DEFINE_MUTEX(grow_lock);

static u64 *word_of(u32 ref)
{
	return &table[ref / PVN_GRANTS_PER_PAGE][ref % PVN_GRANTS_PER_PAGE];
}

/* Of one that grants something.  Only this kernel writes the frame's number. */
static struct page *page_of(u32 ref)
{
	return pfn_to_page(READ_ONCE(*word_of(ref)) >> PVN_GRANT_PFN_SHIFT);
}

static int grow(void)
{
	unsigned long flags;
	u64 *page;
	long error = -ENOSPC;

	mutex_lock(&grow_lock);
	if (pages < PVN_GRANT_PAGES) {
		page = (u64 *)get_zeroed_page(GFP_KERNEL);
		error = page ? pvn_hypercall(PVN_GRANT_SET_TABLE, pages, __pa(page) >> PAGE_SHIFT) : -ENOMEM;
		if (!error) {
			spin_lock_irqsave(&lock, flags);
			table[pages++] = page;
			unused += PVN_GRANTS_PER_PAGE;
			spin_unlock_irqrestore(&lock, flags);
		} else {
			free_page((unsigned long)page);
		}
	}
	mutex_unlock(&grow_lock);
	return error;
}

static bool reserve(unsigned int count, u32 *refs)
{
	unsigned int end, i;
	unsigned long flags;
	bool enough;

	spin_lock_irqsave(&lock, flags);
	enough = unused >= count;
	if (enough) {
		end = pages * PVN_GRANTS_PER_PAGE;
		for (i = 0; i < count; i++) {
			next = find_next_zero_bit(taken, end, next);
			if (next >= end)
				next = find_first_zero_bit(taken, end);
			__set_bit(next, taken);
			refs[i] = next++;
		}
		unused -= count;
	}
	spin_unlock_irqrestore(&lock, flags);
	return enough;
}

bool pvn_grant_reserve_now(u32 *ref)
{
	return reserve(1, ref);
}
EXPORT_SYMBOL_GPL(pvn_grant_reserve_now);

int pvn_grant_reserve(unsigned int count, u32 *refs)
{
	might_sleep();
	while (!reserve(count, refs)) {
		int error = grow();

		if (error)
			return error;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(pvn_grant_reserve);

void pvn_grant_release(unsigned int count, const u32 *refs)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&lock, flags);
	for (i = 0; i < count; i++)
		WARN_ON_ONCE(!__test_and_clear_bit(refs[i], taken) || *word_of(refs[i]));
	unused += count;
	spin_unlock_irqrestore(&lock, flags);
}
EXPORT_SYMBOL_GPL(pvn_grant_release);

void pvn_grant(u32 ref, unsigned int domain, struct page *page, bool read_only)
{
	u64 word = PVN_GRANT_VALID | (u64)domain << PVN_GRANT_DOMAIN_SHIFT | (u64)page_to_pfn(page) << PVN_GRANT_PFN_SHIFT;

	if (read_only)
		word |= PVN_GRANT_READ_ONLY;
	/* What the page holds was written before: x86 keeps stores in order. */
	WRITE_ONCE(*word_of(ref), word);
}
EXPORT_SYMBOL_GPL(pvn_grant);

bool pvn_grant_end(u32 ref)
{
	u64 word = READ_ONCE(*word_of(ref)) & ~(u64)PVN_GRANT_IN_USE;

	return cmpxchg(word_of(ref), word, 0) == word;
}
EXPORT_SYMBOL_GPL(pvn_grant_end);

/* --- what the other side does not let go ------------------------------------------------------------------------ */

static DECLARE_BITMAP(held, REFS);

static void try_again(struct work_struct *work);
static DECLARE_DELAYED_WORK(again, try_again);

static void try_again(struct work_struct *work)
{
	unsigned long ref;

	for_each_set_bit(ref, held, REFS) {
		struct page *page = page_of(ref);
		u32 free = ref;

		if (!pvn_grant_end(free))
			continue;
		clear_bit(ref, held);
		pvn_grant_release(1, &free);
		put_page(page);
	}
	if (!bitmap_empty(held, REFS))
		schedule_delayed_work(&again, HZ);
}

/* Takes the reference to the page over. */
static void hold(u32 ref)
{
	pr_warn_ratelimited("a granted page is used by the other side beyond its end: it is kept until it is not\n");
	set_bit(ref, held);
	schedule_delayed_work(&again, HZ);
}

void pvn_grant_end_page(u32 ref)
{
	struct page *page = page_of(ref);

	if (!pvn_grant_end(ref)) {
		hold(ref);
		return;
	}
	pvn_grant_release(1, &ref);
	put_page(page);
}
EXPORT_SYMBOL_GPL(pvn_grant_end_page);

bool pvn_grant_end_shared(u32 ref)
{
	if (likely(pvn_grant_end(ref)))
		return true;
	get_page(page_of(ref));
	hold(ref);
	return false;
}
EXPORT_SYMBOL_GPL(pvn_grant_end_shared);

/* --- pages of others -------------------------------------------------------------------------------------------- */

static int make_table(pte_t *pte, unsigned long address, void *data)
{
	return 0;
}

int pvn_map_granted(unsigned int domain, const u32 *refs, unsigned int count, struct pvn_mapped *mapped)
{
	struct pvn_grant_map map[PVN_RING_PAGES];
	struct vm_struct *area;
	unsigned int i;
	long failed;
	int error;

	if (!count || count > PVN_RING_PAGES)
		return -EINVAL;
	area = get_vm_area(count * PAGE_SIZE, VM_MAP);
	if (!area)
		return -ENOMEM;
	/* Paravane makes the entries, in tables that are there. */
	error = apply_to_page_range(&init_mm, (unsigned long)area->addr, count * PAGE_SIZE, make_table, NULL);
	if (error)
		goto free;
	mapped->address = area->addr;
	mapped->count = count;
	for (i = 0; i < count; i++)
		map[i] = (struct pvn_grant_map){
			.domain = domain, .ref = refs[i],
			.address = (unsigned long)area->addr + i * PAGE_SIZE,
			.handle = PVN_GRANT_NONE,
		};
	failed = pvn_hypercall(PVN_GRANT_MAP, map, count);
	for (i = 0; i < count; i++)
		mapped->handle[i] = map[i].handle;
	if (!failed)
		return 0;
	error = failed;
	for (i = 0; i < count && failed > 0; i++)
		if (map[i].status) {
			error = map[i].status;
			break;
		}
	pvn_unmap_granted(mapped);
	return error;
free:
	free_vm_area(area);
	return error;
}
EXPORT_SYMBOL_GPL(pvn_map_granted);

void pvn_unmap_granted(struct pvn_mapped *mapped)
{
	struct pvn_grant_unmap unmap[PVN_RING_PAGES];
	unsigned int i, count = 0;

	if (!mapped->address)
		return;
	for (i = 0; i < mapped->count; i++)
		if (mapped->handle[i] != PVN_GRANT_NONE)
			unmap[count++].handle = mapped->handle[i];
	if (count)
		WARN_ON(pvn_hypercall(PVN_GRANT_UNMAP, unmap, count));
	free_vm_area(find_vm_area(mapped->address));
	mapped->address = NULL;
}
EXPORT_SYMBOL_GPL(pvn_unmap_granted);
