// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "benches.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

void tcp_sink(int port, int n)
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

void tcp_send(const char *name, const char *ip, int port, u64 total)
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
	emit_rate(name, total, c1 - c0, t1 - t0);
}

void tcp_recv(const char *name, const char *ip, int port, u64 total)
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
	emit_rate(name, total, c1 - c0, t1 - t0);
}

static int pp_fd;

static void r_pp(long n)
{
	char c = 'x';
	while (n--)
		if (write(pp_fd, &c, 1) != 1 || read(pp_fd, &c, 1) != 1)
			die("ping");
}

void tcp_pp(const char *name, const char *ip, int port, long n)
{
	struct bm b = { name, 0, r_pp, 0, n, 1 };
	pp_fd = tcp_open(ip, port, 'p');
	struct result r = measure(&b, reps);
	close(pp_fd);
	emit(name, &r);
}

/* TCP over loopback, the base line for a virtual network card. */
void bench_loopback(void)
{
	pid_t p = fork();
	if (p < 0)
		die("fork");
	if (!p) {
		tcp_sink(5001, 3);
		_exit(0);
	}
	tcp_send("tcp_lo_send", "127.0.0.1", 5001, 8ull << 20);
	tcp_recv("tcp_lo_recv", "127.0.0.1", 5001, 8ull << 20);
	tcp_pp("tcp_lo_pp", "127.0.0.1", 5001, 50);
	waitpid(p, 0, 0);
}
