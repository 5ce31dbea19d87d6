// SPDX-License-Identifier: MIT
// Pipes and context switches.
#include "benches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAXPROC 16
static int ring_n;
static size_t ring_bytes;
static int ring_fd[MAXPROC][2];
static pid_t ring_pid[MAXPROC];
static char *ring_buf;

static u64 sum_words(const char *p, size_t n)
{
	const volatile u64 *w = (const volatile u64 *)p;
	u64 s = 0;
	for (size_t i = 0; i < n / 8; i++)
		s += w[i];
	return s;
}

static volatile u64 sink;

/* the token goes round: process 0 is the parent */
static void ring_start(int nproc, size_t bytes)
{
	ring_n = nproc;
	ring_bytes = bytes;
	for (int i = 0; i < nproc; i++)
		if (pipe(ring_fd[i]))
			die("pipe");
	for (int i = 1; i < nproc; i++) {
		ring_pid[i] = fork();
		if (ring_pid[i] < 0)
			die("fork");
		if (!ring_pid[i]) {
			int in = ring_fd[i - 1][0], out = ring_fd[i][1];
			char *buf = bytes ? malloc(bytes) : 0;
			char c;
			if (bytes)
				memset(buf, 1, bytes);
			for (int j = 0; j < nproc; j++) {
				if (ring_fd[j][0] != in)
					close(ring_fd[j][0]);
				if (ring_fd[j][1] != out)
					close(ring_fd[j][1]);
			}
			while (read(in, &c, 1) == 1) {
				if (bytes)
					sink = sum_words(buf, bytes);
				if (write(out, &c, 1) != 1)
					break;
			}
			_exit(0);
		}
	}
	ring_buf = bytes ? malloc(bytes) : 0;
	if (bytes)
		memset(ring_buf, 1, bytes);
}

static void ring_stop(void)
{
	for (int i = 0; i < ring_n; i++) {
		close(ring_fd[i][1]);
		close(ring_fd[i][0]);
	}
	for (int i = 1; i < ring_n; i++)
		waitpid(ring_pid[i], 0, 0);
	free(ring_buf);
}

static void r_ring(long n)
{
	char c = 'x';
	while (n--) {
		if (ring_bytes)
			sink = sum_words(ring_buf, ring_bytes);
		if (write(ring_fd[0][1], &c, 1) != 1 ||
		    read(ring_fd[ring_n - 1][0], &c, 1) != 1)
			die("ring");
	}
}

static int self_fd[2];
static size_t self_bytes;
static char *self_buf;

static void r_self(long n)
{
	char c = 'x';
	while (n--) {
		if (self_bytes)
			sink = sum_words(self_buf, self_bytes);
		if (write(self_fd[1], &c, 1) != 1 || read(self_fd[0], &c, 1) != 1)
			die("self pipe");
	}
}

static void bench_ctx(const char *name, int nproc, size_t bytes, long n)
{
	struct bm base = { name, 0, r_self, 0, n * nproc, 1 };
	struct bm ring = { name, 0, r_ring, 0, n, nproc };
	struct result o, r, d;
	char buf[64];

	if (pipe(self_fd))
		die("pipe");
	self_bytes = bytes;
	self_buf = bytes ? malloc(bytes) : 0;
	if (bytes)
		memset(self_buf, 1, bytes);
	o = measure(&base, reps);
	close(self_fd[0]);
	close(self_fd[1]);
	free(self_buf);

	ring_start(nproc, bytes);
	r = measure(&ring, reps);
	ring_stop();

	snprintf(buf, sizeof buf, "%s_hop", name);
	emit(buf, &r);
	d.cmin = r.cmin - o.cmin;
	d.cmed = r.cmed - o.cmed;
	d.tmin = r.tmin - o.tmin;
	d.tmed = r.tmed - o.tmed;
	d.switches = r.switches - o.switches;
	emit(name, &d);
	if (!bytes)
		emit("pipe_self", &o);
}

void bench_pipes(void)
{
	bench_ctx("ctx_2p_0k", 2, 0, 200);
	bench_ctx("ctx_8p_16k", 8, 16384, 20);
}
