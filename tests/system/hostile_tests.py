# SPDX-License-Identifier: MIT
"""Front ends and back ends that break the contract in every way: the other side ends the connection with one line, or refuses what is
asked; nobody else notices, and nothing is left behind.  tests/linux-drivers has both."""
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
    'short-first': 'taken 6',
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


def lives_of_a_guest(machine, attack, **devices):
    """A guest that is left alone, then one that attacks or is attacked: nothing is left of either."""
    describe_tools(machine, 't.toml', **devices)
    for attacked in (False, True):
        start_linux(machine, 't.toml')
        in_domu(machine, 't', 'mount -t tmpfs tmpfs /tmp')
        if attacked:
            attack()
        machine.must('pvn destroy t; pvn debug audit', SLOW)
        if not attacked:
            before, nothing = free_frames(machine), left_behind(machine)
    check(free_frames(machine) == before and left_behind(machine) == nothing, f'{left_behind(machine)}, before {nothing}')


# The device works again for whoever keeps the contract.
DISK_WORKS = 'until dd if=/dev/pvdb of=/dev/null count=1 2>/dev/null; do usleep 20000; done; dd if=/dev/urandom of=/dev/pvdb bs=1M count=4'
CARD_WORKS = 'until ip addr add 10.9.0.11/24 dev eth0 2>/dev/null; do usleep 20000; done; ip link set eth0 up; until ping -c 1 -W 1 10.9.0.1; do :; done'
DISKS = [{'target': '/dev/vda', 'read_only': True}, '/tmp/a.img']


def test_hostile_block(_):
    with machine_with('hostile_block') as machine:
        machine.must('truncate -s 4M /tmp/a.img')

        def attack():
            attack_all(machine, 't', 'block', 1, OF_BLOCK)
            machine.must('modprobe -r pvn-block-back && modprobe pvn-block-back', SLOW)
            in_domu(machine, 't', f'echo block-1 >/sys/bus/paravane/drivers/pvn-block/bind; {DISK_WORKS}')
        lives_of_a_guest(machine, attack, disk=DISKS)


def test_hostile_net(_):
    with machine_with('hostile_net') as machine:
        bridge(machine)

        def attack():
            # Something for the guest to receive, whenever it is there: a question to all, again and again.
            machine.must('(while :; do ping -c 1 -W 1 10.9.0.77; done) >/dev/null 2>&1 & echo $! >/tmp/asks')
            attack_all(machine, 't', 'net', 0, OF_NET, 'until ip link show vif2.0 2>/dev/null | grep -q "UP.*master br0"; do usleep 20000; done')
            machine.must('kill $(cat /tmp/asks)')
            machine.must('modprobe -r pvn-net-back && modprobe pvn-net-back', SLOW)
            in_domu(machine, 't', f'echo net-0 >/sys/bus/paravane/drivers/pvn-net/bind; {CARD_WORKS}')
        lives_of_a_guest(machine, attack, disk=READ_ONLY_ROOT, vif=[{'bridge': 'br0'}])


# Of back ends, in the same way.  "answers", "sends": the front end finds nothing wrong, or nothing that matters.
BACKS_OF_BLOCK = {
    'sector-size-3 sector-size-large sectors-odd sectors-many sectors-none closing-at-once closed-when-ready': 'ended',
    'not-asked not-in-flight far-id twice more overrun backwards changes-while-read': 'ended',
    'no-such-state': 'back to new',
    'sector-size-0 physical-3 segments-many queues-beyond-numbers discard-what granularity-3 status-odd nothing': 'answers',
    'keeps-pages': 'keeps pages'}
BACKS_OF_NET = {
    'mac-of-many mac-none mac-odd closing-at-once closed-when-ready': 'ended',
    'no-bytes 65535-bytes page-and-one tiny more-that-is-not-there more-forever': 'ended',
    'offload-flags offload-reserved offload-kind offload-ecn-alone csum-beyond': 'ended',
    'overrun backwards sent-overrun changes-while-read': 'ended',
    'no-such-state': 'back to new',
    'mtu-large mtu-small queues-beyond-numbers checksum-what gso-what gso-of-nothing short-first nothing': 'sends'}


def attack_front_end(machine, name, kind, number, attacks, served):
    """Each by a front end that begins anew.  `served`: what the guest must be able to do where nothing is wrong."""
    back, drivers = f'{kind}-back-2-{number}', '/sys/bus/paravane/drivers'
    machine.must(f'echo {back} >{drivers}/pvn-{kind}-back/unbind && modprobe hostile_{kind}_back && [ -e {drivers}/pvn-hostile-{kind}-back/{back} ]')
    again = f'echo {kind}-{number} >{drivers}/pvn-{kind}/unbind; echo {kind}-{number} >{drivers}/pvn-{kind}/bind'
    for attack in (one for several in attacks for one in several.split()):
        outcome = next(outcome for several, outcome in attacks.items() if attack in several.split())
        machine.must(f'printf %s {attack} >/sys/module/hostile_{kind}_back/parameters/attack')
        in_domu(machine, name, again)
        # What a disk answers before it does wrong matters as little as what a card sends.
        said = machine.must(f'until dmesg | grep "hostile: {attack}: {outcome}"; do usleep 20000; done', 60)
        check(f'hostile: {attack}: {outcome}' in said, f'{attack} of a {kind}: wanted {outcome}: {said[-300:]}')
        if outcome in ('answers', 'sends', 'keeps pages'):
            in_domu(machine, name, ('! ' if attack == 'status-odd' else '') + served, 60)
            check('hostile: ' + attack + ': ended' not in machine.must('dmesg'), f'{attack} of a {kind} was taken for wrong')
        elif outcome == 'ended':
            in_domu(machine, name, f'until grep -q closed /sys/bus/paravane/devices/{kind}-{number}/state; do usleep 20000; done', 60)
    machine.must(f'echo {back} >{drivers}/pvn-hostile-{kind}-back/unbind && rmmod hostile_{kind}_back && echo {back} >{drivers}/pvn-{kind}-back/bind', SLOW)
    in_domu(machine, name, again)
    for log in (machine.must('dmesg'), in_domu(machine, name, 'dmesg')):
        check(not re.search(r'WARNING|BUG|Oops', log), log)


def test_hostile_block_back(_):
    with machine_with('hostile_block_back') as machine:
        machine.must('truncate -s 4M /tmp/a.img')

        def attack():
            attack_front_end(machine, 't', 'block', 1, BACKS_OF_BLOCK, 'dd if=/dev/pvdb of=/dev/null bs=4k count=1 iflag=direct')
            in_domu(machine, 't', DISK_WORKS, 60)
        lives_of_a_guest(machine, attack, disk=DISKS)


def test_hostile_net_back(_):
    with machine_with('hostile_net_back') as machine:
        bridge(machine)

        def attack():
            attack_front_end(machine, 't', 'net', 0, BACKS_OF_NET, 'until [ $(cat /sys/class/net/eth0/statistics/rx_packets) != 0 ]; do usleep 20000; done')
            in_domu(machine, 't', CARD_WORKS, 60)
        lives_of_a_guest(machine, attack, disk=READ_ONLY_ROOT, vif=[{'bridge': 'br0'}])


TESTS = [test_hostile_block, test_hostile_net, test_hostile_block_back, test_hostile_net_back]
for test in TESTS:
    test.boots_itself = True
