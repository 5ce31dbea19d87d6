// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "benches.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static const char *file_path = "/init";
static int fd_zero, fd_null;

static void r_null(long n)  { while (n--) syscall(SYS_getppid); }
static void r_read(long n)  { char c; while (n--) if (read(fd_zero, &c, 1) != 1) die("read"); }
static void r_write(long n) { char c = 0; while (n--) if (write(fd_null, &c, 1) != 1) die("write"); }
static void r_stat(long n)  { struct stat s; while (n--) if (stat(file_path, &s)) die("stat"); }

static void r_open(long n)
{
	while (n--) {
		int fd = open(file_path, O_RDONLY);
		if (fd < 0)
			die("open");
		close(fd);
	}
}

static void r_gtod(long n)  { struct timeval t; while (n--) gettimeofday(&t, 0); }
static void r_clks(long n)  { struct timespec t; while (n--) syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t); }
static void r_rdtsc(long n) { while (n--) (void)tsc(); }

static void r_cpuid(long n)
{
	while (n--) {
		u32 a = 0, b, c = 0, d;
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	}
}

void bench_system_calls(void)
{
	static const struct bm list[] = {
		{ "null_syscall", 0, r_null, 0, 2000, 1 },
		{ "read_zero_1b", 0, r_read, 0, 1000, 1 },
		{ "write_null_1b", 0, r_write, 0, 1000, 1 },
		{ "stat", 0, r_stat, 0, 500, 1 },
		{ "open_close", 0, r_open, 0, 300, 1 },
		{ "gettimeofday", 0, r_gtod, 0, 2000, 1 },
		{ "clock_gettime_syscall", 0, r_clks, 0, 1000, 1 },
		{ "rdtsc", 0, r_rdtsc, 0, 2000, 1 },
		{ "cpuid", 0, r_cpuid, 0, 500, 1 },
	};

	fd_zero = open("/dev/zero", O_RDONLY);
	fd_null = open("/dev/null", O_WRONLY);
	if (fd_zero < 0 || fd_null < 0)
		die("/dev");
	RUN(list);
}
