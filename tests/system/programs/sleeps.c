// SPDX-License-Identifier: MIT
// Sleeps often and for a short while, alone on its CPU; then wakes a thread on another CPU that does, and is woken by it.
// Says what CPU time that took, how often it slept, with how many context switches of the machine, how much of it was idle time of
// its CPU, and how long there and back was.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 300

static int there[2], back[2];

static long us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set))
		exit(1);
}

/* Idle and waiting for disks, of CPU 0: us. */
static long idle(void)
{
	long user, nice, system, idle, wait;
	FILE *file = fopen("/proc/stat", "r");

	if (!file || fscanf(file, "%*[^\n]\ncpu0 %ld %ld %ld %ld %ld", &user, &nice, &system, &idle, &wait) != 5)
		exit(1);
	fclose(file);
	return (idle + wait) * (1000000 / sysconf(_SC_CLK_TCK));
}

static long switches(void)
{
	FILE *file = fopen("/proc/stat", "r");
	char line[4096];
	long count = -1;

	while (file && count < 0 && fgets(line, sizeof line, file))
		sscanf(line, "ctxt %ld", &count);
	if (count < 0)
		exit(1);
	fclose(file);
	return count;
}

static void *answer(void *unused)
{
	char byte;

	run_on(1);
	while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
		;
	return unused;
}

int main(void)
{
	struct timespec ms = { 0, 1000000 };
	struct rusage before, after;
	pthread_t thread;
	char byte = 0;

	run_on(0);
	getrusage(RUSAGE_SELF, &before);
	long switches0 = switches(), idle0 = idle(), cpu0 = us(CLOCK_PROCESS_CPUTIME_ID), start = us(CLOCK_MONOTONIC);
	for (int i = 0; i < ROUNDS; i++)
		nanosleep(&ms, NULL);
	long took = us(CLOCK_MONOTONIC) - start, cpu = us(CLOCK_PROCESS_CPUTIME_ID) - cpu0, was_idle = idle() - idle0, switched = switches() - switches0;
	getrusage(RUSAGE_SELF, &after);
	printf("slept %ld times in %ld us: %ld us of CPU, idle %ld us, %ld switches\n", after.ru_nvcsw - before.ru_nvcsw, took, cpu, was_idle,
	       switched);

	if (pipe(there) || pipe(back) || pthread_create(&thread, NULL, answer, NULL))
		return 1;
	start = us(CLOCK_MONOTONIC);
	for (int i = 0; i < ROUNDS; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			return 1;
	printf("there and back: %ld us\n", (us(CLOCK_MONOTONIC) - start) / ROUNDS);
	return 0;
}
