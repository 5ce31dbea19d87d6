# SPDX-License-Identifier: MIT
"""stress-ng in dom0 and in two domUs at once: whatever it does to a kernel, the kernel has nothing to say and time goes on.

Every stressor of a class runs at the same time as all others of it, in each domain those of another class.  The suite gives each
class a few seconds; PARAVANE_STRESS=SECONDS gives it more: 240 is more than an hour in all.
"""
import os
import re

from lifecycle_tests import describe, start_linux
from machine import IN_TURNS, Failure, Machine, check, free_frames
from smp_tests import TROUBLE, but_killed, end, in_domu

SECONDS = int(os.environ.get('PARAVANE_STRESS', '5'))
CLASSES = ('cpu', 'vm', 'scheduler', 'interrupt', 'filesystem')
# Each stressor of the class once, of small size.  What stress-ng cannot do here it skips.
COMMAND = ('stress-ng --class {0} --all 1 --timeout {1} --oomable --no-rand-seed --vm-bytes 4M --mmap-bytes 4M --hdd-bytes 1M --fallocate-bytes 1M '
           '--loadavg-max 64 --temp-path /tmp --exclude {2}')
# Not here: what asks for more memory or files than a domain without a disk has, or changes the machine's clock; and procfs, which
# reads /proc/kmsg until the kernel has something to say.  The last four need what this kernel is configured without.
EXCLUDE = 'bigheap,brk,stack,malloc,resources,softlockup,clock,schedpolicy,oom-pipe,swap,watchdog,reboot,tmpfs,ramfs,shm,shm-sysv,procfs,fork,vfork,vforkmany,copy-file,file-ioctl,aiol,netlink-proc,netlink-task,physpage,vm-rw'
# What a stressor may fail of: EAGAIN, ENOMEM, EBUSY and ENOSPC, since all of them want what little a domain has at the same time ("could not
# create any pthreads" is EAGAIN for each of them: any other error has a line of its own, with its number); a process
# that had no processor for so long that it came to nothing; and the count of resched, whose processes add
# to it without a lock, some of them still after it was summed up.
NOT_OF_THE_KERNEL = r'errno=(11|12|16|28)\b|could not create any pthreads|vm-segv: no SIGSEGV signals detected|resched instance \d+ (corrupted|hash error in) bogo-ops counter|metrics-check:'


def command(kind):
    return COMMAND.format(kind, SECONDS, EXCLUDE)


# What each process that is left waits for, and what there is to wait for.
WHY = ('for p in /proc/[0-9]*/task/*; do echo $p $(cat $p/comm $p/wchan $p/syscall $p/stack 2>/dev/null); done | grep stress; '
       'df -h /tmp; free -m; cat /proc/interrupts; dmesg | tail -5')


def autopsy(machine):
    """Into the machine's log: why it did not come to its end."""
    machine.send('\x03')
    for look in (lambda: machine.run(WHY), *(lambda name=name: in_domu(machine, name, f'echo; {WHY}', 60) for name in ('two', 'four'))):
        try:
            look()
        except Failure:
            machine.send('\x03\x1d')  # of a console, or a program


def check_run(output, what):
    """That stress-ng came to its end, and that no stressor found anything else than it expects."""
    check('run completed in' in output, f'{what}:\n{output}')
    failures = [line for line in output.splitlines() if 'stress-ng: fail:' in line and not re.search(NOT_OF_THE_KERNEL, line)]
    check(not failures, f'{what}: {failures[:1]}\n{output}')


def rounds(machine):
    for round in range(len(CLASSES)):
        kinds = [CLASSES[(round + i) % len(CLASSES)] for i in range(3)]
        for domain, kind in zip(('two', 'four'), kinds[1:]):
            in_domu(machine, domain, f'({command(kind)}; echo "ended"-$?) >/tmp/result 2>&1 & true')
        # In the background, so that the shell can tell why it does not end.
        output, _ = machine.run(f'{command(kinds[0])} >/tmp/result 2>&1 & wait; cat /tmp/result', SECONDS * 10 + 240)
        check_run(output, f'{kinds[0]} in dom0')
        for domain, kind in zip(('two', 'four'), kinds[1:]):
            output = in_domu(machine, domain, 'wait; cat /tmp/result', SECONDS * 10 + 240)
            check_run(output, f'{kind} in {domain}')


def stress(name, smp, accel='tcg'):
    with Machine(name, smp=smp, accel=accel, memory=2048, initrd='build/stress/initramfs.cpio.gz', paravane='debug_exit dom0_mem=900M') as machine:
        machine.boot()
        before = free_frames(machine)
        for domain, vcpus in (('two', 2), ('four', 4)):
            describe(machine, f'{domain}.toml', name=domain, vcpus=vcpus, memory='400M', ramdisk='/boot/stress.cpio.gz')
            start_linux(machine, f'{domain}.toml')
            in_domu(machine, domain, 'dmesg -n 1')
        try:
            rounds(machine)
        except Failure:
            autopsy(machine)
            raise
        for domain in ('two', 'four'):
            log = but_killed(in_domu(machine, domain, 'dmesg'))  # below what the console showed before; `vm` wants more than there is
            check(not re.search(rf'^\[ *\d+\.\d+\] .*({TROUBLE})', log, re.M), f'{domain} is not content:\n{log}')
        end(machine)
        machine.must('pvn destroy two && pvn destroy four')
        check(free_frames(machine) == before, 'memory was lost')
        machine.must('pvn debug audit')


def test_stress_one_cpu(_):
    stress('stress_one_cpu', 1)  # which takes turns with nobody


def test_stress_two_cpus(_):
    stress('stress_two_cpus', 2)


def test_stress_four_cpus(_):
    stress('stress_four_cpus', 4)


def test_stress_eight_cpus(_):
    stress('stress_eight_cpus', 8)


def test_stress_two_cpus_in_turns(_):
    stress('stress_two_cpus_in_turns', 2, IN_TURNS)


def test_stress_four_cpus_in_turns(_):
    stress('stress_four_cpus_in_turns', 4, IN_TURNS)


def test_stress_eight_cpus_in_turns(_):
    stress('stress_eight_cpus_in_turns', 8, IN_TURNS)


IN_TURNS_TESTS = [test_stress_two_cpus_in_turns, test_stress_four_cpus_in_turns, test_stress_eight_cpus_in_turns]
TESTS = [test_stress_one_cpu, test_stress_two_cpus, test_stress_four_cpus, test_stress_eight_cpus, *IN_TURNS_TESTS]
for test in TESTS:
    test.boots_itself = True
for test in IN_TURNS_TESTS:
    test.in_turns = True
