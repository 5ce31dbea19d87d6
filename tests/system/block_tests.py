# SPDX-License-Identifier: MIT
"""Disks of domUs: what is written is read again, on both sides; disks that come and go, back ends that are replaced, domains that are
destroyed, all while data flow; and what is refused."""
import contextlib
import hashlib
import json
import os
import re
import subprocess

from lifecycle_tests import SLOW, describe, detach, domains, parsed, refused, start_linux
from machine import DEBUG, LOGS, Machine, check, free_frames
from smp_tests import in_domu

MIB = 1 << 20


@contextlib.contextmanager
def machine_with(name, *disks, **more):
    """A dom0 with raw disks at /dev/vda and so on; the first is the root of a domU with tools."""
    devices = ['-drive', 'file=build/tools.img,format=raw,if=virtio,snapshot=on']
    for disk in disks:
        devices += ['-drive', f'file={disk},format=raw,if=virtio,cache=writethrough']
    with Machine(name, devices=devices, paravane=f'debug_exit dom0_mem={1200 if DEBUG else 600}M', **more) as machine:
        machine.boot()
        yield machine


def describe_tools(machine, file='t.toml', **keys):
    values = {'name': 't', 'ramdisk': None, 'cmdline': 'console=hvc0 root=/dev/pvda ro init=/init', 'memory': '256M', 'vcpus': 2, 'disk': ['/dev/vda']}
    if DEBUG:  # its front ends are modules, as a distribution's
        values |= {'ramdisk': '/boot/hello.cpio.gz', 'memory': '384M'}
    describe(machine, file, **(values | keys))


def file_system(name, files, size='128M'):
    """An image with an ext4 file system that holds `files`: {name: content}."""
    image, folder = LOGS / f'{name}.img', LOGS / f'{name}.files'
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    image.unlink(missing_ok=True)
    subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-d', folder, image, size], check=True, env=os.environ | {'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'},
                   stdout=subprocess.DEVNULL)
    return image


def check_file_system(image):
    """What a domU would do at its next start: replay the journal, then look at everything."""
    tool = {'env': os.environ | {'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'}, 'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}
    subprocess.run(['e2fsck', '-fy', '-E', 'journal_only', image], **tool)
    found = subprocess.run(['e2fsck', '-fn', image], **tool)
    check(found.returncode == 0, f'{image}: {found.stdout}')


def blank(name, size):
    image = LOGS / f'{name}.img'
    image.unlink(missing_ok=True)
    with open(image, 'wb') as file:
        file.truncate(size)
    return image


def disks(machine):
    return {(d['domain'], d['name']): d for d in parsed(machine.must('pvn block list --json'))}


def hypercalls_of(domain, machine):
    return sum(vcpu['hypercalls'] for vcpu in parsed(machine.must('pvn vcpu list --json')) if vcpu['domain'] == domain)


def in_background(machine, name, command):
    """At the shell of a domU; in_domu(..., 'wait') waits for it."""
    machine.send(f'pvn console {name}\n')
    machine.expect('domU # ', SLOW)
    machine.send(f'({command}) >/tmp/background 2>&1 &\n')
    machine.expect('domU # ', SLOW)
    detach(machine)


def left_behind(machine):
    """Of devices: loop devices, what the bus knows, event ports, places in the store."""
    places = [line for line in machine.must('pvn store ls -r').split('\n')[1:] if not re.match(r' *(local|domain|0)\s*$', line)]
    ports = machine.must('grep -cE "pvn-(block|net)" /proc/interrupts; true').split('\n')[-1]
    return [line for line in machine.must('losetup -a').split('\n')[1:] if line], machine.must('ls /sys/bus/paravane/devices').split('\n')[1:], ports, places


def warm_up(machine):
    """The first mapping of another domain's pages takes memory that dom0 keeps."""
    describe_tools(machine)
    start_linux(machine, 't.toml')
    machine.must('pvn destroy t')


def test_disk_contents(_):
    """Files go in and out with the same sums, through caches and past them; sizes, sectors, read-only, list, attach, detach, resize."""
    files = {f'file{i}': os.urandom(i * 700_001) for i in range(1, 8)}
    image = file_system('contents', files)
    with machine_with('disk_contents', image) as machine:
        warm_up(machine)
        before, nothing = free_frames(machine), left_behind(machine)
        machine.must('truncate -s 8M /tmp/a.img')
        describe_tools(machine, disk=['/dev/vda', '/dev/vdb', {'target': '/tmp/a.img', 'sector_size': 4096}])
        start_linux(machine, 't.toml')
        found = disks(machine)
        check([d['name'] for d in found.values()] == ['pvda', 'pvdb', 'pvdc'] and all(d['front_state'] == 'connected' for d in found.values()), found)
        sums = in_domu(machine, 't', 'mount -t tmpfs tmpfs /tmp; mount /dev/pvdb /mnt && cd /mnt && sha256sum file*')
        for name, content in files.items():
            check(re.search(f'{hashlib.sha256(content).hexdigest()}  {name}', sums), f'{name} has changed on its way in')
        sums = in_domu(machine, 't', 'dd if=/dev/urandom of=/mnt/new bs=64k count=200 2>/dev/null; sync; sha256sum /mnt/new; cd /; umount /mnt && '
                                     'dd if=/dev/urandom of=/dev/pvdc bs=1M count=8 2>/dev/null && sync && sha256sum /dev/pvdc')
        new, raw = re.findall(r'^([0-9a-f]{64})  ', sums, re.M)[-2:]  # a console first repeats what it showed
        check(raw in machine.must('sha256sum /tmp/a.img'), 'a raw image has changed on its way out')
        sizes = in_domu(machine, 't', 'cat /sys/block/pvdc/queue/logical_block_size /sys/block/pvdb/queue/logical_block_size /sys/block/pvdc/size')
        check(re.search(r'^4096\n512\n16384$', sizes, re.M), sizes)
        # What a CPU asks is answered to it.
        for cpu in 0, 1:
            count = "awk '/pvn-block/ { a += $2; b += $3 } END { print \"at\", a, b }' /proc/interrupts"
            said = in_domu(machine, 't', f'{count}; taskset -c {cpu} dd if=/dev/pvdb of=/dev/null bs=4k count=64 iflag=direct; {count}')
            start, end = ([int(n) for n in pair] for pair in re.findall(r'^at (\d+) (\d+)$', said, re.M)[-2:])
            check(end[cpu] - start[cpu] >= 60 and end[1 - cpu] - start[1 - cpu] < 20, f'64 reads of CPU {cpu}: interrupts {start}, then {end}')
        # What is asked at once is done at once: dom0 makes 0.4 hypercalls for each request, 1 with a kernel so slow that few are there together, and 4 for one alone.
        start = hypercalls_of(0, machine)
        in_domu(machine, 't', 'fio --name=r --filename=/dev/pvdb --ioengine=libaio --iodepth=32 --direct=1 --rw=randread --bs=4k --io_size=80m >/dev/null')
        made = hypercalls_of(0, machine) - start
        check(made < (2 if DEBUG else 1) * 20480, f'{made} hypercalls of dom0 for 20480 reads')
        # Who reads and waits makes one hypercall: it tells dom0 and waits.
        domain = parsed(machine.must('pvn list --json'))[-1]['id']
        start, of_dom0 = hypercalls_of(domain, machine), hypercalls_of(0, machine)
        in_domu(machine, 't', 'taskset -c 0 dd if=/dev/pvdb of=/dev/null bs=4k count=4000 iflag=direct')
        made, of_dom0 = hypercalls_of(domain, machine) - start, hypercalls_of(0, machine) - of_dom0
        check(made < (3 if DEBUG else 1.7) * 4000, f'{made} hypercalls for 4000 reads')
        # Dom0 makes two: it waits for the disk, and with the next request's wait it copies and answers.
        check(of_dom0 < (5 if DEBUG else 3) * 4000, f'{of_dom0} hypercalls of dom0 for 4000 reads')

        # What there is not, what is in use, what cannot be written to.
        refused(machine, 'pvn block attach t /tmp/none', 'cannot use /tmp/none as a disk: No such file')
        refused(machine, 'pvn block attach t /tmp', 'neither a file nor a block device')
        refused(machine, 'pvn block attach t /tmp/a.img', '/tmp/a.img is in use: it is pvdc of domain')
        refused(machine, 'pvn block attach -r t /dev/vdb', 'in use')
        refused(machine, 'pvn block detach t pvdz', 'there is no pvdz')
        machine.must('truncate -s 100 /tmp/odd.img; : >/tmp/empty.img')
        refused(machine, 'pvn block attach t /tmp/odd.img', 'no multiple')
        refused(machine, 'pvn block attach t /tmp/empty.img', 'no multiple')
        refused(machine, 'pvn block detach t pvda', 'in use.*--force')
        machine.must('truncate -s 3M /tmp/b.img && [ "$(pvn block attach --read-only t /tmp/b.img)" = pvdd ]', SLOW)
        check('1' in in_domu(machine, 't', 'cat /sys/block/pvdd/ro; ! dd if=/dev/zero of=/dev/pvdd count=1 2>/dev/null'), 'read-only')
        # Two who only read can share.
        describe(machine, 'u.toml', name='u', disk=[{'target': '/tmp/b.img', 'read_only': True}])
        start_linux(machine, 'u.toml')
        check(disks(machine)['u', 'pvda']['read_only'], 'shared')
        machine.must('pvn destroy u')
        machine.must('pvn block detach t pvdd && ! pvn block list t | grep -q pvdd')
        # A larger image.
        machine.must('truncate -s 16M /tmp/a.img && pvn block resize t pvdc')
        check('32768' in in_domu(machine, 't', 'until [ $(cat /sys/block/pvdc/size) = 32768 ]; do usleep 10000; done; cat /sys/block/pvdc/size'), 'resized')
        # A disk that somebody uses goes only by force; then whoever uses it has errors, and nobody else.
        in_domu(machine, 't', 'mount /dev/pvdb /mnt; sha256sum /mnt/new')
        refused(machine, 'pvn block detach t pvdb', 'pvdb is in use.*--force')
        machine.must('pvn block detach --force t pvdb', SLOW)
        in_domu(machine, 't', '! dd if=/dev/pvdb of=/dev/null count=1 2>/dev/null; umount -l /mnt; cat /proc/partitions')
        machine.must('[ "$(pvn block attach t /dev/vdb)" = pvdb ]', SLOW)
        check(new in in_domu(machine, 't', 'mount /dev/pvdb /mnt && sha256sum /mnt/new; umount /mnt'), 'what was written is not there')
        machine.must('pvn destroy t; pvn debug audit')
        check(left_behind(machine) == nothing, f'{left_behind(machine)}, before {nothing}')
        check(free_frames(machine) == before, 'memory was lost')
    check_file_system(image)


def test_disk_qcow2(_):
    """An image that qemu-nbd reads: what is written is there the next time; the image is whole; nothing is left connected."""
    with machine_with('disk_qcow2') as machine:
        # qemu's programs, out of the tools' disk.
        machine.must('mkdir -p /var/lock; mount -o ro /dev/vda /mnt; for p in qemu-img qemu-nbd; do echo "#!/bin/sh" >/usr/bin/$p; echo "exec /mnt/lib64/ld-linux-x86-64.so.2 '
                     '--library-path /mnt/lib/x86_64-linux-gnu:/mnt/usr/lib/x86_64-linux-gnu:/mnt/usr/lib/x86_64-linux-gnu/ceph /mnt/usr/bin/$p \\"\\$@\\"" >>/usr/bin/$p; chmod +x /usr/bin/$p; done')
        machine.must('qemu-img create -f qcow2 /tmp/q.img 16M', SLOW)
        describe_tools(machine, disk=[{'target': '/dev/vda', 'read_only': True}, {'target': '/tmp/q.img', 'format': 'qcow2'}])
        start_linux(machine, 't.toml')
        written = in_domu(machine, 't', 'dd if=/dev/urandom of=/dev/pvdb bs=1M count=16 2>/dev/null; sync; sha256sum /dev/pvdb')
        machine.must('truncate -s 1M /tmp/raw.img')
        refused(machine, 'pvn block attach --format qcow2 t /tmp/raw.img', 'cannot use /tmp/raw.img as a disk: .*qcow2')
        refused(machine, 'pvn block attach --format qcow2 t /tmp/q.img', 'in use')
        refused(machine, 'pvn block resize t pvdb', 'only raw')
        # A pvn that is killed before and after qemu-nbd says that it serves: the next one ends that, and leaves alone what is a domain's.
        machine.must('cp /tmp/q.img /tmp/r.img; mv /usr/bin/qemu-nbd /usr/bin/nbd')
        for killing in ('kill -9 \\$PPID; exec nbd \\"\\$@\\"', 'nbd \\"\\$@\\" && kill -9 \\$PPID'):
            machine.must(f'echo "#!/bin/sh" >/usr/bin/qemu-nbd; echo "{killing}" >>/usr/bin/qemu-nbd; chmod +x /usr/bin/qemu-nbd')
            _, code = machine.run('pvn block attach --format qcow2 t /tmp/r.img', SLOW)
            check(code == 137, f'pvn was not killed: {code}')
            machine.must('cp /usr/bin/nbd /usr/bin/qemu-nbd')
            check(re.search('^pvn: ended /dev/nbd1, which an interrupted pvn had left', machine.must('pvn list', SLOW), re.M), 'pvn says nothing of what it ends')
            machine.must('ls /sys/block/nbd*/pid | grep -x /sys/block/nbd0/pid; ! ls /run/pvn/*.connecting')
        machine.must('pvn destroy t && qemu-img check /tmp/q.img && ! ls /sys/block/nbd*/pid', SLOW)
        start_linux(machine, 't.toml')
        read = in_domu(machine, 't', 'sha256sum /dev/pvdb')
        check(re.findall(r'^([0-9a-f]{64})  ', read, re.M)[-1] == re.findall(r'^([0-9a-f]{64})  ', written, re.M)[-1], 'what was written is not there')
        machine.must('pvn destroy t && ! ls /sys/block/nbd*/pid; pvn debug audit', SLOW)


def test_disk_back_end_replaced(_):
    """fio writes and verifies with 32 requests at once while dom0's driver is replaced twenty times, and disks come and go fifty times."""
    image = blank('replaced', 64 * MIB)
    with machine_with('disk_back_end_replaced', image) as machine:
        warm_up(machine)
        before, nothing = free_frames(machine), left_behind(machine)
        describe_tools(machine, disk=['/dev/vda', '/dev/vdb'])
        start_linux(machine, 't.toml')
        in_domu(machine, 't', 'mount -t tmpfs tmpfs /tmp')
        fio = 'fio --name=v --filename=/dev/pvdb --ioengine=libaio --iodepth=32 --direct=1 --rw=randrw --bsrange=4k-512k --size=60m --verify=crc32c --verify_fatal=1'
        in_background(machine, 't', f'until [ -e /tmp/stop ]; do {fio} || exit; done; echo all verified')
        # One that offers less than the disk has is waited past.
        machine.must('rmmod pvn_block_back && modprobe pvn-block-back max_queues=1', SLOW)
        machine.must('until pvn block list | grep "pvdb.*cannot make its rings"; do usleep 20000; done', SLOW)
        for _ in range(20):
            machine.must('rmmod pvn_block_back && modprobe pvn-block-back', SLOW)
            machine.must('until pvn block list | grep -q "pvdb.* connected"; do usleep 20000; done', SLOW)
        machine.must('truncate -s 4M /tmp/c.img; pvn block attach t /tmp/c.img && pvn block detach t pvdc', SLOW)
        def ports():
            count = 'grep -c "pvn-block" /proc/interrupts'
            return [re.findall(r'^(\d+)$', said, re.M)[-1] for said in (in_domu(machine, 't', count), machine.must(count))]

        before_cycles = ports()
        for _ in range(50):
            machine.must('pvn block attach t /tmp/c.img && pvn block detach t pvdc', SLOW)
        check(ports() == before_cycles, f'event ports: {ports()}, before {before_cycles}')
        output = in_domu(machine, 't', ': >/tmp/stop; wait; tail -n 1 /tmp/background; dmesg | grep -ci "i/o error"; true')
        check(re.search(r'^all verified\n0$', output, re.M), output)
        machine.must('pvn destroy t; pvn debug audit')
        check(left_behind(machine) == nothing, f'{left_behind(machine)}, before {nothing}')
        check(free_frames(machine) == before, 'memory was lost')


def test_disk_destroyed(_):
    """A domain is destroyed while it writes: after its journal was replayed, the file system is whole."""
    image = file_system('destroyed', {'file': os.urandom(MIB)})
    with machine_with('disk_destroyed', image) as machine:
        describe_tools(machine, disk=['/dev/vda', '/dev/vdb'])
        for round in range(3):
            start_linux(machine, 't.toml')
            in_domu(machine, 't', 'mount -t tmpfs tmpfs /tmp; mount /dev/pvdb /mnt')
            in_background(machine, 't', 'while :; do for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/mnt/f$i bs=100k count=$i; mv /mnt/f$i /mnt/g$i; sync; done; done')
            in_domu(machine, 't', 'until [ -e /mnt/g8 ]; do usleep 10000; done')
            machine.must('pvn destroy t; pvn debug audit', SLOW)
        machine.must('sync')
    check_file_system(image)


TESTS = [test_disk_contents, test_disk_qcow2, test_disk_back_end_replaced, test_disk_destroyed]
for test in TESTS:
    test.boots_itself = True
