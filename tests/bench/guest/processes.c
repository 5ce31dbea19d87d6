// SPDX-License-Identifier: MIT
#include "benches.h"

#include <sys/wait.h>
#include <unistd.h>

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

void bench_processes(void)
{
	static const struct bm list[] = {
		{ "fork_exit", 0, r_fork, 0, 4, 1 },
		{ "fork_exec", 0, r_exec, 0, 3, 1 },
		{ "sh_c", 0, r_sh, 0, 1, 1 },
	};

	RUN(list);
}
