// SPDX-License-Identifier: MIT
/*
 * What an operation of the kernel costs, in the manner of lmbench: one static program for the native kernel, dom0 and domUs.
 *
 *   bench run [sha_kb]               every benchmark, "name value unit" lines
 *   bench disk NAME DEV BYTES PIECE read|write [N]   pieces in order, one at a time; N reads at once: at random
 *   bench tcpsink PORT N             serve N connections one by one
 *   bench tcpsend NAME IP PORT BYTES send BYTES, wait for the one-byte answer
 *   bench tcprecv NAME IP PORT BYTES the other direction
 *   bench tcppp NAME IP PORT N       1-byte ping-pong, N round trips per batch
 *   bench latency NAME N PERIOD      how late N sleeps end, each due PERIOD microseconds after the last ended
 *   bench spin                       never ends
 *
 * BENCH_REPS in the environment sets the number of batches (11).
 */
#include "benches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <unistd.h>

const char *tiny_path = "/tiny";

static void run_all(int sha_kb)
{
	u64 m0 = mono(), t0 = tsc();

	count_switches();
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	bench_system_calls();
	bench_signals();
	bench_memory();
	bench_pipes();
	bench_processes();
	bench_memory_huge();
	bench_loopback();
	bench_compute(sha_kb);
	u64 m1 = mono(), t1 = tsc();
	printf("tsc_per_ns %.5f ratio\n", (double)(t1 - t0) / (double)(m1 - m0));
	printf("bench_total %.3f s\n", (double)(m1 - m0) / 1e9);
}

/* Where mappings lie decides how many page tables they take: the same places in each run, and for each kernel. */
static void at_fixed_addresses(char **av)
{
	int now = personality(0xffffffff);

	if (now & ADDR_NO_RANDOMIZE)
		return;
	personality(now | ADDR_NO_RANDOMIZE);
	execv("/proc/self/exe", av);
	die("/proc/self/exe");
}

int main(int ac, char **av)
{
	at_fixed_addresses(av);
	setvbuf(stdout, 0, _IOFBF, 1 << 14);
	if (ac < 2)
		return 2;
	if (getenv("BENCH_REPS"))
		reps = atoi(getenv("BENCH_REPS"));
	if (reps < 3)
		reps = 3;
	if (reps > MAXREPS)
		reps = MAXREPS;
	if (!strcmp(av[1], "run")) {
		run_all(ac > 2 ? atoi(av[2]) : 16384);
	} else if (!strcmp(av[1], "disk") && ac > 6) {
		disk(av[2], av[3], strtoull(av[4], 0, 10), strtoull(av[5], 0, 10), av[6], ac > 7 ? atol(av[7]) : 1);
	} else if (!strcmp(av[1], "tcpsink") && ac > 3) {
		tcp_sink(atoi(av[2]), atoi(av[3]));
	} else if (!strcmp(av[1], "tcpsend") && ac > 5) {
		tcp_send(av[2], av[3], atoi(av[4]), strtoull(av[5], 0, 10));
	} else if (!strcmp(av[1], "tcprecv") && ac > 5) {
		tcp_recv(av[2], av[3], atoi(av[4]), strtoull(av[5], 0, 10));
	} else if (!strcmp(av[1], "tcppp") && ac > 5) {
		tcp_pp(av[2], av[3], atoi(av[4]), atol(av[5]));
	} else if (!strcmp(av[1], "latency") && ac > 4) {
		wake_latency(av[2], atoi(av[3]), atol(av[4]));
	} else if (!strcmp(av[1], "spin")) {
		spin();
	} else {
		return 2;
	}
	fflush(stdout);
	return 0;
}
