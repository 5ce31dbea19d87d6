#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long Linux takes to its first line of user space: the same kernel on the same QEMU machine, natively and as dom0.

Two clocks: the wall, where native and dom0 take turns and the median counts; and -icount, where QEMU's clock advances by one
nanosecond with each instruction, so that neither the host's speed nor its load matters.

usage: boot_time.py [--runs N]      needs make hypervisor linux; the results go to build/results/boot_time.json
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / 'build'
WORK = BUILD / 'bench'
INITRAMFS = WORK / 'boot_time.cpio.gz'
# The promise of docs/performance.md.
LIMIT = 1.3


def build():
    WORK.mkdir(parents=True, exist_ok=True)
    folder = WORK / 'boot_time'
    folder.mkdir(exist_ok=True)
    subprocess.run(['gcc', '-O2', '-mgeneral-regs-only', '-static', '-nostdlib', '-ffreestanding', '-fno-stack-protector', '-o', folder / 'init',
                    ROOT / 'tests/bench/boot_time/init.c'], check=True)
    subprocess.run([ROOT / '.make/initramfs', INITRAMFS, folder], check=True)


def boot(where, icount, more=''):
    """Seconds to the first line of user space."""
    command = ['timeout', '300', 'qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', '1024', '-nodefaults', '-display', 'none', '-no-reboot',
               '-serial', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
    if icount:
        command += ['-icount', 'shift=0,sleep=off']
    if where == 'native':
        command += ['-kernel', BUILD / 'bzImage', '-append', f'console=ttyS0 panic=-1 {more}', '-initrd', INITRAMFS]
    else:
        command += ['-kernel', BUILD / 'paravane', '-append', 'debug_exit', '-initrd', f'{BUILD}/vmlinux console=hvc0 panic=-1 {more},{INITRAMFS}']
    started = time.monotonic()
    log = WORK / f'boot_time-{where}{"-icount" if icount else ""}.log'
    with open(log, 'wb') as file, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        elapsed = None
        for line in process.stdout:
            file.write(line)
            if match := re.match(rb'first line of user space at (\d+) ticks', line):
                # Under -icount the counter runs at 1 GHz.
                elapsed = int(match[1]) / 1e9 if icount else time.monotonic() - started
    if elapsed is None:
        sys.exit(f'boot_time: {where} did not reach user space; see {log}')
    return elapsed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=5, help='boots on each side by the wall clock (5)')
    parser.add_argument('--cmdline', default='', help='more words for the kernel')
    arguments = parser.parse_args()
    build()
    results = {}
    for clock in 'icount', 'wall':
        times = {'native': [], 'dom0': []}
        for _ in range(1 if clock == 'icount' else arguments.runs):
            for where in times:
                times[where].append(boot(where, clock == 'icount', arguments.cmdline))
        native, dom0 = (statistics.median(times[where]) for where in times)
        results[clock] = {'native': native, 'dom0': dom0, 'ratio': dom0 / native, 'runs': times}
        print(f'boot {clock:6}  native {native:6.3f} s  dom0 {dom0:6.3f} s  ratio {dom0 / native:.2f}', flush=True)
    (BUILD / 'results').mkdir(exist_ok=True)
    (BUILD / 'results/boot_time.json').write_text(json.dumps(results, indent=1) + '\n')
    bench = BUILD / 'bench.json'
    flat = json.loads(bench.read_text()) if bench.exists() else {}
    flat |= {f'boot_{clock}_s.{where}': results[clock][where] for clock in results for where in ('native', 'dom0')}
    bench.write_text(json.dumps(flat, indent=1) + '\n')
    if results['icount']['ratio'] > LIMIT:
        sys.exit(f'boot_time: dom0 takes more than {LIMIT} times what the native kernel takes')


if __name__ == '__main__':
    main()
