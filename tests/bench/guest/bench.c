// SPDX-License-Identifier: MIT
/*
 * What an operation of the kernel costs, in the manner of lmbench: one static program for the native kernel, dom0 and domUs.
 *
 *   bench run [sha_kb]               every benchmark, "name value unit" lines
 *   bench blk NAME DEV TOTAL CHUNK   sequential O_DIRECT reads
 *   bench tcpsink PORT N             serve N connections one by one
 *   bench tcpsend NAME IP PORT BYTES send BYTES, wait for the one-byte answer
 *   bench tcprecv NAME IP PORT BYTES the other direction
 *   bench tcppp NAME IP PORT N       1-byte ping-pong, N round trips per batch
 *
 * BENCH_REPS in the environment sets the number of batches (11).
 *
 * Every figure is taken twice, with rdtsc (raw) and with clock_gettime(CLOCK_MONOTONIC), as the best and as the median over the
 * batches after two to warm up.  Batches have fixed counts, so a run under an instruction-count clock is repeatable.
 *
 * Where there is /dev/pvn (dom0), each operation's switches to the hypervisor are counted too: hypercalls, and exceptions and
 * interrupts that took the full path.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <paravane/control.h>
#include <paravane/hypercall.h>

typedef uint64_t u64;
typedef uint32_t u32;

static int reps = 11;
static const char *tiny_path = "/tiny";
static const char *file_path = "/init";
static const char *scratch_path = "/tmp/benchmap";

static inline u64 tsc(void)
{
	u32 lo, hi;
	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return ((u64)hi << 32) | lo;
}

static inline u64 mono(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* --- switches to the hypervisor ------------------------------------------ */

static int control = -1;

static u64 switches(void)
{
	static struct pvn_vcpu_info info;
	struct pvn_control_hypercall call = {
		PVN_DOMAIN_VCPU_INFO, { 0, 0, (u64)&info, 0, 0, 0 }, 0 };

	if (control < 0)
		return 0;
	memset(&info, 1, sizeof info);	/* writable now, for the hypervisor too */
	if (ioctl(control, PVN_CONTROL_HYPERCALL, &call) || call.result)
		die("PVN_DOMAIN_VCPU_INFO");
	return info.hypercalls + info.traps + info.interrupts;
}

struct result { double cmin, cmed, tmin, tmed, switches; };

#define MAXREPS 101

/* A benchmark runs `n` operations; prep/done are outside the timed part. */
struct bm {
	const char *name;
	void (*prep)(void);
	void (*run)(long n);
	void (*done)(void);
	long n;         /* operations in a batch */
	double per;     /* units counted by one operation */
};

static struct result measure(const struct bm *b, int r)
{
	double c[MAXREPS], t[MAXREPS], s[MAXREPS];
	struct result out;

	for (int i = -2; i < r; i++) {
		if (b->prep)
			b->prep();
		u64 s0 = switches();
		u64 c0 = mono(), t0 = tsc();
		b->run(b->n);
		u64 t1 = tsc(), c1 = mono();
		u64 s1 = switches();
		if (b->done)
			b->done();
		if (i >= 0) {
			/* The looks themselves took one. */
			s[i] = (s1 - s0 - (control >= 0)) / ((double)b->n * b->per);
			c[i] = (double)(c1 - c0) / ((double)b->n * b->per);
			t[i] = (double)(t1 - t0) / ((double)b->n * b->per);
		}
	}
	qsort(c, r, sizeof *c, cmp_double);
	qsort(t, r, sizeof *t, cmp_double);
	qsort(s, r, sizeof *s, cmp_double);
	out.switches = s[r / 2];
	out.cmin = c[0];
	out.cmed = c[r / 2];
	out.tmin = t[0];
	out.tmed = t[r / 2];
	return out;
}

static void emit(const char *name, const struct result *r)
{
	printf("%s.min %.2f ns\n%s.med %.2f ns\n%s.tmin %.2f tick\n%s.tmed %.2f tick\n",
	       name, r->cmin, name, r->cmed, name, r->tmin, name, r->tmed);
	if (control >= 0)
		printf("%s.switches %.2f switches\n", name, r->switches);
	fflush(stdout);
}

/* ---- simple system calls ---------------------------------------------- */

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

/* ---- signals ---------------------------------------------------------- */

static volatile int hits;
static void on_usr1(int s) { (void)s; hits++; }

static void r_siginst(long n)
{
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = on_usr1;
	while (n--)
		sigaction(SIGUSR1, &sa, 0);
}

static void r_sigcatch(long n)
{
	pid_t me = getpid();
	while (n--)
		kill(me, SIGUSR1);
}

static char *ro_page;

static void on_segv(int s, siginfo_t *si, void *uc)
{
	(void)s; (void)si;
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP] += 3; /* movb $0,(%rax) */
}

static void p_prot(void)
{
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_sigaction = on_segv;
	sa.sa_flags = SA_SIGINFO;
	sigaction(SIGSEGV, &sa, 0);
}

static void r_prot(long n)
{
	while (n--)
		__asm__ volatile(".byte 0xc6,0x00,0x00" :: "a"(ro_page) : "memory");
}

static void d_prot(void) { signal(SIGSEGV, SIG_DFL); }

/* ---- processes -------------------------------------------------------- */

static void reap(pid_t p)
{
	int st;
	if (waitpid(p, &st, 0) != p || !WIFEXITED(st) || WEXITSTATUS(st))
		die("child");
}

static void r_fork(long n)
{
	while (n--) {
		pid_t p = fork();
		if (p < 0)
			die("fork");
		if (!p)
			_exit(0);
		reap(p);
	}
}

static void r_exec(long n)
{
	char *av[] = { (char *)tiny_path, 0 }, *ev[] = { 0 };
	while (n--) {
		pid_t p = fork();
		if (p < 0)
			die("fork");
		if (!p) {
			execve(tiny_path, av, ev);
			_exit(127);
		}
		reap(p);
	}
}

static void r_sh(long n)
{
	char *av[] = { "/bin/sh", "-c", (char *)tiny_path, 0 }, *ev[] = { 0 };
	while (n--) {
		pid_t p = fork();
		if (p < 0)
			die("fork");
		if (!p) {
			execve("/bin/sh", av, ev);
			_exit(127);
		}
		reap(p);
	}
}

/* ---- pipes and context switches --------------------------------------- */

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

/* ---- memory ----------------------------------------------------------- */

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

#define BIG (64ul << 20)
static char *big_a, *big_b;

static void r_memcpy(long n)
{
	while (n--) {
		memcpy(big_a, big_b, BIG);
		__asm__ volatile("" ::: "memory");
	}
}

static void r_wordcopy(long n)
{
	while (n--) {
		u64 *d = (u64 *)big_a;
		const u64 *s = (const u64 *)big_b;
		for (size_t i = 0; i < BIG / 8; i += 8) {
			d[i] = s[i]; d[i + 1] = s[i + 1]; d[i + 2] = s[i + 2]; d[i + 3] = s[i + 3];
			d[i + 4] = s[i + 4]; d[i + 5] = s[i + 5]; d[i + 6] = s[i + 6]; d[i + 7] = s[i + 7];
			__asm__ volatile("" ::: "memory");
		}
	}
}

/* ---- compute: SHA-256, written from FIPS 180-4 ------------------------- */

static u32 k256[64], h256[8];

/* constants are the fractional parts of cube and square roots of primes */
static u32 root_frac(unsigned p, int cube)
{
	/* largest r with r^k <= p * 2^(32k), by bisection on 128-bit numbers */
	unsigned __int128 lo = 0, hi = ((unsigned __int128)1) << 36;
	while (hi - lo > 1) {
		unsigned __int128 m = (lo + hi) / 2;
		int le;
		if (!cube) {
			le = m * m <= ((unsigned __int128)p << 64);
		} else {
			/* m^3 <= p << 96, compared as m*m <= (p<<96)/m */
			unsigned __int128 q = ((unsigned __int128)p << 96) / (m ? m : 1);
			le = m * m <= q;
		}
		if (le)
			lo = m;
		else
			hi = m;
	}
	return (u32)lo;
}

static void sha_init(void)
{
	int n = 0;
	for (unsigned p = 2; n < 64; p++) {
		int prime = 1;
		for (unsigned q = 2; q * q <= p; q++)
			if (p % q == 0)
				prime = 0;
		if (!prime)
			continue;
		k256[n] = root_frac(p, 1);
		if (n < 8)
			h256[n] = root_frac(p, 0);
		n++;
	}
}

static inline u32 ror(u32 x, int n) { return x >> n | x << (32 - n); }

static void sha_block(u32 *h, const unsigned char *p)
{
	u32 w[64], s[8];
	for (int i = 0; i < 16; i++)
		w[i] = (u32)p[4 * i] << 24 | (u32)p[4 * i + 1] << 16 | (u32)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (int i = 16; i < 64; i++) {
		u32 a = w[i - 15], b = w[i - 2];
		w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + w[i - 7] + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
	}
	memcpy(s, h, sizeof s);
	for (int i = 0; i < 64; i++) {
		u32 e = s[4], a = s[0];
		u32 t1 = s[7] + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + k256[i] + w[i];
		u32 t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
		s[7] = s[6];
		s[6] = s[5];
		s[5] = e;
		s[4] = s[3] + t1;
		s[3] = s[2];
		s[2] = s[1];
		s[1] = a;
		s[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		h[i] += s[i];
}

static void sha_selftest(void)
{
	/* one padded block holding "abc" */
	unsigned char blk[64] = { 'a', 'b', 'c', 0x80 };
	u32 h[8];
	blk[63] = 24;
	memcpy(h, h256, sizeof h);
	sha_block(h, blk);
	if (h[0] != 0xba7816bf || h[7] != 0xf20015ad) {
		fprintf(stderr, "bench: sha256 self-test failed %08x %08x\n", h[0], h[7]);
		exit(1);
	}
}

static void r_sha(long n)
{
	u32 h[8];
	memcpy(h, h256, sizeof h);
	for (long i = 0; i < n; i++)
		for (int j = 0; j < 1024; j += 64)
			sha_block(h, (unsigned char *)big_b + (i * 1024 + j) % BIG);
	sink = h[0];
}

/* ---- TCP -------------------------------------------------------------- */

/* protocol: the first byte says what follows: 's' a stream to drain, answered
 * by one byte at its end; 'p' a ping-pong; 'r' + 8 bytes: send that many */
static void serve(int s)
{
	static char buf[65536];
	char c;
	int one = 1;
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (read(s, &c, 1) != 1) {
		close(s);
		return;
	}
	if (c == 'p') {
		while (read(s, &c, 1) == 1)
			if (write(s, &c, 1) != 1)
				break;
	} else if (c == 'r') {
		u64 n;
		if (read(s, &n, 8) == 8)
			while (n) {
				ssize_t k = write(s, buf, n < sizeof buf ? n : sizeof buf);
				if (k <= 0)
					break;
				n -= k;
			}
		shutdown(s, SHUT_WR);
		read(s, &c, 1);
	} else {
		while (read(s, buf, sizeof buf) > 0)
			;
		write(s, "k", 1);
	}
	close(s);
}

static void tcp_sink(int port, int n)
{
	struct sockaddr_in a;
	int one = 1, l = socket(AF_INET, SOCK_STREAM, 0);
	memset(&a, 0, sizeof a);
	a.sin_family = AF_INET;
	a.sin_port = htons(port);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, (struct sockaddr *)&a, sizeof a) || listen(l, 8))
		die("listen");
	while (n--) {
		int s = accept(l, 0, 0);
		if (s < 0)
			die("accept");
		serve(s);
	}
	close(l);
}

static int tcp_open(const char *ip, int port, char kind)
{
	struct sockaddr_in a;
	int one = 1, s = -1;
	memset(&a, 0, sizeof a);
	a.sin_family = AF_INET;
	a.sin_port = htons(port);
	inet_pton(AF_INET, ip, &a.sin_addr);
	for (int i = 0; i < 100; i++) {
		s = socket(AF_INET, SOCK_STREAM, 0);
		if (!connect(s, (struct sockaddr *)&a, sizeof a))
			break;
		close(s);
		s = -1;
		usleep(100000);
	}
	if (s < 0)
		die("connect");
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (write(s, &kind, 1) != 1)
		die("write");
	return s;
}

static void report_rate(const char *name, u64 bytes, u64 ns, u64 ticks)
{
	printf("%s.ns_per_kb %.1f ns\n%s.tick_per_kb %.1f tick\n%s.mbs %.2f MB/s\n",
	       name, (double)ns * 1024 / bytes, name, (double)ticks * 1024 / bytes,
	       name, (double)bytes * 1000 / ns);
	fflush(stdout);
}

static void tcp_send(const char *name, const char *ip, int port, u64 total)
{
	static char buf[65536];
	char c;
	int s = tcp_open(ip, port, 's');
	u64 left = total, c0 = mono(), t0 = tsc();
	while (left) {
		ssize_t k = write(s, buf, left < sizeof buf ? left : sizeof buf);
		if (k <= 0)
			die("send");
		left -= k;
	}
	shutdown(s, SHUT_WR);
	read(s, &c, 1);
	u64 t1 = tsc(), c1 = mono();
	close(s);
	report_rate(name, total, c1 - c0, t1 - t0);
}

static void tcp_recv(const char *name, const char *ip, int port, u64 total)
{
	static char buf[65536];
	int s = tcp_open(ip, port, 'r');
	u64 got = 0, c0 = mono(), t0 = tsc();
	ssize_t k;
	if (write(s, &total, 8) != 8)
		die("write");
	while ((k = read(s, buf, sizeof buf)) > 0)
		got += k;
	u64 t1 = tsc(), c1 = mono();
	write(s, "k", 1);
	close(s);
	if (got != total)
		fprintf(stderr, "bench: short stream %llu\n", (unsigned long long)got);
	report_rate(name, total, c1 - c0, t1 - t0);
}

static int pp_fd;

static void r_pp(long n)
{
	char c = 'x';
	while (n--)
		if (write(pp_fd, &c, 1) != 1 || read(pp_fd, &c, 1) != 1)
			die("ping");
}

static void tcp_pp(const char *name, const char *ip, int port, long n)
{
	struct bm b = { name, 0, r_pp, 0, n, 1 };
	pp_fd = tcp_open(ip, port, 'p');
	struct result r = measure(&b, reps);
	close(pp_fd);
	emit(name, &r);
}

/* ---- block device ----------------------------------------------------- */

static void blk_read(const char *name, const char *dev, u64 total, size_t chunk)
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
	report_rate(name, total, bc, bt);
	printf("%s.ns_per_op %.1f ns\n%s.tick_per_op %.1f tick\n", name,
	       (double)bc * chunk / total, name, (double)bt * chunk / total);
	fflush(stdout);
}

/* ---- the list --------------------------------------------------------- */

static void run_all(int sha_kb)
{
	static const struct bm quick[] = {
		{ "null_syscall", 0, r_null, 0, 2000, 1 },
		{ "read_zero_1b", 0, r_read, 0, 1000, 1 },
		{ "write_null_1b", 0, r_write, 0, 1000, 1 },
		{ "stat", 0, r_stat, 0, 500, 1 },
		{ "open_close", 0, r_open, 0, 300, 1 },
		{ "gettimeofday", 0, r_gtod, 0, 2000, 1 },
		{ "clock_gettime_syscall", 0, r_clks, 0, 1000, 1 },
		{ "rdtsc", 0, r_rdtsc, 0, 2000, 1 },
		{ "cpuid", 0, r_cpuid, 0, 500, 1 },
		{ "sig_install", 0, r_siginst, 0, 1000, 1 },
		{ "sig_handle", 0, r_sigcatch, 0, 500, 1 },
		{ "prot_fault", p_prot, r_prot, d_prot, 300, 1 },
		{ "mprotect", p_mprot, r_mprot, d_unmap, 100, 2 },
		{ "mmap_munmap_4m", 0, r_mmap_empty, 0, 50, 1 },
		{ "mmap_touch_page", 0, r_mmap, 0, 1, NPAGE },
		{ "fault_anon", p_anon, r_touch, d_unmap, NPAGE, 1 },
		{ "fault_file_write", p_fileshared, r_touch, d_unmap, NPAGE, 1 },
		{ "fault_file_read_page", p_fileread, r_peek, d_unmap, NPAGE, 1 },
	};
	struct result r;

	control = open("/dev/pvn", O_RDWR | O_CLOEXEC);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	sha_init();
	sha_selftest();
	fd_zero = open("/dev/zero", O_RDONLY);
	fd_null = open("/dev/null", O_WRONLY);
	if (fd_zero < 0 || fd_null < 0)
		die("/dev");
	ro_page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)*(volatile char *)ro_page;
	map_fd = open(scratch_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (map_fd < 0 || ftruncate(map_fd, MAPSZ))
		die(scratch_path);
	{
		static char z[4096];
		for (size_t i = 0; i < NPAGE; i++)
			if (write(map_fd, z, 4096) != 4096)
				die("fill");
	}
	r = (struct result){ 0 };
	u64 m0 = mono(), t0 = tsc();

	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = on_usr1;
	for (size_t i = 0; i < sizeof quick / sizeof *quick; i++) {
		sigaction(SIGUSR1, &sa, 0);
		r = measure(&quick[i], reps);
		emit(quick[i].name, &r);
	}

	bench_ctx("ctx_2p_0k", 2, 0, 200);
	bench_ctx("ctx_8p_16k", 8, 16384, 20);

	const struct bm procs[] = {
		{ "fork_exit", 0, r_fork, 0, 4, 1 },
		{ "fork_exec", 0, r_exec, 0, 3, 1 },
		{ "sh_c", 0, r_sh, 0, 1, 1 },
	};
	for (size_t i = 0; i < sizeof procs / sizeof *procs; i++) {
		r = measure(&procs[i], reps);
		emit(procs[i].name, &r);
	}

	/* once more with transparent huge pages allowed, as the system has them */
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	const struct bm thp = { "mmap_touch_page_thp", 0, r_mmap, 0, 1, NPAGE };
	r = measure(&thp, reps);
	emit(thp.name, &r);

	/* TCP over loopback, the base line for a virtual network card */
	pid_t p = fork();
	if (!p) {
		tcp_sink(5001, 3);
		_exit(0);
	}
	tcp_send("tcp_lo_send", "127.0.0.1", 5001, 8ull << 20);
	tcp_recv("tcp_lo_recv", "127.0.0.1", 5001, 8ull << 20);
	tcp_pp("tcp_lo_pp", "127.0.0.1", 5001, 50);
	waitpid(p, 0, 0);

	big_a = mmap(0, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	big_b = mmap(0, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (big_a == MAP_FAILED || big_b == MAP_FAILED)
		die("mmap big");
	memset(big_a, 1, BIG);
	memset(big_b, 2, BIG);
	const struct bm heavy[] = {
		{ "memcpy_64m_per_mb", 0, r_memcpy, 0, 1, 64 },
		{ "wordcopy_64m_per_mb", 0, r_wordcopy, 0, 1, 64 },
		{ "sha256_per_kb", 0, r_sha, 0, sha_kb, 1 },
	};
	for (size_t i = 0; i < sizeof heavy / sizeof *heavy; i++) {
		r = measure(&heavy[i], reps < 5 ? reps : 5);
		emit(heavy[i].name, &r);
	}
	u64 m1 = mono(), t1 = tsc();
	printf("tsc_per_ns %.5f ratio\n", (double)(t1 - t0) / (double)(m1 - m0));
	printf("bench_total %.3f s\n", (double)(m1 - m0) / 1e9);
	unlink(scratch_path);
}

int main(int ac, char **av)
{
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
	} else if (!strcmp(av[1], "blk") && ac > 5) {
		blk_read(av[2], av[3], strtoull(av[4], 0, 10), strtoull(av[5], 0, 10));
	} else if (!strcmp(av[1], "tcpsink") && ac > 3) {
		tcp_sink(atoi(av[2]), atoi(av[3]));
	} else if (!strcmp(av[1], "tcpsend") && ac > 5) {
		tcp_send(av[2], av[3], atoi(av[4]), strtoull(av[5], 0, 10));
	} else if (!strcmp(av[1], "tcprecv") && ac > 5) {
		tcp_recv(av[2], av[3], atoi(av[4]), strtoull(av[5], 0, 10));
	} else if (!strcmp(av[1], "tcppp") && ac > 5) {
		tcp_pp(av[2], av[3], atoi(av[4]), atol(av[5]));
	} else {
		return 2;
	}
	fflush(stdout);
	return 0;
}
