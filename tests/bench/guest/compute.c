// SPDX-License-Identifier: MIT
// Work that needs no kernel: it must cost the same everywhere.  SHA-256 (FIPS 180-4) is spelled out, since it is the loop that Xen was
// measured with.
#define _GNU_SOURCE
#include "benches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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
	__asm__ volatile("" :: "r"(h[0]));
}

void bench_compute(int sha_kb)
{
	const struct bm list[] = {
		{ "memcpy_64m_per_mb", 0, r_memcpy, 0, 1, 64 },
		{ "wordcopy_64m_per_mb", 0, r_wordcopy, 0, 1, 64 },
		{ "sha256_per_kb", 0, r_sha, 0, sha_kb, 1 },
	};

	sha_init();
	sha_selftest();
	big_a = mmap(0, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	big_b = mmap(0, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (big_a == MAP_FAILED || big_b == MAP_FAILED)
		die("mmap big");
	memset(big_a, 1, BIG);
	memset(big_b, 2, BIG);
	run_each(list, sizeof list / sizeof *list, reps < 5 ? reps : 5);
}
