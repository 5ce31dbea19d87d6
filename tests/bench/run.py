#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What operations cost in dom0 and in a domU, against the same kernel natively on the same QEMU machine.

Two clocks.  With -icount QEMU's clock advances by a nanosecond with each instruction, whoever executes it, so its figures are
instructions, the hypervisor's included, and come out the same each time.  By the wall, under plain emulation, only ratios mean
something: there an address space switch is dear, since it empties the emulated TLB.  Where things lie in memory decides what shares a
place there, so boots differ: several of each kind take turns, and the median of a row counts.

usage: run.py [--clock icount|wall] [--reps N] [--boots N] [--rows PATTERN]
       needs make hypervisor guests initramfs; results go to build/bench.json
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from table import ROWS, render, render_costs, render_latencies

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / 'build'
WORK = BUILD / 'bench'
MEMORY = 1024  # MiB of the machine; the native kernel gets as much as the domU, dom0 half of it
DOMU_MEMORY = 384
DISK = 64 << 20  # bytes of the machine's disk, which is there when time is measured
LIMIT = 1200  # s for a boot with all benchmarks


def scripts(reps):
    """What dom0 does, by name.  Its first program runs that: when somebody has typed it, in guest time, would depend on the host."""
    found = {'latency': 'pvn create busy1.toml; pvn create busy2.toml; pvn create -p waker.toml; '
                        'pvn sched waker --warp 20ms --warp-limit 2ms --unwarp 5ms; pvn unpause waker; pvn console waker'}
    for clock, disk2 in ('icount', ''), ('wall', '/dev/vda'):
        found[f'dom0-{clock}'] = (f'ifconfig lo 127.0.0.1 up; export BENCH_REPS={reps}; '
                                  f'/bench run 1024 && /bench.devices /dev/ram0 "" "{disk2}"; echo "bench ended: $?"')
        found[f'domu-{clock}'] = f'/bench.devices make; (/bench tcpsink 5001 3 &); pvn create -c bench-{clock}.toml'
    return found


def build(reps):
    WORK.mkdir(parents=True, exist_ok=True)
    with open(WORK / 'disk.img', 'wb') as image:
        image.write(os.urandom(DISK))
    here = ROOT / 'tests/bench/guest'
    sources = sorted(source for source in here.glob('*.c') if source.name != 'tiny.c')
    subprocess.run(['gcc', '-O2', '-Wall', '-Wno-unused-result', '-static', '-I', ROOT / 'hypercall-abi/include', '-o', WORK / 'bench', *sources],
                   check=True)
    subprocess.run(['gcc', '-O2', '-static', '-nostdlib', '-ffreestanding', '-fno-stack-protector', '-fcf-protection=none', '-o', WORK / 'tiny',
                    here / 'tiny.c'], check=True)
    pack = ROOT / '.make/initramfs'
    programs = [f'bench={WORK}/bench', f'tiny={WORK}/tiny', f'bench.devices={here}/devices', f'lib/modules={BUILD}/modules/lib/modules']
    subprocess.run([pack, WORK / 'guest.cpio.gz', here / 'root', *programs], check=True)
    # dom0 has the domU's kernel and file system too.
    def domain(name, words, memory, devices=''):
        (WORK / f'{name}.toml').write_text(f'name = "{name}"\nkernel = "/boot/vmlinux"\nramdisk = "/boot/guest.cpio.gz"\nmemory = "{memory}M"\n'
                                           f'cmdline = "console=hvc0 {words}"\non_poweroff = "destroy"\n' + devices)
        return f'root/{name}.toml={WORK}/{name}.toml'
    vif = 'vif = [{ address = "10.0.9.1/24" }]\n'
    domains = [domain('bench-icount', f'bench.reps={reps} bench.disk=/dev/pvda bench.router=10.0.9.1', DOMU_MEMORY, 'disk = ["/dev/ram0"]\n' + vif),
               domain('bench-wall', f'bench.reps={reps} bench.disk=/dev/pvda bench.router=10.0.9.1 bench.disk2=/dev/pvdb', DOMU_MEMORY,
                      'disk = ["/dev/ram0", "/dev/vda"]\n' + vif),
               domain('busy1', 'bench.spin', 64), domain('busy2', 'bench.spin', 64), domain('waker', 'bench.latency=wake', 64)]
    for name, script in scripts(reps).items():
        program = WORK / f'script.{name}'
        program.write_text(f'#!/bin/sh\ncd /root; dmesg -n 1; {script}\n')
        program.chmod(0o755)
        programs.append(f'{program.name}={program}')
    subprocess.run([pack, WORK / 'dom0.cpio.gz', ROOT / 'tests/system/initramfs', *programs, f'usr/bin/pvn={BUILD}/toolstack/pvn',
                    f'usr/bin/pvn-stored={BUILD}/toolstack/pvn-stored',
                    f'boot/vmlinux={BUILD}/vmlinux', f'boot/guest.cpio.gz={WORK}/guest.cpio.gz', *domains], check=True)


def qemu(clock, seed):
    command = ['timeout', str(LIMIT), 'qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', str(MEMORY), '-nodefaults', '-display', 'none',
               '-no-reboot', '-serial', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
    # The same random numbers and the same date each time: where things lie in memory, and when something is due, costs a few hundredths.
    return command + ['-seed', str(seed)] + (['-icount', 'shift=0,sleep=off', '-rtc', 'base=2026-01-01,clock=vm'] if clock == 'icount' else
                                       ['-drive', f'file={WORK / "disk.img"},format=raw,if=virtio'])


def dom0_kernel(script, options=''):
    return ['-kernel', BUILD / 'paravane', '-append', f'debug_exit {options}',
            '-initrd', f'{BUILD}/vmlinux console=hvc0 pvn.run=/script.{script},{WORK}/dom0.cpio.gz']


def measure(where, clock, reps, seed):
    """Boots one of the three and returns what its benchmarks printed: name -> value."""
    if where == 'native':
        words = f'console=ttyS0 mem={DOMU_MEMORY}M bench.reps={reps} bench.disk=/dev/ram0 bench.disk2={"/dev/vda" if clock == "wall" else ""}'
        machine = ['-kernel', BUILD / 'bzImage', '-append', words, '-initrd', WORK / 'guest.cpio.gz']
    else:
        machine = dom0_kernel(f'{where}-{clock}')
    return run(f'{where}-{clock}', clock, machine, seed)


def measure_in_turns(clock, reps, boots):
    """The three, each booted that often: where -> name -> median."""
    taken = [{where: measure(where, clock, reps, seed) for where in ('native', 'dom0', 'domu')} for seed in range(1, boots + 1)]
    return {where: {name: statistics.median(boot[where][name] for boot in taken) for name in values} for where, values in taken[0].items()}


def latency(sched):
    """How late a warped domU wakes beside two busy ones on one CPU, under that scheduler: median and 99 %, in ns."""
    values = run(f'latency-{sched}', 'icount', dom0_kernel('latency', f'sched={sched}'))
    return values['wake.p50'], values['wake.p99']


def hypercall_costs():
    """Instructions of the hypercalls that are made most, as the test guest `costs` counts them: name -> value."""
    print('  BENCH hypercalls', flush=True)
    subprocess.run([ROOT / 'tests/guests/run.py', 'costs'], check=True, stdout=subprocess.DEVNULL)
    return {name: int(cost) for name, cost in re.findall(r'^cost (\w+) (\d+)', (BUILD / 'guests/costs.log').read_text(), re.M)}


def run(name, clock, machine, seed=1):
    """Boots a machine and returns what benchmarks printed: name -> value."""
    log = WORK / f'{name}.log'
    print(f'  BENCH {name}', flush=True)
    values, ended = {}, None
    with open(log, 'w', buffering=1) as file, subprocess.Popen(qemu(clock, seed) + machine, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                                              stderr=subprocess.STDOUT) as process:
        try:
            text = b''
            while piece := process.stdout.read1(65536):
                text += piece
                *lines, text = text.split(b'\n') if b'\n' in text else (text,)
                for line in (l.decode('utf-8', 'replace').strip() for l in lines):
                    file.write(line + '\n')
                    if match := re.fullmatch(r'(\w+)\.(min|tmin|switches|ns_per_kb|tick_per_kb|ns_per_op|tick_per_op|p50|p99) (-?[\d.]+) \S+', line):
                        values[f'{match[1]}.{match[2]}'] = float(match[3])
                    elif match := re.fullmatch(r'bench ended: (\d+)', line):
                        ended = int(match[1])
        finally:
            process.kill()
    if ended != 0:
        sys.exit(f'bench: {name} did not come to the end of its benchmarks; see {log}')
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--clock', choices=['icount', 'wall', 'both'], default='both')
    parser.add_argument('--reps', type=int, default=21, help='batches of each row (21)')
    parser.add_argument('--boots', type=int, default=3, help='boots of each kind by the wall (3); in instructions they are alike, and one is enough')
    parser.add_argument('--rows', default='', help='show only rows whose name matches this regular expression')
    arguments = parser.parse_args()
    started = time.monotonic()
    build(arguments.reps)
    flat = {}
    for clock in ('icount', 'wall') if arguments.clock == 'both' else (arguments.clock,):
        results = measure_in_turns(clock, arguments.reps, arguments.boots if clock == 'wall' else 1)
        print(render(clock, results, [row for row in ROWS if re.search(arguments.rows, row.name)]), flush=True)
        for row in ROWS:
            for where, values in results.items():
                key = row.key(clock, where)
                if key in values:
                    flat[f'{row.name}_{"instructions" if clock == "icount" else "wall_ns"}.{where}'] = values[key]
            if f'{row.name}.switches' in results['dom0']:
                flat[f'{row.name}_switches.dom0'] = results['dom0'][f'{row.name}.switches']
    if arguments.clock != 'wall':
        costs = hypercall_costs()
        latencies = {sched: latency(sched) for sched in ('bvt', 'rr')}
        print(render_costs(costs), render_latencies(latencies), sep='\n', flush=True)
        flat |= {f'{name}_instructions': cost for name, cost in costs.items()}
        flat |= {f'wake_{rank}_ns.{sched}': value for sched, both in latencies.items() for rank, value in zip(('p50', 'p99'), both)}
    (BUILD / 'bench.json').write_text(json.dumps(flat, indent=1) + '\n')
    print(f'bench: {time.monotonic() - started:.0f} s; all figures are in {os.path.relpath(BUILD / "bench.json")}')


if __name__ == '__main__':
    main()
