// SPDX-License-Identifier: MIT
// Mappings and page faults.
#define _GNU_SOURCE
#include "benches.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MAPSZ (4ul << 20)
#define NPAGE (MAPSZ / 4096)

static void touch(char *p, size_t n)
{
	for (size_t i = 0; i < n; i += 4096)
		*(volatile char *)(p + i) = 1;
}

static void r_mmap(long n)
{
	while (n--) {
		char *p = mmap(0, MAPSZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		touch(p, MAPSZ);
		munmap(p, MAPSZ);
	}
}

static void r_mmap_empty(long n)
{
	while (n--) {
		char *p = mmap(0, MAPSZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		munmap(p, MAPSZ);
	}
}

static char *map_p;
static int map_fd;

static void p_anon(void)
{
	map_p = mmap(0, MAPSZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map_p == MAP_FAILED)
		die("mmap");
	*(volatile char *)map_p = 1;
}

static void p_fileshared(void)
{
	map_p = mmap(0, MAPSZ, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (map_p == MAP_FAILED)
		die("mmap");
}

static void p_fileread(void)
{
	map_p = mmap(0, MAPSZ, PROT_READ, MAP_PRIVATE, map_fd, 0);
	if (map_p == MAP_FAILED)
		die("mmap");
}

static void r_touch(long n)
{
	for (long i = 0; i < n; i++)
		*(volatile char *)(map_p + i * 4096) = 1;
}

/* Downwards nobody maps anything ahead: what one fault takes. */
static void r_touch_down(long n)
{
	for (long i = n; i > 0; i--)
		*(volatile char *)(map_p + i * 4096) = 1;
}

static void r_peek(long n)
{
	for (long i = 0; i < n; i++)
		(void)*(volatile char *)(map_p + i * 4096);
}

static void d_unmap(void) { munmap(map_p, MAPSZ); }

static void p_mprot(void)
{
	map_p = mmap(0, MAPSZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map_p == MAP_FAILED)
		die("mmap");
	touch(map_p, MAPSZ);
}

static void r_mprot(long n)
{
	while (n--) {
		mprotect(map_p, 4096, PROT_READ);
		mprotect(map_p, 4096, PROT_READ | PROT_WRITE);
	}
}

static void open_scratch(void)
{
	static const char *path = "/tmp/benchmap";
	static char z[4096];

	map_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (map_fd < 0 || unlink(path))
		die(path);
	for (size_t i = 0; i < NPAGE; i++)
		if (write(map_fd, z, 4096) != 4096)
			die("fill");
}

void bench_memory(void)
{
	static const struct bm list[] = {
		{ "mprotect", p_mprot, r_mprot, d_unmap, 100, 2 },
		{ "mmap_munmap_4m", 0, r_mmap_empty, 0, 50, 1 },
		{ "mmap_touch_page", 0, r_mmap, 0, 1, NPAGE },
		{ "fault_anon", p_anon, r_touch, d_unmap, NPAGE, 1 },
		{ "fault_anon_single", p_anon, r_touch_down, d_unmap, NPAGE - 1, 1 },
		{ "fault_file_write", p_fileshared, r_touch, d_unmap, NPAGE, 1 },
		{ "fault_file_read_page", p_fileread, r_peek, d_unmap, NPAGE, 1 },
	};

	open_scratch();
	RUN(list);
	close(map_fd);
}

/* Once more with transparent huge pages allowed, as the system has them. */
void bench_memory_huge(void)
{
	static const struct bm list[] = { { "mmap_touch_page_thp", 0, r_mmap, 0, 1, NPAGE } };

	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	RUN(list);
}
