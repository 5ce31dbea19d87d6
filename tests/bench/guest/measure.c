// SPDX-License-Identifier: MIT
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <paravane/control.h>
#include <paravane/hypercall.h>

int reps = 11;

void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static int control = -1;

void count_switches(void)
{
	control = open("/dev/pvn", O_RDWR | O_CLOEXEC);
}

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

struct result measure(const struct bm *b, int r)
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

void emit(const char *name, const struct result *r)
{
	printf("%s.min %.2f ns\n%s.med %.2f ns\n%s.tmin %.2f tick\n%s.tmed %.2f tick\n",
	       name, r->cmin, name, r->cmed, name, r->tmin, name, r->tmed);
	if (control >= 0)
		printf("%s.switches %.2f switches\n", name, r->switches);
	fflush(stdout);
}

void emit_rate(const char *name, u64 bytes, u64 ns, u64 ticks)
{
	printf("%s.ns_per_kb %.1f ns\n%s.tick_per_kb %.1f tick\n%s.mbs %.2f MB/s\n",
	       name, (double)ns * 1024 / bytes, name, (double)ticks * 1024 / bytes,
	       name, (double)bytes * 1000 / ns);
	fflush(stdout);
}

void run_each(const struct bm *list, size_t count, int batches)
{
	for (size_t i = 0; i < count; i++) {
		struct result r = measure(&list[i], batches);
		emit(list[i].name, &r);
	}
}
