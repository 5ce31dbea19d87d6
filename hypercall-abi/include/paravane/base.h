/* SPDX-License-Identifier: MIT */
/*
 * What every ABI header needs: fixed-width types, a static assertion and the page size, in C11 and C++,
 * in a kernel and in user space.  This one, notes.h, slot.h and vdso.h can be included in assembly too.
 */
#ifndef PARAVANE_BASE_H
#define PARAVANE_BASE_H

#if defined(__ASSEMBLER__)
#elif defined(__KERNEL__)
#include <linux/types.h>
#include <linux/stddef.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#if defined(__cplusplus)
#define PVN_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define PVN_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/* Fixes the place of a member, in bytes from the start of its structure. */
#define PVN_ASSERT_OFFSET(type, member, offset) \
	PVN_STATIC_ASSERT(offsetof(type, member) == (offset), #type "." #member " is at byte " #offset)
#define PVN_ASSERT_SIZE(type, bytes) PVN_STATIC_ASSERT(sizeof(type) == (bytes), #type " has " #bytes " bytes")

/* Raised when something that an existing guest relies on changes.  A guest states the one it was built for in its ELF note. */
#define PVN_ABI_VERSION 1

#define PVN_PAGE_SHIFT 12
#define PVN_PAGE_SIZE 4096

#endif
