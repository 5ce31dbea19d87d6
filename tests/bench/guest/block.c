// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "benches.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST	64	/* at once */

static int fd;
static char *buffer;
static u64 total;
static size_t chunk;
static long at_once;

static void in_order(ssize_t (*one)(int, void *, size_t, off_t))
{
	for (u64 offset = 0; offset < total; offset += chunk)
		if (one(fd, buffer, chunk, offset) != (ssize_t)chunk)
			die("a disk's read or write");
}

static void reads(void)
{
	in_order(pread);
}

static void writes(void)
{
	in_order((ssize_t (*)(int, void *, size_t, off_t))pwrite);
}

/* The same places each time. */
static off_t next_place(void)
{
	static u64 state = 1;

	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (state >> 33) % (total / chunk) * chunk;
}

static void ask(aio_context_t context, struct iocb *request)
{
	request->aio_offset = next_place();
	if (syscall(SYS_io_submit, context, 1L, &request) != 1)
		die("io_submit");
}

static void random_reads(void)
{
	static struct iocb requests[MOST];
	static struct io_event events[MOST];
	aio_context_t context = 0;
	long left = total / chunk, under_way = 0;

	if (syscall(SYS_io_setup, at_once, &context))
		die("io_setup");
	for (; under_way < at_once; under_way++, left--) {
		requests[under_way] = (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd,
						     .aio_buf = (u64)buffer + under_way * chunk, .aio_nbytes = chunk };
		ask(context, &requests[under_way]);
	}
	while (under_way) {
		long done = syscall(SYS_io_getevents, context, 1L, at_once, events, NULL);

		if (done < 1)
			die("io_getevents");
		for (long i = 0; i < done; i++) {
			if (events[i].res != (long long)chunk)
				die("a disk's read");
			if (left-- > 0)
				ask(context, (struct iocb *)events[i].obj);
			else
				under_way--;
		}
	}
	syscall(SYS_io_destroy, context);
}

/* Past the caches.  The best of four, after one that does not count. */
void disk(const char *name, const char *dev, u64 bytes, size_t piece, const char *what, long depth)
{
	void (*const pass)(void) = !strcmp(what, "write") ? writes : depth > 1 ? random_reads : reads;
	u64 bc = ~0ull, bt = ~0ull;

	total = bytes;
	chunk = piece;
	at_once = depth < MOST ? depth : MOST;
	if (posix_memalign((void **)&buffer, 4096, chunk * at_once))
		die("memalign");
	memset(buffer, 0, chunk * at_once);
	fd = open(dev, (pass == writes ? O_WRONLY : O_RDONLY) | O_DIRECT);
	if (fd < 0)
		die(dev);
	for (int i = 0; i < 5; i++) {
		u64 c0 = mono(), t0 = tsc();

		pass();
		u64 t1 = tsc(), c1 = mono();
		if (i && c1 - c0 < bc)
			bc = c1 - c0;
		if (i && t1 - t0 < bt)
			bt = t1 - t0;
	}
	close(fd);
	free(buffer);
	emit_rate(name, total, bc, bt);
	printf("%s.ns_per_op %.1f ns\n%s.tick_per_op %.1f tick\n", name,
	       (double)bc * chunk / total, name, (double)bt * chunk / total);
	fflush(stdout);
}
