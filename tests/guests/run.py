#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boots each test guest under Paravane in QEMU, and judges what it says.

A guest ends with a line `PASS: NAME` or `FAIL: what went wrong`.  Its folder tests/guests/NAME/ may hold

  expect   for guests that lose themselves: regular expressions, one a line, which must all match a line of the output,
           in any order, and then take the place of the PASS line; `!regex` must match no line; `#` begins a comment
  config   JSON: {"qemu": [more arguments], "cpu": "max", "memory": 256, "smp": 4, "timeout": 30,
           "modules": ["path from the top"], "paravane": "options for the hypervisor", "cmdline": "for the guest",
           "panic": true (a panic of the hypervisor is what is expected), "skip": "reason", "needs_qemu": "reason",
           "stops": true (it runs once more, as NAME-stops, with hypercalls that stop wherever they can)}

A panic of the hypervisor fails any guest.  Logs: build/guests/NAME.log; counts: build/results/guests.json, or bochs.json.

A run of all guests ends with `documented_errors`: whether they have met each error that docs/abi has, and `every_latency`: whether the time of each
call was measured (documented.py).

With --conformance a table says what each guest has shown of a hypervisor to hold, which --image names.

With --bochs MODEL the machine is Bochs with a CPU of that model (`bochs --help cpu` lists them), and GRUB the loader: guests that
need a QEMU of their own ("qemu", "cpu" and "needs_qemu" of `config`) are left out.

usage: run.py [--jobs N] [--verbose] [--conformance [--image FILE]] [--bochs MODEL] [NAME...]
"""
import argparse
import json
import os
import pathlib
import re
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import bochs
import documented

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GUESTS = ROOT / 'tests' / 'guests'
BUILD = ROOT / 'build' / 'guests'
IMAGE = ROOT / 'build' / 'paravane'
RESULTS = ROOT / 'build' / 'results'

CONFIG_KEYS = {'qemu', 'cpu', 'memory', 'smp', 'timeout', 'modules', 'paravane', 'cmdline', 'panic', 'skip', 'needs_qemu', 'stops'}
PASS = re.compile(r'\bPASS: (\S+)')
FAIL = re.compile(r'\bFAIL: (.*)')
PANIC = re.compile(r'\bPANIC\b|\bpanic:')
ESCAPES = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]|[\r\0]')
# How long a guest that has given its verdict may take to switch the machine off.
GRACE = 1.0

stopping = threading.Event()


class Qemu:
    def __init__(self, command):
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.serial = self.process.stdout.fileno()
        self.screen = None

    def close(self):
        self.process.stdout.close()


class Guest:
    image = IMAGE
    model = None  # of Bochs

    def __init__(self, name):
        self.name = name
        self.guest = name.removesuffix('-stops')
        self.elf = BUILD / f'{self.guest}.elf'
        self.log = BUILD / (f'bochs-{name}.log' if self.model else f'{name}.log')
        self.config = {}
        self.expected, self.unwanted = [], []
        self.broken = None
        self.met, self.measured = set(), set()  # errors, {(call, error)}; calls
        self.read()
        if name != self.guest:
            self.config['paravane'] = f'stop_always {self.config.get("paravane", "")}'.strip()

    def suite(self):
        return 'bochs' if self.model else 'guests'

    def promise(self):
        """What it shows to hold: the first sentence of its opening comment."""
        for source in sorted((GUESTS / self.guest).glob('*.cpp')):
            comment = re.match(r'// SPDX[^\n]*\n((?://[^\n]*\n)+)', source.read_text())
            if comment:
                text = ' '.join(line[2:].strip() for line in comment[1].splitlines())
                return re.match(r'.*?[.:](?= |$)|.*', text)[0].rstrip(':').strip()
        return (GUESTS / self.guest / 'promise').read_text().strip() if (GUESTS / self.guest / 'promise').is_file() else ''

    def read(self):
        """Reads `config` and `expect`; a mistake in them fails this guest, not the run."""
        folder = GUESTS / self.guest
        try:
            if (folder / 'config').is_file():
                self.config = json.loads((folder / 'config').read_text())
                unknown = set(self.config) - CONFIG_KEYS
                if unknown:
                    self.broken = f'config: unknown key {", ".join(sorted(unknown))}'
            if (folder / 'expect').is_file():
                for line in (folder / 'expect').read_text().splitlines():
                    if line.startswith('!'):
                        self.unwanted.append(re.compile(line[1:]))
                    elif line.strip() and not line.startswith('#'):
                        self.expected.append(re.compile(line))
        except (ValueError, re.error) as error:
            self.broken = f'config or expect: {error}'

    def needs_qemu(self):
        return not self.config.keys().isdisjoint({'qemu', 'cpu', 'needs_qemu'})

    def start(self):
        if not self.model:
            return Qemu(self.command())
        config = self.config
        modules = [f'{self.elf} {config.get("cmdline", "")}', *config.get('modules', [])]
        return bochs.Machine(ROOT, BUILD / 'bochs' / self.name, self.image, config.get('paravane', ''), modules, self.model,
                             config.get('smp', 2), config.get('memory', 256))

    def command(self):
        def module(path, arguments=''):
            # QEMU separates modules by commas; a doubled one is a comma.
            return f'{path} {arguments}'.strip().replace(',', ',,')
        config = self.config
        modules = [module(self.elf.relative_to(ROOT), config.get('cmdline', ''))] + [module(path) for path in config.get('modules', [])]
        command = ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', config.get('cpu', 'max'), '-m', str(config.get('memory', 256)),
                   '-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-nic', 'none', '-no-reboot',
                   '-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
        command += ['-smp', str(config.get('smp', 4))]
        command += ['-kernel', str(self.image), '-initrd', ','.join(modules)]
        if config.get('paravane'):
            command += ['-append', config['paravane']]
        return command + list(map(str, config.get('qemu', [])))

    def verdict_given(self, lines):
        """True when more output cannot help."""
        if any(PANIC.search(line) for line in lines) and not self.config.get('panic'):
            return True
        if self.expected:
            return all(any(regex.search(line) for line in lines) for regex in self.expected)
        return any(PASS.search(line) or FAIL.search(line) for line in lines)

    def judge(self, lines, timed_out, status):
        """What is wrong with this output, or None."""
        for line in lines:
            if PANIC.search(line) and not self.config.get('panic'):
                return f'the hypervisor panicked: {line.strip()}'
            for regex in self.unwanted:
                if regex.search(line):
                    return f'unwanted line: {line.strip()}'
        failure = next((match[1].strip() for line in lines if (match := FAIL.search(line))), None)
        if self.expected:
            if failure is not None and not any(regex.search(f'FAIL: {failure}') for regex in self.expected):
                return failure
            for regex in self.expected:
                if not any(regex.search(line) for line in lines):
                    return f'no line matches: {regex.pattern}' + (' (timed out)' if timed_out else '')
            return None
        if failure is not None:
            return failure
        passes = [match[1] for line in lines if (match := PASS.search(line))]
        if self.guest in passes:
            return None
        if passes:
            return f'says PASS: {passes[0]}, expected PASS: {self.guest}'
        if timed_out:
            return f'no verdict within {timed_out} s'
        return f'the machine ended (QEMU status {status}) without PASS or FAIL'


def boot(guest):
    """Boots one guest; returns (lines, seconds that timed out or None, exit status)."""
    limit = float(guest.config.get('timeout', 30)) * float(os.environ.get('TIMEOUT_SCALE', '1')) * (4 if guest.model else 1)
    machine = guest.start()
    process = machine.process
    output = bytearray()
    deadline = time.monotonic() + limit
    settled = False
    timed_out = None

    def lines():
        return ESCAPES.sub('', output.decode('utf-8', 'replace')).split('\n')

    try:
        with selectors.DefaultSelector() as selector, open(guest.log, 'wb') as log:
            selector.register(machine.serial, selectors.EVENT_READ)
            if machine.screen is not None:
                selector.register(machine.screen, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0 or stopping.is_set():
                    timed_out = None if settled else f'{limit:g}'
                    break
                ready = [key.fd for key, _ in selector.select(min(left, 0.2))]
                if machine.screen in ready and not machine.drain_screen():
                    break
                if machine.serial not in ready:
                    continue
                data = os.read(machine.serial, 65536)
                if not data:
                    break
                output += data
                log.write(data)
                log.flush()
                if len(output) > 16 << 20:
                    timed_out = f'{limit:g}'
                    break
                # only whole lines count, so that a FAIL is complete
                if not settled and b'\n' in data and guest.verdict_given(lines()[:-1]):
                    settled = True
                    deadline = min(deadline, time.monotonic() + GRACE)
    finally:
        if process.poll() is None:
            if timed_out or settled or stopping.is_set():
                process.kill()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        machine.close()
    return lines(), timed_out, process.returncode


def test(guest, verbose):
    """Runs one guest; returns 'passed', 'failed' or 'skipped', and what to print."""
    if guest.config.get('skip'):
        return guest, 'skipped', f'  skipped {guest.name}: {guest.config["skip"]}'
    if stopping.is_set():
        return guest, 'failed', f'  FAILED {guest.name}: interrupted'
    started = time.monotonic()
    lines = []
    if guest.broken:
        why = guest.broken
    elif not guest.elf.is_file():
        why = f'{guest.elf.relative_to(ROOT)} was not built'
    else:
        lines, timed_out, status = boot(guest)
        why = guest.judge(lines, timed_out, status)
    seconds = time.monotonic() - started
    if why is None:
        guest.met, guest.measured = documented.met_in(lines), documented.measured_in(lines)
        return guest, 'passed', f'  ok {guest.name} {seconds:.1f} s' + ('\n' + '\n'.join(lines) if verbose else '')
    text = [f'  FAILED {guest.name}: {why}']
    text += [f'      | {line}' for line in [line for line in lines if line.strip()][-15:]]
    text.append(f'      to rerun: make test-{guest.suite()} GUEST={guest.name}    (log: {guest.log.relative_to(ROOT)})')
    if verbose and not guest.model:
        text.append(f'      QEMU: {shlex.join(guest.command())}')
    return guest, 'failed', '\n'.join(text)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--verbose', action='store_true')
    parser.add_argument('--conformance', action='store_true')
    parser.add_argument('--image', type=pathlib.Path, default=IMAGE)
    parser.add_argument('--bochs', metavar='MODEL')
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    Guest.image = options.image.resolve()
    Guest.model = options.bochs

    names = options.names or sorted(folder.name for folder in GUESTS.iterdir() if folder.is_dir() and folder.name != 'lib' and
                                    (list(folder.glob('*.cpp')) or list(folder.glob('*.S')) or (folder / 'expect').is_file()))  # built elsewhere
    if names and not Guest.image.is_file():
        print(f'guests: {options.image} is missing; `make hypervisor` builds build/paravane', file=sys.stderr)
        return 1
    if not names:
        print('guests: there are no test guests yet')
    BUILD.mkdir(parents=True, exist_ok=True)

    def stop(*_):
        stopping.set()
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)

    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    failures = []
    table = []
    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        guests = [guest for guest in map(Guest, names) if options.names or not (options.bochs and guest.needs_qemu())]
        if not options.names and not options.bochs:
            guests += [Guest(f'{guest.name}-stops') for guest in guests if guest.config.get('stops')]
        waiting = [pool.submit(test, guest, options.verbose) for guest in guests]
        for future in waiting:
            guest, outcome, text = future.result()
            counts[outcome] += 1
            table.append(f'  {dict(passed="holds", failed="BROKEN", skipped="skipped")[outcome]:<8}{guest.name:<28}{guest.promise()}')
            if outcome == 'failed':
                failures.append(f'{text.splitlines()[0].strip().removeprefix("FAILED ")} (make test-{guest.suite()} GUEST={guest.name})')
            print(text, flush=True)
    if not options.names and not options.bochs and not stopping.is_set():
        together = (('documented_errors', documented.shortcomings(*(set().union(*(guest.met for guest in guests if (guest.guest in documented.BY_CHANCE) == by_chance)) for by_chance in (False, True))),
                     'Each error that docs/abi has was met by a guest, but those that none can meet.'),
                    ('every_latency', documented.unmeasured(set().union(*(guest.measured for guest in guests))),
                     'The time that each call keeps interrupts off was measured.'))
        for name, wrong, promise in together:
            counts['failed' if wrong else 'passed'] += 1
            failures += [f'{name}: {len(wrong)} lines (tests/guests/documented.py)'] if wrong else []
            table.append(f'  {"BROKEN" if wrong else "holds":<8}{name:<28}{promise}')
            print('\n'.join([f'  FAILED {name}', *(f'      | {line}' for line in wrong)]) if wrong else f'  ok {name}', flush=True)
    if options.conformance:
        print('\n' + '\n'.join(table) + '\n')
    suite = 'bochs' if options.bochs else 'guests'
    print(f'{suite}: ' + ', '.join(f'{counts[key]} {key}' for key in counts))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f'{suite}.json').write_text(json.dumps({'suite': suite, **counts, 'failures': failures}) + '\n')
    if stopping.is_set():
        return 130
    return 1 if counts['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
