// SPDX-License-Identifier: MIT
// Memory as a program sees it where the kernel maps pages ahead of faults, copies pages before they are written, and leaves flushes out:
// says for each of these in how many faults it went, and ends with an error if anything is not as it must be.
// page_faults forks N: does nothing but that, on one processor.
// page_faults changes N: changes the entry of a page so often, where the other processor is idle and knows the address space.
// page_faults short FILE: forks with a copy of the beginning of the file (or disk) mapped while memory is so short that its pages come and go.
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096l
#define PAGES 256l

#define MUST(condition) do { if (!(condition)) { printf("page_faults: line %d: %s\n", __LINE__, #condition); exit(1); } } while (0)

static long faults(int who)
{
	struct rusage usage;

	MUST(!getrusage(who, &usage));
	return usage.ru_minflt;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	MUST(!sched_setaffinity(0, sizeof set, &set));
}

/* PAGES at the beginning of a page table: nothing is mapped ahead past the end of one, which would be anywhere among them otherwise. */
static volatile char *map(long pages, int flags, int fd)
{
	void *place = (void *)(1l << 40);
	void *p = pages == PAGES ? mmap(place, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0)
				 : mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	MUST(p != MAP_FAILED);
	return p;
}

static long mapped(volatile char *p, long pages)
{
	unsigned char in[PAGES];
	long count = 0;

	MUST(!mincore((void *)p, pages * PAGE, in));
	for (long i = 0; i < pages; i++)
		count += in[i] & 1;
	return count;
}

/* Upwards, pages are mapped ahead, a few; in any other order none is.  They are as empty as any other. */
static void anonymous(void)
{
	volatile char *p = map(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	long before = faults(RUSAGE_SELF), i;

	for (i = 0; i < PAGES; i++) {
		p[i * PAGE + 8] = 1;
		MUST(!p[i * PAGE] && !p[i * PAGE + PAGE - 1]);
	}
	printf("upwards: %ld faults for %ld pages\n", faults(RUSAGE_SELF) - before, PAGES);
	munmap((void *)p, PAGES * PAGE);

	p = map(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (i = 0; i < 3; i++)
		p[i * PAGE] = 1;
	printf("three pages: %ld mapped\n", mapped(p, PAGES));
	/* What is mapped ahead never passes the end of a mapping, nor what is mapped there already. */
	p[20 * PAGE] = 20;
	MUST(!mprotect((void *)(p + 40 * PAGE), PAGE, PROT_NONE));
	for (i = 3; i < 40; i++)
		p[i * PAGE + 1] = 2;
	MUST(p[20 * PAGE] == 20 && mapped(p + 40 * PAGE, 1) == 0);
	munmap((void *)p, PAGES * PAGE);

	p = map(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	before = faults(RUSAGE_SELF);
	for (i = PAGES - 1; i >= 0; i--)
		p[i * PAGE] = 1;
	MUST(faults(RUSAGE_SELF) - before >= PAGES);
	munmap((void *)p, PAGES * PAGE);
}

/* A file in memory: written pages share a fault, others keep what is in them, holes stay holes, and the time is that of the write. */
static void shared(void)
{
	const struct timespec long_ago[2] = { { 1000, 0 }, { 1000, 0 } };
	int fd = memfd_create("page_faults", 0);
	struct stat was, is;
	volatile char *p;
	char byte = 0;
	long before;

	MUST(fd >= 0 && !ftruncate(fd, PAGES * PAGE));
	for (long i = 0; i < PAGES; i++)
		if (i < 100 || i >= 200)
			MUST(pwrite(fd, &(char){ i }, 1, i * PAGE + 7) == 1);
	MUST(!futimens(fd, long_ago) && !fstat(fd, &was));
	p = map(PAGES, MAP_SHARED, fd);
	before = faults(RUSAGE_SELF);
	p[150 * PAGE] = 1;	/* in the hole */
	for (long i = 0; i < 100; i++) {
		MUST(p[i * PAGE + 7] == (char)i);
		p[i * PAGE + 8] = i + 1;
	}
	printf("shared: %ld faults for 101 pages\n", faults(RUSAGE_SELF) - before);
	MUST(!fstat(fd, &is));
	MUST(is.st_mtime > was.st_mtime && is.st_blocks == was.st_blocks + PAGE / 512);
	for (long i = 0; i < 100; i++)
		MUST(pread(fd, &byte, 1, i * PAGE + 8) == 1 && byte == (char)(i + 1));
	munmap((void *)p, PAGES * PAGE);
	close(fd);
}

static __thread volatile int own = 1;
static volatile int global = 1;

/* Whatever is copied when, each side of a fork() has its own stack, thread's data, globals and heap. */
static __attribute__((noinline)) void forks(int count)
{
	volatile int *heap = malloc(sizeof *heap), stack = 1;
	long before, before_here;

	run_on(0);
	*heap = 1;
	before = faults(RUSAGE_CHILDREN);
	before_here = faults(RUSAGE_SELF);
	for (int i = 1; i <= count; i++) {
		int status;
		pid_t child = fork();

		MUST(child >= 0);
		if (!child) {
			int same = stack == i && own == i && global == i && *heap == i;

			stack = own = global = *heap = -1;
			_exit(!same);
		}
		MUST(waitpid(child, &status, 0) == child && status == 0);
		MUST(stack == i && own == i && global == i && *heap == i);
		stack++, own++, global++, ++*heap;
	}
	printf("forks: %ld faults in %d children, %ld in the parent\n", faults(RUSAGE_CHILDREN) - before, count, faults(RUSAGE_SELF) - before_here);
	free((void *)heap);
}

/* With all of its stack in one page: where that begins is chance, and one more page is one more that either side copies. */
static void forks_in_a_page(int count)
{
	char *room = alloca((uintptr_t)__builtin_frame_address(0) % PAGE);

	__asm__ volatile("" : : "r"(room) : "memory");
	forks(count);
}

static sigjmp_buf back;
static void caught(int signal) { siglongjmp(back, signal); }

/* What was changed on one processor holds on the next one. */
static void moved(void)
{
	volatile char *p = map(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	signal(SIGSEGV, caught);
	for (int i = 0; i < 500; i++) {
		pid_t child;
		int status;

		run_on(0);
		*p = i;
		run_on(1);
		MUST(*p == (char)i);
		MUST(!mprotect((void *)p, PAGE, PROT_READ));
		run_on(i & 1);
		if (!sigsetjmp(back, 1)) {
			*p = i + 1;
			MUST(!"written though only to be read");
		}
		MUST(!mprotect((void *)p, PAGE, PROT_READ | PROT_WRITE));
		/* Written by both: a copy is made here, while the other processor may know the old page. */
		child = fork();
		if (!child) {
			usleep(200);
			_exit(*p != (char)i);
		}
		run_on(1);
		MUST(*p == (char)i);
		run_on(0);
		*p = i + 1;
		run_on(1);
		MUST(*p == (char)(i + 1));
		MUST(waitpid(child, &status, 0) == child && status == 0);
	}
	signal(SIGSEGV, SIG_DFL);
	munmap((void *)p, PAGE);
	printf("moved: 500 times\n");
}

/* Twice each time, with no other processor that would have to hear of it. */
static void changes(int count)
{
	volatile char *p = map(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	for (int i = 0; i < count; i++) {
		if (i % 50 == 0) {
			run_on(0);
			*p = i;
			run_on(1);
		}
		MUST(!mprotect((void *)p, PAGE, PROT_READ));
		MUST(!mprotect((void *)p, PAGE, PROT_READ | PROT_WRITE));
		*p = i;
	}
}

static volatile long *counter;
static atomic_long written, read_back;

static void *reader(void *unused)
{
	long now, last = 0;

	run_on(1);
	while (last < 2000) {
		while ((now = atomic_load(&written)) == last)
			sched_yield();
		MUST(*counter >= now);
		atomic_store(&read_back, last = now);
	}
	return unused;
}

/* The page of a process with two threads is copied when it is written after a fork(): the other thread sees the copy from then on. */
static void threads(void)
{
	pthread_t thread;

	counter = (volatile long *)map(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	*counter = 0;
	run_on(0);
	MUST(!pthread_create(&thread, 0, reader, 0));
	for (long i = 1; i <= 2000; i++) {
		pid_t child = i % 10 ? 0 : fork();

		if (i % 10 == 0) {
			if (!child)
				_exit(0);
			MUST(child > 0);
		}
		*counter = i;
		atomic_store(&written, i);
		while (atomic_load(&read_back) != i)
			sched_yield();
		if (child)
			MUST(waitpid(child, 0, 0) == child);
	}
	MUST(!pthread_join(thread, 0));
	printf("threads: 2000 times\n");
}

static long available(void)
{
	char line[80];
	long kib = -1;
	FILE *file = fopen("/proc/meminfo", "r");

	MUST(file);
	while (fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %ld", &kib) != 1)
		;
	fclose(file);
	MUST(kib >= 0);
	return kib / (PAGE / 1024);
}

static char *file_map, *copy_of;
static long file_pages;

static void look_through(void)
{
	for (long i = 0; i < file_pages; i++)
		MUST(file_map[i * PAGE + 5] == (i % 7 ? copy_of[i] : (char)i));
}

/* Reclaim looks for who maps a page in the middle of fork()s, exits and faults of the one processor that there is. */
static void short_of_memory(const char *path)
{
	int fd = open(path, O_RDONLY), status;
	long hog;

	file_pages = lseek(fd, 0, SEEK_END) / PAGE;
	MUST(file_pages > 0);
	if (file_pages > 4096)
		file_pages = 4096;
	copy_of = malloc(file_pages);
	file_map = mmap(0, file_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	MUST(copy_of && file_map != MAP_FAILED);
	for (long i = 0; i < file_pages; i++) {
		copy_of[i] = file_map[i * PAGE + 5];
		if (i % 7 == 0)
			file_map[i * PAGE + 5] = i;
	}
	/* What is left is less than the file's pages, which count as left. */
	for (hog = 0; available() > file_pages / 2; hog += 64)
		memset((char *)map(64, MAP_PRIVATE | MAP_ANONYMOUS, -1), 1, 64 * PAGE);
	for (int i = 0; i < 30; i++) {
		pid_t child = fork();

		MUST(child >= 0);
		if (!child) {
			look_through();
			_exit(0);
		}
		look_through();
		MUST(waitpid(child, &status, 0) == child && status == 0);
	}
	printf("short: 30 forks with %ld pages of a file, %ld of other memory; %ld are available\n", file_pages, hog, available());
}

int main(int count, char **words)
{
	setvbuf(stdout, 0, _IONBF, 0);
	if (count > 2 && !strcmp(words[1], "forks")) {
		forks_in_a_page(atoi(words[2]));
		return 0;
	}
	if (count > 2 && !strcmp(words[1], "changes")) {
		changes(atoi(words[2]));
		return 0;
	}
	if (count > 2 && !strcmp(words[1], "short")) {
		short_of_memory(words[2]);
		return 0;
	}
	anonymous();
	shared();
	forks_in_a_page(100);
	moved();
	threads();
	printf("page_faults: all is well\n");
	return 0;
}
