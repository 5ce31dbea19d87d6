// SPDX-License-Identifier: MIT
/*
 * Every figure is taken twice, with rdtsc (raw) and with clock_gettime(CLOCK_MONOTONIC), as the best and as the median over the
 * batches after two to warm up.  Batches have fixed counts, so a run under an instruction-count clock is repeatable.
 *
 * Where there is /dev/pvn (dom0), each operation's switches to the hypervisor are counted too: hypercalls, and exceptions and
 * interrupts that took the full path.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef uint64_t u64;
typedef uint32_t u32;

#define MAXREPS 101
extern int reps;	/* batches */

/* A benchmark runs `n` operations; prep/done are outside the timed part. */
struct bm {
	const char *name;
	void (*prep)(void);
	void (*run)(long n);
	void (*done)(void);
	long n;         /* operations in a batch */
	double per;     /* units counted by one operation */
};

struct result { double cmin, cmed, tmin, tmed, switches; };

static inline u64 tsc(void)
{
	u32 lo, hi;
	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return ((u64)hi << 32) | lo;
}

static inline u64 mono(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000ull + t.tv_nsec;
}

void count_switches(void);	/* from now on, if somebody counts them here */
struct result measure(const struct bm *, int batches);
void emit(const char *name, const struct result *);
void emit_rate(const char *name, u64 bytes, u64 ns, u64 ticks);
/* Measures and emits each. */
void run_each(const struct bm *, size_t count, int batches);
#define RUN(list) run_each(list, sizeof(list) / sizeof *(list), reps)

_Noreturn void die(const char *what);
