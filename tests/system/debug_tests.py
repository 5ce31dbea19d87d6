# SPDX-License-Identifier: MIT
"""Linux with its checks of itself on (guest-linux-patches/debug.config), as dom0 and as domU: it must find nothing.

The processors of this machine take turns: QEMU before 8.1 may go on executing code that was patched meanwhile if they are threads,
and this kernel patches code."""
from block_tests import blank, in_background, machine_with
from lifecycle_tests import describe, start_linux
from machine import FOUND, IN_TURNS, Machine, check, free_frames
from net_tests import bridge, last_sum
from smp_tests import LOAD, TROUBLE, begin, end, in_domu, online, run_load

import re

# A module that reads what it has freed: that this is found shows that the same would be anywhere else.
BAD_ACCESS = 'modprobe bad_access; dmesg | grep -q "BUG: KASAN: slab-use-after-free in bad_access_init"'


def content(log, who, trouble=TROUBLE):
    for sign in ('RCU lockdep checking is enabled', 'KernelAddressSanitizer initialized'):
        check(sign in log, f'{who} does not check itself')
    check(not re.search(f'{trouble}|{FOUND}|INFO: ', log), f'{who} found something:\n{log}')


def test_debug_kernels(_):
    with Machine('debug_kernels', memory=1536, smp=4, paravane='debug_exit dom0_max_vcpus=2', kernel='build/debug/vmlinux',
                 initrd='build/debug/initramfs.cpio.gz', accel=IN_TURNS) as machine:
        begin(machine, 2)
        run_load(machine)
        # Code is patched under all processors: a static key of the network's receive path.
        machine.must('for i in 0 1; do load $i & done; k=0; while [ $k -lt 10 ]; do echo 3 >/sys/class/net/lo/queues/rx-0/rps_cpus && '
                     'echo 0 >/sys/class/net/lo/queues/rx-0/rps_cpus || break; k=$((k + 1)); done; wait; [ $k = 10 ]', 300)
        machine.must('for round in 1 2; do echo 0 >/sys/devices/system/cpu/cpu1/online && echo 1 >/sys/devices/system/cpu/cpu1/online || break; done', 120)
        check(online(machine) == '0-1', 'processor 1 is not back')

        before = free_frames(machine)
        describe(machine, 'checked.toml', name='checked', memory='256M', vcpus=2, max_vcpus=4)
        start_linux(machine, 'checked.toml')
        in_domu(machine, 'checked', LOAD.replace('\n', '; '))
        in_domu(machine, 'checked', 'for i in 0 1 2 3; do load $i & done; wait')
        machine.must('pvn vcpu set checked 4')
        in_domu(machine, 'checked', 'until [ "$(cat /sys/devices/system/cpu/online)" = 0-3 ]; do usleep 10000; done; for i in 0 1 2 3; do load $i & done; wait')
        machine.must('pvn vcpu set checked 1')
        in_domu(machine, 'checked', 'until [ "$(cat /sys/devices/system/cpu/online)" = 0 ]; do usleep 10000; done')
        content(in_domu(machine, 'checked', 'dmesg'), 'the domU')
        in_domu(machine, 'checked', BAD_ACCESS)
        content(machine.must('dmesg'), 'dom0')
        machine.must('pvn destroy checked')
        check(free_frames(machine) == before, 'memory was lost')
        end(machine)
        machine.must(BAD_ACCESS)


def test_debug_devices(_):
    """Disks and network cards, with front ends that are modules here, too: data flow while drivers of both sides come and go."""
    image = blank('debug_devices', 64 << 20)
    with machine_with('debug_devices', image, kernel='build/debug/vmlinux', initrd='build/debug/initramfs.cpio.gz', accel=IN_TURNS) as machine:
        bridge(machine)
        describe(machine, 'd.toml', name='d', memory='256M', vcpus=2, disk=[{'target': '/dev/vda', 'read_only': True}, '/dev/vdb'], vif=[{'bridge': 'br0'}])
        start_linux(machine, 'd.toml')
        in_domu(machine, 'd', 'mount /dev/pvda /mnt && mount -t devtmpfs dev /mnt/dev && mount -t tmpfs tmpfs /mnt/tmp && ip addr add 10.9.0.11/24 dev eth0 && ip link set eth0 up')
        made = in_domu(machine, 'd', 'dd if=/dev/urandom of=/tmp/data bs=100k count=100 2>/dev/null; sha256sum /tmp/data; httpd -h /tmp')
        in_background(machine, 'd', 'chroot /mnt fio --name=v --filename=/dev/pvdb --ioengine=libaio --iodepth=32 --direct=1 --rw=randrw --bsrange=4k-256k --size=40m '
                                    '--verify=crc32c --verify_fatal=1 && echo all verified')
        for _ in range(3):
            machine.must('rmmod pvn_block_back && modprobe pvn-block-back', 240)
            machine.must('until pvn block list | grep -q "pvdb.* connected"; do usleep 20000; done', 240)
            machine.must('rmmod pvn_net_back && modprobe pvn-net-back', 240)
            machine.must('until pvn network list | grep -q "d .* connected" && ip link show vif1.0 2>/dev/null | grep -q "UP.*master br0"; do usleep 20000; done', 240)
        got = machine.must('wget -q -O - http://10.9.0.11/data | sha256sum', 240)
        check(last_sum(got) == last_sum(made), 'a download has changed')
        machine.must('truncate -s 4M /tmp/c.img; pvn block attach d /tmp/c.img && pvn block detach d pvdc && pvn network attach d && pvn network detach d 1', 240)
        check('all verified' in in_domu(machine, 'd', 'wait; tail -n 1 /tmp/background'), 'fio found an error')
        in_domu(machine, 'd', 'umount /mnt/dev /mnt/tmp /mnt; for i in 1 2 3; do modprobe -r pvn-block && modprobe pvn-block && modprobe -r pvn-net && modprobe pvn-net || exit; done; '
                              'until [ -b /dev/pvda ]; do usleep 10000; done; mount /dev/pvda /mnt && until ip addr add 10.9.0.11/24 dev eth0; do usleep 10000; done 2>/dev/null; '
                              'ip link set eth0 up; ping -c 2 10.9.0.1')
        content(in_domu(machine, 'd', 'dmesg'), 'the domU')
        machine.must('pvn destroy d && modprobe -r pvn-block-back && modprobe -r pvn-net-back; pvn debug audit', 240)
        content(machine.must('dmesg'), 'dom0')


# What Linux says of an allocation that fails has a call trace, too.
TROUBLE_WITHOUT_MEMORY = TROUBLE.replace('Call Trace|', '')


def but_proc(log):
    """Without what Linux itself says when it removes an interrupt's file in /proc that could not be made."""
    return re.sub(r"\n[^\n]*\[ cut here \][^\n]*\n[^\n]* name '[^\n]*\n[^\n]*WARNING[^\n]* at remove_proc_entry\+[\s\S]*?\[ end trace", '', log)


def test_debug_no_memory(_):
    """Each side of a disk and of a card connects all the same when an allocation fails on the way: one of a dozen for each, further on each time."""
    with machine_with('debug_no_memory', kernel='build/debug/vmlinux', initrd='build/debug/initramfs.cpio.gz', accel=IN_TURNS) as machine:
        bridge(machine)
        machine.must('truncate -s 4M /tmp/a.img /tmp/b.img')
        describe(machine, 'd.toml', name='d', memory='256M', vcpus=2, disk=['/tmp/a.img'], vif=[{'bridge': 'br0'}])
        start_linux(machine, 'd.toml')
        for what, step in ('failslab', 64), ('fail_page_alloc', 1):
            for device, driver in ('block-back-1-0', 'pvn-block-back'), ('net-back-1-0', 'pvn-net-back'), ('block-0', 'pvn-block'), ('net-0', 'pvn-net'):
                sweep = f'without_memory {device} {driver} {what} {step}'
                said = machine.must(sweep, 300) if 'back' in driver else in_domu(machine, 'd', sweep, 300)
                check(int(re.search(rf'{driver} {what} failed (\d+) times', said)[1]) > 0, f'nothing failed: {said}')
        # The bus in dom0, when it finds a back end.
        machine.must('pvn block attach d /tmp/b.img')
        sweep = 'without_memory block-back-1-1 bus failslab 64 "pvn block detach d pvdb" "pvn block attach d /tmp/b.img"'
        check(int(re.search(r'bus failslab failed (\d+) times', machine.must(sweep, 300))[1]) > 0, 'nothing of the bus failed')
        content(but_proc(in_domu(machine, 'd', 'dmesg')), 'the domU', TROUBLE_WITHOUT_MEMORY)
        machine.must('pvn destroy d && modprobe -r pvn-block-back && modprobe -r pvn-net-back; pvn debug audit', 240)
        content(but_proc(machine.must('dmesg')), 'dom0', TROUBLE_WITHOUT_MEMORY)


TESTS = [test_debug_kernels, test_debug_devices, test_debug_no_memory]
for test in TESTS:
    test.boots_itself = True
    test.in_turns = True
