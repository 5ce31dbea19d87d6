# SPDX-License-Identifier: MIT
"""Linux with its checks of itself on (guest-linux-patches/debug.config), as dom0 and as domU: it must find nothing.

The processors of this machine take turns: QEMU before 8.1 may go on executing code that was patched meanwhile if they are threads,
and this kernel patches code."""
from lifecycle_tests import describe, start_linux
from machine import Machine, check, free_frames
from smp_tests import LOAD, TROUBLE, begin, end, in_domu, online, run_load

import re

# What these checks say, beside what any kernel says.
FOUND = TROUBLE + r'|possible (circular|recursive|irq lock)|inconsistent .* state|suspicious RCU usage|sleeping function called|INFO: '


def content(log, who):
    check('RCU lockdep checking is enabled' in log, f'{who} does not check itself')
    check(not re.search(FOUND, log), f'{who} found something:\n{log}')


def test_debug_kernels(_):
    with Machine('debug_kernels', memory=1536, smp=4, paravane='debug_exit dom0_max_vcpus=2', kernel='build/debug/vmlinux',
                 initrd='build/debug/initramfs.cpio.gz', accel='tcg,thread=single') as machine:
        begin(machine, 2)
        run_load(machine)
        # Code is patched under all processors: a static key of the network's receive path.
        machine.must('for i in 0 1; do load $i & done; k=0; while [ $k -lt 10 ]; do echo 3 >/sys/class/net/lo/queues/rx-0/rps_cpus && '
                     'echo 0 >/sys/class/net/lo/queues/rx-0/rps_cpus || break; k=$((k + 1)); done; wait; [ $k = 10 ]', 300)
        machine.must('for round in 1 2; do echo 0 >/sys/devices/system/cpu/cpu1/online && echo 1 >/sys/devices/system/cpu/cpu1/online || break; done', 120)
        check(online(machine) == '0-1', 'processor 1 is not back')

        before = free_frames(machine)
        describe(machine, 'checked.toml', name='checked', memory='192M', vcpus=2, max_vcpus=4)
        start_linux(machine, 'checked.toml')
        in_domu(machine, 'checked', LOAD.replace('\n', '; '))
        in_domu(machine, 'checked', 'for i in 0 1 2 3; do load $i & done; wait')
        machine.must('pvn vcpu set checked 4')
        in_domu(machine, 'checked', 'until [ "$(cat /sys/devices/system/cpu/online)" = 0-3 ]; do usleep 10000; done; for i in 0 1 2 3; do load $i & done; wait')
        machine.must('pvn vcpu set checked 1')
        in_domu(machine, 'checked', 'until [ "$(cat /sys/devices/system/cpu/online)" = 0 ]; do usleep 10000; done')
        content(in_domu(machine, 'checked', 'dmesg'), 'the domU')
        content(machine.must('dmesg'), 'dom0')
        machine.must('pvn destroy checked')
        check(free_frames(machine) == before, 'memory was lost')
        end(machine)


test_debug_kernels.boots_itself = True

TESTS = [test_debug_kernels]
