# SPDX-License-Identifier: MIT
"""Front ends that break the contract in every way: the back end ends their connection with one line, or refuses what they ask; dom0
and other domains do not notice, and nothing is left behind.  tests/linux-drivers has the front ends."""
import re

from block_tests import describe_tools, left_behind, machine_with
from lifecycle_tests import SLOW, start_linux
from machine import check, free_frames
from net_tests import READ_ONLY_ROOT, bridge
from smp_tests import in_domu

# What ends a connection whatever the device is: before it is there, and by the ring's indices.
OF_ALL = {'no-keys no-queues many-queues odd-pages many-pages few-refs no-refs refs-not-granted refs-nowhere port-0 port-of-others port-nowhere': 'ended',
          'overrun backwards changes-while-read': 'ended'}
OF_BLOCK = OF_ALL | {
    'operation reserved flags fua-of-read no-segments many-segments 65535-segments indirect-without many-indirect indirect-not-granted indirect-of-zeroes': 'ended',
    'beyond-page offset no-bytes odd-bytes odd-offset write-not-granted read-not-granted read-to-read-only flush-with-data flush-with-sectors discard-with-data': 'ended',
    'beyond-end far-beyond-end discard-of-all': 'answered -34',
    'nothing': 'answered 0'}
OF_NET = OF_ALL | {
    'no-bytes beyond-page 65535-bytes reserved reserved2 flags total-less total-more tiny not-granted many-pieces huge': 'ended',
    'buffer-not-granted buffer-read-only buffer-overrun': 'ended',
    'offload-flags offload-gso offload-kind offload-csum offload-gso-large': 'taken 1',
    'nothing': 'taken 1'}


def attack_all(machine, name, kind, number, attacks, meanwhile=''):
    """Each by a connection of its own, which dom0's driver, loaded anew, offers."""
    in_domu(machine, name, f'echo {kind}-{number} >/sys/bus/paravane/drivers/pvn-{kind}/unbind && modprobe hostile_{kind} && '
                           f'[ -e /sys/bus/paravane/drivers/pvn-hostile-{kind}/{kind}-{number} ]')
    for attack in (one for several in attacks for one in several.split()):
        outcome = next(outcome for several, outcome in attacks.items() if attack in several.split())
        in_domu(machine, name, f'printf %s {attack} >/sys/module/hostile_{kind}/parameters/attack')
        machine.must(f'modprobe -r pvn-{kind}-back && modprobe pvn-{kind}-back; {meanwhile or "true"}', SLOW)
        # The root of this domain is on a disk that came back with the driver.
        said = in_domu(machine, name, f'until dmesg | grep "hostile: {attack}: "; do usleep 20000; done', 60)
        check(f'hostile: {attack}: {outcome}' in said, f'{attack} of a {kind}: wanted {outcome}: {said[-300:]}')
    log = machine.must('dmesg')
    lines = log.count('it is not served any more')
    expected = sum(len(several.split()) for several, outcome in attacks.items() if outcome == 'ended')
    in_domu(machine, name, f'echo {kind}-{number} >/sys/bus/paravane/drivers/pvn-hostile-{kind}/unbind && rmmod hostile_{kind}')
    check(0 < lines <= expected, f'{lines} lines for {expected} connections that were ended')
    check(not re.search(r'WARNING|BUG|Oops', log), log)


def test_hostile_block(_):
    with machine_with('hostile_block') as machine:
        describe_tools(machine, 't.toml', disk=[{'target': '/dev/vda', 'read_only': True}, '/tmp/a.img'])
        machine.must('truncate -s 4M /tmp/a.img')
        for round in (1, 2):
            start_linux(machine, 't.toml')
            in_domu(machine, 't', 'mount -t tmpfs tmpfs /tmp')
            if round == 2:
                attack_all(machine, 't', 'block', 1, OF_BLOCK)
                # The device works again for whoever keeps the contract.
                machine.must('modprobe -r pvn-block-back && modprobe pvn-block-back', SLOW)
                in_domu(machine, 't', 'echo block-1 >/sys/bus/paravane/drivers/pvn-block/bind; until [ -b /dev/pvdb ]; do usleep 20000; done; dd if=/dev/urandom of=/dev/pvdb bs=1M count=4')
            machine.must('pvn destroy t; pvn debug audit', SLOW)
            if round == 1:
                before, nothing = free_frames(machine), left_behind(machine)
        check(free_frames(machine) == before and left_behind(machine) == nothing, f'{left_behind(machine)}, before {nothing}')


def test_hostile_net(_):
    with machine_with('hostile_net') as machine:
        bridge(machine)
        describe_tools(machine, 't.toml', disk=READ_ONLY_ROOT, vif=[{'bridge': 'br0'}])
        for round in (1, 2):
            start_linux(machine, 't.toml')
            in_domu(machine, 't', 'mount -t tmpfs tmpfs /tmp')
            if round == 2:
                # Something for the guest to receive, whenever it is there: a question to all, again and again.
                machine.must('(while :; do ping -c 1 -W 1 10.9.0.77; done) >/dev/null 2>&1 & echo $! >/tmp/asks')
                attack_all(machine, 't', 'net', 0, OF_NET, 'until ip link show vif2.0 2>/dev/null | grep -q "UP.*master br0"; do usleep 20000; done')
                machine.must('kill $(cat /tmp/asks)')
                machine.must('modprobe -r pvn-net-back && modprobe pvn-net-back', SLOW)
                in_domu(machine, 't', 'echo net-0 >/sys/bus/paravane/drivers/pvn-net/bind; until ip addr add 10.9.0.11/24 dev eth0 2>/dev/null; do usleep 20000; done; '
                                      'ip link set eth0 up; until ping -c 1 -W 1 10.9.0.1; do :; done')
            machine.must('pvn destroy t; pvn debug audit', SLOW)
            if round == 1:
                before, nothing = free_frames(machine), left_behind(machine)
        check(free_frames(machine) == before and left_behind(machine) == nothing, f'{left_behind(machine)}, before {nothing}')


TESTS = [test_hostile_block, test_hostile_net]
for test in TESTS:
    test.boots_itself = True
