# SPDX-License-Identifier: MIT
"""The store: what `pvn store` says, what creating and destroying a domain leaves there, and a daemon that is killed."""
import json
import re

from lifecycle_tests import SLOW, describe, domains, refused, start_linux
from machine import check, free_frames


def lines(machine, command):
    """What a command prints, without its own echo."""
    return [line for line in machine.must(command).split('\n')[1:] if line]


def test_store(machine):
    """Values, listings, permissions, watches, and what is refused."""
    machine.must('pvn store write /tool/web/state ready && pvn store write /tool/web/port 80')
    check(lines(machine, 'pvn store read /tool/web/state')[0] == 'ready', 'a value')
    check(lines(machine, 'pvn store ls /tool/web')[:2] == ['port = 80', 'state = ready'], 'a listing')
    listing = json.loads('\n'.join(lines(machine, 'pvn store ls -r --json /tool')))
    check(listing['web']['children']['port']['value'] == '80', listing)
    machine.must("pvn store write /tool/bytes \"$(printf 'a\\tb\\134')\"")
    check(lines(machine, 'pvn store read /tool/bytes')[0] == 'a\\x09b\\x5c', 'bytes that are not printable')
    machine.must('pvn store chmod /tool/web others=r 3=rw owner=5')
    check('owner=5 others=r 3=rw' in machine.must('pvn store chmod /tool/web'), 'permissions')
    check('owner=5' in machine.must('pvn store ls -p /tool'), 'permissions in a listing')
    refused(machine, 'pvn store read /tool/none', 'cannot read /tool/none')
    refused(machine, 'pvn store read /tool//none', 'cannot read')
    refused(machine, 'pvn store rm /', 'cannot remove /')
    refused(machine, f'pvn store write /tool/big {"x" * 513}', 'at most 512 bytes')
    refused(machine, 'pvn store chmod /tool/web others=x', 'what is others=x')
    refused(machine, 'pvn store chmod /tool/web 70000=r', 'no domain')
    machine.must('pvn store watch /tool --count 3 >/tmp/watched & echo started')
    # The first line of a watch says that it is there: nothing after it is missed.
    machine.must('until [ -s /tmp/watched ]; do usleep 10000; done; pvn store write /tool/web/state busy; pvn store write /other x; pvn store rm /tool/web; wait')
    check(lines(machine, 'cat /tmp/watched') == ['/tool', '/tool/web/state = busy', '/tool/web (none)'], machine.must('cat /tmp/watched'))
    machine.must('pvn store rm /tool && pvn store rm /other')


def test_store_of_domains(machine):
    """A domain has a place in the store while it lives, and none afterwards; its memory comes back."""
    machine.must('pvn store ls')
    before, nodes = free_frames(machine), lines(machine, 'pvn store ls -r -p /')
    describe(machine, 'hello.toml')
    start_linux(machine, 'hello.toml')
    number = json.loads(machine.must('pvn list --json').split('\n', 1)[1])[1]['id']
    home = f'/local/domain/{number}'
    check(lines(machine, f'pvn store read {home}/name')[0] == 'hello', 'its name')
    check(f'owner={number} others=none' in machine.must(f'pvn store chmod {home}'), 'it owns its place')
    check(f'owner=0 others=none {number}=r' in machine.must(f'pvn store chmod {home}/name'), 'its name is not its own to change')
    machine.must(f'pvn store write {home}/device/x 1 && pvn store write /tool/x 1 && pvn store chmod /tool/x owner={number} && pvn store chmod /tool 0=r {number}=rw')
    machine.must('pvn destroy hello')
    refused(machine, f'pvn store read {home}/name', 'cannot read')
    refused(machine, 'pvn store read /tool/x', 'cannot read')  # owned by a domain that is gone
    check(f'{number}=' not in machine.must('pvn store chmod /tool'), 'permissions of a domain that is gone')
    machine.must('pvn store rm /tool')
    left = [line for line in lines(machine, 'pvn store ls -r -p /') if not re.match(r' *(local|domain) ', line)]
    check(left == nodes, f'{left}, before {nodes}')
    check(free_frames(machine) == before, 'memory was lost')
    machine.must('pvn debug audit')


def test_store_killed(machine):
    """The daemon is killed again and again: nothing that was written is lost, and domains come and go meanwhile."""
    machine.must('pvn store write /tool/n 0')
    machine.must('pvn store watch /tool >/tmp/watched & echo started')
    machine.must('until [ -s /tmp/watched ]; do usleep 10000; done')
    for i in range(1, 11):
        machine.must(f'pvn store write /tool/n {i} && killall -9 pvn-stored && [ "$(pvn store read /tool/n)" = {i} ]')
    machine.must('pvn store write /tool/last 1; until grep -q last /tmp/watched; do usleep 10000; done')
    before = free_frames(machine)
    describe(machine, 'hello.toml')
    machine.must('pvn create hello.toml && killall -9 pvn-stored && pvn destroy hello', 120)
    machine.must('pvn create hello.toml && killall -9 pvn-stored-up; pvn destroy hello', 120)  # the one that starts it anew, too
    machine.must('[ "$(pvn store read /tool/n)" = 10 ]')
    check(free_frames(machine) == before, 'memory was lost')
    machine.must('kill %1; wait; pvn store rm /tool; pvn debug audit')


def test_store_ring(machine):
    """A domain that uses its ring byte by byte, and then breaks it: the daemon says so once, and serves everybody else."""
    before = free_frames(machine)
    describe(machine, 's.toml', name='s', kernel='/boot/guests/store', ramdisk=None, memory='16M', on_poweroff='preserve')
    machine.must('pvn create s.toml', SLOW)
    number = domains(machine)['s']['id']
    machine.must(f'until [ "$(pvn store read /local/domain/{number}/state)" = on ]; do usleep 10000; done', SLOW)
    machine.must('killall -9 pvn-stored')  # a pause, to the domain; its watch fires once more, as for any change
    machine.must(f'pvn store write /local/domain/{number}/control go')
    machine.must('until pvn list | grep -q "^s .*powered off"; do usleep 10000; done', SLOW)
    check('PASS: store' in machine.text, machine.text[-1500:])
    check(machine.must('cat /run/pvn/store.log').count('it sent what is no request') == 1, machine.must('cat /run/pvn/store.log'))
    machine.must('pvn store write /tool 1 && pvn store rm /tool && pvn destroy s')
    check(free_frames(machine) == before, 'memory was lost')
    machine.must('pvn debug audit')


TESTS = [test_store_ring, test_store, test_store_of_domains, test_store_killed]
