#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boots Linux as dom0 under Paravane and drives it through its console, as a person would.

usage: run.py [TEST ...]        all tests, or the named ones; the log of each machine is build/system/NAME.log
"""
import json
import os
import pathlib
import re
import select
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOGS = ROOT / 'build/system'
PROMPT = 'dom0 # '


class Failure(Exception):
    pass


class Machine:
    """QEMU with Paravane; what its serial port says is in `text`."""

    def __init__(self, name, memory=1024, cmdline='console=hvc0', paravane='debug_exit', boot=None):
        self.text = ''
        self.seen = 0
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = open(LOGS / f'{name}.log', 'w', buffering=1)
        command = ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', str(memory), '-display', 'none', '-serial', 'stdio', '-no-reboot',
                   '-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
        command += boot or ['-kernel', 'build/paravane', '-append', paravane, '-initrd', f'build/vmlinux {cmdline},build/initramfs.cpio.gz']
        self.log.write(shlex.join(command) + '\n')
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def expect(self, pattern, timeout=60):
        """Waits until `pattern` matches what came since the last match; returns the match."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.text[self.seen:])
            if match:
                self.seen += match.end()
                return match
            if re.search(r'\bpanic:', self.text):
                raise Failure('the hypervisor panicked')
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure(f'no {pattern!r} within {timeout} s; the last lines were:\n' + self.text[-1500:])
            ready, _, _ = select.select([self.process.stdout], [], [], left)
            if ready:
                piece = self.process.stdout.read(65536)
                if piece == b'':
                    raise Failure(f'the machine ended while waiting for {pattern!r}:\n' + self.text[-1500:])
                if piece:
                    decoded = piece.decode('utf-8', 'replace').replace('\r', '')
                    self.text += decoded
                    self.log.write(decoded)

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def boot(self):
        self.expect(r'Paravane: dom0 ready', 120)
        self.expect(re.escape(PROMPT))

    def run(self, command, timeout=60):
        """A command at dom0's shell: its output and exit code."""
        # The echo of the command line does not hold the mark: the shell puts it together.
        self.send(f'{command}; echo "exit"-code=$?\n')
        start = self.seen
        match = self.expect(r'\nexit-code=(\d+)\n', timeout)
        output = self.text[start:self.seen - len(match.group(0))]
        self.expect(re.escape(PROMPT))
        return output, int(match.group(1))

    def must(self, command, timeout=60):
        output, code = self.run(command, timeout)
        if code != 0:
            raise Failure(f'`{command}` ended with {code}:\n{output}')
        return output


def check(condition, what):
    if not condition:
        raise Failure(what)


def free_frames(machine):
    return int(re.search(r'\((\d+) frames\)', machine.must('pvn info')).group(1))


def test_dom0_boots(machine):
    check('Paravane' in machine.must('dmesg | grep -i "paravirtualized kernel"'), 'the kernel does not know that it runs on Paravane')
    check(not re.search(r'WARNING:|BUG:|Oops', machine.text), 'the kernel warned while it booted')
    listing = machine.must('pvn list')
    check(re.search(r'^dom0 +0 .* running$', listing, re.M), listing)


def test_create_console_destroy(machine):
    before = free_frames(machine)
    machine.must('pvn create hello.toml', 60)
    listing = machine.must('pvn list')
    check(re.search(r'^hello +\d+ +128 MiB', listing, re.M), listing)
    described = json.loads(machine.must('pvn list --json').split('\n', 1)[1])
    check([d['name'] for d in described] == ['dom0', 'hello'], str(described))
    machine.send('pvn console hello\n')
    machine.expect(r'Paravane: domU ready', 60)
    machine.expect(r'domU # ')
    machine.send('echo "marco"-$((40 + 2)) on $(cat /sys/class/tty/console/active)\n')
    machine.expect(r'\nmarco-42 on hvc0\n')
    machine.send('\x1d')
    machine.expect(re.escape(PROMPT))
    machine.must('pvn debug audit')
    machine.must('pvn pause hello')
    check('paused' in machine.must('pvn info hello'), 'a paused domain does not show as paused')
    machine.must('pvn unpause hello')
    machine.must('pvn destroy hello')
    check('hello' not in machine.must('pvn list').split('\n', 1)[1], 'a destroyed domain is still listed')
    check(free_frames(machine) == before, 'destroying a domain did not give every frame back')
    machine.must('pvn debug audit')


def test_repeated(machine):
    before = free_frames(machine)
    machine.must('n=0; while [ $n -lt 10 ]; do pvn create hello.toml && pvn destroy hello || break; n=$((n + 1)); done; [ $n = 10 ]', 180)
    check(free_frames(machine) == before, 'creating and destroying domains lost frames')
    machine.must('pvn debug audit')


def test_bad_input(machine):
    before = free_frames(machine)
    cases = [
        ('kernel = "/boot/nothing"', r'pvn: cannot read /boot/nothing: No such file'),
        ('kernel = "/bin/busybox"', r'pvn: /bin/busybox: .*'),
        ('kernel = "/root/bad.toml"', r'pvn: /root/bad.toml: not an ELF file'),
        ('kernel = "/root/short"', r'pvn: /root/short: truncated'),
        ('kernel = "/boot/vmlinux"\nmemroy = "3M"', r'pvn: .*bad.toml:3: unknown key `memroy`'),
    ]
    machine.must('head -c 100000 /boot/vmlinux >/root/short')
    for text, expected in cases:
        lines = 'name = "bad"\n' + text + ('' if 'memroy' in text else '\nmemory = "64M"')
        machine.must('printf %s ' + shlex.quote(lines.replace('\n', '\\n')) + ' | xargs -0 printf >/root/bad.toml')
        output, code = machine.run('pvn create /root/bad.toml')
        check(code != 0 and re.search(expected, output), f'{text}: exit code {code}: {output}')
    machine.must('sed s/128M/8M/ hello.toml >/root/bad.toml')
    output, code = machine.run('pvn create /root/bad.toml')
    check(code != 0 and 'too little memory' in output, output)
    machine.must('sed s/128M/64G/ hello.toml >/root/bad.toml')
    output, code = machine.run('pvn create /root/bad.toml')
    check(code != 0 and 'pvn: cannot' in output, output)
    machine.must('pvn create hello.toml')
    output, code = machine.run('pvn create hello.toml')
    check(code != 0 and 'the name hello is taken' in output, output)
    machine.must('pvn destroy hello')
    output, code = machine.run('pvn destroy hello')
    check(code != 0 and 'there is no domain hello' in output, output)
    check(free_frames(machine) == before, 'a failed create lost frames')
    machine.must('pvn debug audit')


def test_grub_iso(_):
    """GRUB boots the hypervisor by multiboot2, from an ISO with a test guest."""
    with Machine('grub', memory=256, boot=['-cdrom', 'build/paravane.iso']) as machine:
        machine.expect(r'PASS: start', 60)


test_grub_iso.boots_itself = True

TESTS = [test_grub_iso, test_dom0_boots, test_create_console_destroy, test_repeated, test_bad_input]


def main():
    wanted = sys.argv[1:]
    tests = [test for test in TESTS if not wanted or test.__name__.removeprefix('test_') in wanted]
    passed, failures = 0, []
    for test in tests:
        name = test.__name__.removeprefix('test_')
        started = time.monotonic()
        try:
            if getattr(test, 'boots_itself', False):
                test(None)
            else:
                with Machine(name) as machine:
                    machine.boot()
                    test(machine)
        except Failure as failure:
            failures.append(f'{name}: {str(failure).splitlines()[0]} (tests/system/run.py {name})')
            print(f'  FAILED {name}: {failure}', flush=True)
        else:
            passed += 1
            print(f'  ok {name} {time.monotonic() - started:.1f} s', flush=True)
    results = ROOT / 'build/results'
    results.mkdir(parents=True, exist_ok=True)
    (results / 'system.json').write_text(json.dumps({'suite': 'system', 'passed': passed, 'failed': len(failures), 'skipped': 0, 'failures': failures}))
    print(f'system: {passed} passed, {len(failures)} failed, 0 skipped')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
