// SPDX-License-Identifier: MIT
// How late a process is that sleeps until a given time: what a timer, a wake-up and the scheduler take, here and below.
#include "benches.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int cmp_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;
	return x < y ? -1 : x > y;
}

void wake_latency(const char *name, int count, long period_us)
{
	u64 *late = calloc(count, sizeof *late);
	if (!late || count < 1)
		die("latency");
	for (int i = 0; i < count; i++) {
		u64 next = mono() + period_us * 1000ull;  // from now: one late wake-up does not make the next ones late
		struct timespec t = { next / 1000000000ull, next % 1000000000ull };
		errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0);
		if (errno)
			die("clock_nanosleep");
		late[i] = mono() - next;
	}
	qsort(late, count, sizeof *late, cmp_u64);
	printf("%s.p50 %llu ns\n%s.p99 %llu ns\n", name, (unsigned long long)late[count / 2], name,
	       (unsigned long long)late[count * 99 / 100]);
	free(late);
}

void spin(void)
{
	for (;;)
		__asm__ volatile("");
}
