// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "benches.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void blk_read(const char *name, const char *dev, u64 total, size_t chunk)
{
	void *buf;
	u64 bc = ~0ull, bt = ~0ull;
	if (posix_memalign(&buf, 4096, chunk))
		die("memalign");
	memset(buf, 0, chunk);
	int fd = open(dev, O_RDONLY | O_DIRECT);
	if (fd < 0)
		die(dev);
	for (int i = 0; i < 5; i++) {
		lseek(fd, 0, SEEK_SET);
		u64 c0 = mono(), t0 = tsc();
		for (u64 d = 0; d < total; d += chunk)
			if (read(fd, buf, chunk) != (ssize_t)chunk)
				die("read");
		u64 t1 = tsc(), c1 = mono();
		if (i && c1 - c0 < bc)
			bc = c1 - c0;
		if (i && t1 - t0 < bt)
			bt = t1 - t0;
	}
	close(fd);
	emit_rate(name, total, bc, bt);
	printf("%s.ns_per_op %.1f ns\n%s.tick_per_op %.1f tick\n", name,
	       (double)bc * chunk / total, name, (double)bt * chunk / total);
	fflush(stdout);
}
