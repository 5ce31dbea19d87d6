# SPDX-License-Identifier: MIT
"""A machine in QEMU with Paravane and Linux as dom0, driven through its serial port as a person would."""
import os
import pathlib
import re
import select
import shlex
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOGS = ROOT / 'build/system'
PROMPT = 'dom0 # '
# All processors of the machine are one thread of QEMU.  A test of such a machine has `in_turns`: others run beside it.
IN_TURNS = 'tcg,thread=single'
# PARAVANE_DEBUG=1: dom0 and what boots the tools' disk have the kernel that checks itself (debug_tests.py), several times slower.
DEBUG = bool(os.environ.get('PARAVANE_DEBUG'))
SLOWER = 6 if DEBUG else 1
# What these checks say, beside what any kernel says.
FOUND = r'possible (circular|recursive|irq lock)|inconsistent .* state|suspicious RCU usage|sleeping function called'


class Failure(Exception):
    pass


class Machine:
    """QEMU with Paravane; what its serial port says is in `text`."""

    def __init__(self, name, memory=1024, cmdline='console=hvc0', paravane='debug_exit', boot=None, cpu='max', devices=(), may_reboot=False,
                 prompt=PROMPT, initrd='build/initramfs.cpio.gz', smp=2, kernel='build/vmlinux', accel='tcg'):
        if DEBUG:
            initrd, kernel = (name if 'debug/' in name else name.replace('build/', 'build/debug/') for name in (initrd, kernel))
            memory, accel = 2 * memory, IN_TURNS
        self.text = ''
        self.seen = 0
        self.prompt = prompt
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = open(LOGS / f'{name}.log', 'w', buffering=1)
        command = ['qemu-system-x86_64', '-accel', accel, '-cpu', cpu, '-m', str(memory), '-smp', str(smp), '-display', 'none', '-serial', 'stdio',
                   '-device', 'isa-debug-exit,iobase=0xf4,iosize=4', *devices, *([] if may_reboot else ['-no-reboot'])]
        command += boot or ['-kernel', 'build/paravane', '-append', paravane, '-initrd', f'{kernel} {cmdline},{initrd}']
        self.log.write(shlex.join(command) + '\n')
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        try:
            if DEBUG and not failure and self.process.poll() is None:
                found = re.search(f'.*(WARNING|BUG:|Oops|{FOUND})', self.must('dmesg'))
                check(not found, f'dom0 found something: {found and found[0]}')
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()

    def expect(self, pattern, timeout=60):
        """Waits until `pattern` matches what came since the last match; returns the match."""
        timeout *= SLOWER
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.text[self.seen:])
            if match:
                self.seen += match.end()
                return match
            if re.search(r'\bpanic:', self.text):
                raise Failure('the hypervisor panicked')
            if not self.read(deadline, f'{pattern!r} within {timeout} s'):
                raise Failure(f'the machine ended while waiting for {pattern!r}:\n' + self.text[-1500:])

    def expect_end(self, timeout=60):
        """Waits until QEMU ends; returns its exit code."""
        deadline = time.monotonic() + timeout
        while self.read(deadline, f'end within {timeout} s'):
            pass
        return self.process.wait()

    def read(self, deadline, what):
        """Waits for more text.  False when QEMU has ended."""
        ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise Failure(f'no {what}; the last lines were:\n' + self.text[-1500:])
        piece = self.process.stdout.read(65536)
        if piece:
            decoded = piece.decode('utf-8', 'replace').replace('\r', '')
            self.text += decoded
            self.log.write(decoded)
        return piece != b''

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def boot(self):
        self.expect(r'Paravane: dom0 ready', 120)
        self.expect(re.escape(self.prompt))
        # From here on the console is the shell's: two processors write to it in turns, in the middle of lines too.
        self.send('dmesg -n 1\n')
        self.expect(re.escape(self.prompt))

    def run(self, command, timeout=60):
        """A command at dom0's shell: its output and exit code."""
        # The echo of the command line does not hold the mark: the shell puts it together.
        self.send(f'{command}; echo "exit"-code=$?\n')
        start = self.seen
        # A line of the hypervisor may come between the code and the end of its line.
        match = self.expect(r'\nexit-code=(\d+)(?=\n|\(pvn\))', timeout)
        output = self.text[start:self.seen - len(match.group(0))]
        self.expect(re.escape(self.prompt))
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
