// SPDX-License-Identifier: MIT
// What can be measured, one file each.
#pragma once

#include "measure.h"

extern const char *tiny_path;	/* a program that does nothing */

void bench_system_calls(void);
void bench_signals(void);
void bench_pipes(void);
void bench_processes(void);
void bench_memory(void);
void bench_memory_huge(void);
void bench_loopback(void);
void bench_compute(int sha_kb);

void tcp_sink(int port, int n);
void tcp_send(const char *name, const char *ip, int port, u64 total);
void tcp_recv(const char *name, const char *ip, int port, u64 total);
void tcp_pp(const char *name, const char *ip, int port, long n);
void wake_latency(const char *name, int count, long period_us);
_Noreturn void spin(void);
void disk(const char *name, const char *dev, u64 bytes, size_t piece, const char *what, long depth);
