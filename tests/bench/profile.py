#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where the instructions of an operation of the guest `costs` go: executed instructions of each function, per operation.

usage: profile.py OPERATION [FUNCTION]     such as set_root, as `make bench` names them
       of FUNCTION also who called it, and how many instructions it spent on each
       needs make hypervisor build/guests/costs.elf
"""
import bisect
import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / 'build'
LIMIT = 120  # s
LOOK = 2.0   # s of the loop that are looked at


def symbols(elf):
    found = []
    for line in subprocess.run(['nm', '-C', '--defined-only', elf], check=True, capture_output=True, text=True).stdout.splitlines():
        address, kind, name = line.split(' ', 2)
        if kind in 'tTwW':
            found.append((int(address, 16), re.sub(r'\(.*', '', name)))
    return sorted(found)


def traced(operation):
    """The program counters of the instructions executed in a while of the loop."""
    log = BUILD / 'bench' / 'profile.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    config = json.loads((ROOT / 'tests/guests/costs/config').read_text())
    command = ['timeout', str(LIMIT), 'qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', '256', '-smp', str(config['smp']), *config['qemu'],
               '-singlestep', '-display', 'none', '-nic', 'none', '-no-reboot', '-serial', 'file:/dev/stderr', '-monitor', 'stdio', '-D', log,
               '-kernel', BUILD / 'paravane', '-initrd', ','.join([f'{BUILD}/guests/costs.elf {operation}', *(f'{ROOT}/{module}' for module in config['modules'])])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as qemu:
        try:
            for line in qemu.stderr:
                if 'looping' in line:
                    break
            else:
                sys.exit(f'profile: no operation {operation} in tests/guests/costs')
            qemu.stdin.write('log exec,nochain\n')
            qemu.stdin.flush()
            try:
                qemu.wait(LOOK)
            except subprocess.TimeoutExpired:
                qemu.stdin.write('log none\nquit\n')
                qemu.stdin.flush()
                qemu.wait(LIMIT)
        finally:
            qemu.kill()
    with open(log) as lines:
        for line in lines:
            if match := re.match(r'Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/', line):
                yield int(match[1], 16)
    log.unlink()


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith('-'):
        sys.exit(__doc__.strip())
    table = symbols(BUILD / 'paravane.elf') + symbols(BUILD / 'guests/costs.elf')
    table.sort()
    addresses = [address for address, _ in table]
    counts, rounds = collections.Counter(), 0
    of = sys.argv[2] if len(sys.argv) == 3 else None
    calls, callers, caller, last = collections.Counter(), collections.Counter(), '', ''
    begin = next(address for address, name in table if name == 'costs_round')
    for pc in traced(sys.argv[1]):
        rounds += pc == begin
        if rounds:
            at = bisect.bisect_right(addresses, pc) - 1
            name = table[at][1] if at >= 0 and pc - addresses[at] < 65536 else 'elsewhere'
            counts[name] += 1
            if name == of:
                if pc == addresses[at] and last != name:
                    caller = last
                    calls[caller] += 1
                callers[caller] += 1
            last = name
    total = sum(counts.values())
    print(f'{total / rounds:8.0f}  instructions of each of {rounds} rounds')
    for name, count in counts.most_common(60):
        print(f'{count / rounds:8.1f}  {name}')
    for name, count in callers.most_common():
        print(f'{count / rounds:8.1f}  in {calls[name] / rounds:.1f} calls of {of} by {name}')


if __name__ == '__main__':
    main()
