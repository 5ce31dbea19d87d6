// SPDX-License-Identifier: MIT
// Every page that is free becomes a page table: a child reads one page in each 2 MiB, all of which are the page of zeroes, until the
// kernel has no memory for the table that the next one needs and kills it.  Prints how many tables there were.
#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TABLE_SPAN	(2ul << 20)
#define PIECE		(64ul << 30)

static void touch(volatile unsigned long *tables)
{
	FILE *choice = fopen("/proc/self/oom_score_adj", "w");

	if (!choice || fputs("1000", choice) < 0 || fclose(choice) != 0)
		exit(1);
	for (;;) {
		volatile char *piece = mmap(NULL, PIECE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (piece == MAP_FAILED)
			exit(1);
		for (unsigned long at = 0; at < PIECE; at += TABLE_SPAN, ++*tables)
			(void)piece[at];
	}
}

int main(void)
{
	volatile unsigned long *tables = mmap(NULL, sizeof(*tables), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;

	if (tables == MAP_FAILED || (child = fork()) < 0) {
		perror("many_tables");
		return 1;
	}
	if (child == 0)
		touch(tables);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
		fprintf(stderr, "many_tables: the child was not killed: status %#x\n", status);
		return 1;
	}
	// The tables are free after a grace period of RCU, and until then the next program that starts would be killed for want of memory.
	for (int i = 0; i < 2; i++)
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) {
			perror("many_tables: membarrier");
			return 1;
		}
	printf("%lu tables\n", *tables);
	return 0;
}
