// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "benches.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

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

void bench_signals(void)
{
	static const struct bm list[] = {
		{ "sig_install", 0, r_siginst, 0, 1000, 1 },
		{ "sig_handle", 0, r_sigcatch, 0, 500, 1 },
		{ "prot_fault", p_prot, r_prot, d_prot, 300, 1 },
	};

	ro_page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ro_page == MAP_FAILED)
		die("mmap");
	(void)*(volatile char *)ro_page;
	r_siginst(1);
	RUN(list);
}
