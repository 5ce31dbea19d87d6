/* SPDX-License-Identifier: GPL-2.0-only */
/* What nanopb (third_party/nanopb) asks of a C library: PB_SYSTEM_HEADER. */
#ifndef PARAVANE_PB_LINUX_H
#define PARAVANE_PB_LINUX_H

#include <linux/limits.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>

#define CHAR_BIT	8

typedef u8 uint_fast8_t;
typedef u8 uint_least8_t;
typedef s8 int_least8_t;
typedef u16 uint_least16_t;
typedef s16 int_least16_t;

#endif
