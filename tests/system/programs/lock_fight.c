// SPDX-License-Identifier: MIT
// What it costs to fight for a spinlock of the kernel: FUTEX_WAIT for a value that is not there takes the lock of the futex's hash
// bucket and gives up.  So many of these by one thread, then by two threads on processors 0 and 1, half of them each, on one futex:
// prints the time of each, in microseconds.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint32_t word;
static long calls;
static pthread_barrier_t begin;

static void take(long times)
{
	while (times--)
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
}

static void *fight(void *cpu)
{
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET((uintptr_t)cpu, &only);
	if (sched_setaffinity(0, sizeof only, &only)) {
		perror("lock_fight: sched_setaffinity");
		exit(1);
	}
	pthread_barrier_wait(&begin);
	take(calls / 2);
	return NULL;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];
	double start, alone;

	if (argc != 2 || (calls = atol(argv[1])) <= 0) {
		fprintf(stderr, "usage: lock_fight CALLS\n");
		return 2;
	}
	take(1000);
	start = now();
	take(calls);
	alone = now() - start;

	pthread_barrier_init(&begin, NULL, 3);
	for (uintptr_t i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, fight, (void *)i))
			return 1;
	pthread_barrier_wait(&begin);
	start = now();
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("alone %.0f fighting %.0f\n", alone, now() - start);
	return 0;
}
