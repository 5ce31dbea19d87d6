# SPDX-License-Identifier: MIT
"""Network cards of domUs: data between two domUs by a bridge, and to dom0 as a router, with and without offloads; a rate that is kept;
a driver of dom0's that is replaced; a guest that does not read; and what is refused."""
import re

from block_tests import describe_tools, in_background, left_behind, machine_with
from lifecycle_tests import SLOW, parsed, refused, start_linux
from machine import DEBUG, check, free_frames
from smp_tests import in_domu

READ_ONLY_ROOT = [{'target': '/dev/vda', 'read_only': True}]


def start(machine, name, address, **keys):
    """A domU with tools, and this address on its card."""
    describe_tools(machine, f'{name}.toml', **({'name': name, 'disk': READ_ONLY_ROOT, 'memory': '160M'} | keys))
    start_linux(machine, f'{name}.toml')
    in_domu(machine, name, f'mount -t tmpfs tmpfs /tmp; ip link set lo up; ip addr add {address} dev eth0; ip link set eth0 up')


def last_sum(output):
    return re.findall(r'^([0-9a-f]{64})  ', output, re.M)[-1]


def speed(output):
    """Of iperf3: Mbit/s that were received, over the whole."""
    return max(float(number) * {'K': 0.001, 'M': 1, 'G': 1000}[unit] for number, unit in re.findall(r'([\d.]+) ([KMG])bits/sec +receiver', output))


def bridge(machine):
    machine.must('ip link add br0 type bridge && ip link set br0 up && ip addr add 10.9.0.1/24 dev br0 && ip link set lo up')


def test_net_between_domains(_):
    """Downloads between two domUs and with dom0 have the same sums; iperf3 both ways; with offloads, without, and with large packets."""
    with machine_with('net_between_domains') as machine:
        bridge(machine)
        for round, card in enumerate(({}, {'offload': False}, {'mtu': 9000}, {})):
            vif = [{'bridge': 'br0'} | card]
            start(machine, 'n1', '10.9.0.11/24', vif=vif)
            start(machine, 'n2', '10.9.0.12/24', vif=vif, vcpus=1)
            if round == 0:
                check([v['front_state'] for v in parsed(machine.must('pvn network list --json'))] == ['connected'] * 2, 'connected')
                refused(machine, 'pvn network attach n2 --bridge br7', 'no bridge br7')
                refused(machine, f"pvn network attach n2 --mac $(pvn network list n1 | grep -o '02:[0-9a-f:]*')", 'is taken by card 0 of domain')
            made = in_domu(machine, 'n1', 'dd if=/dev/urandom of=/tmp/data bs=100k count=200 2>/dev/null; sha256sum /tmp/data; httpd -h /tmp; '
                                          'iperf3 -s -D >/dev/null; cat /sys/class/net/eth0/mtu')
            sent = last_sum(made)
            check(re.search(f'^{card.get("mtu", 1500)}$', made, re.M), made)
            got = in_domu(machine, 'n2', 'wget -q -O /tmp/got http://10.9.0.11/data; sha256sum /tmp/got')
            check(last_sum(got) == sent, f'a download between domains with {card} has changed')
            got = machine.must('wget -q -O /tmp/got http://10.9.0.11/data; sha256sum /tmp/got; cp /tmp/got /tmp/data; httpd -h /tmp', SLOW)
            check(last_sum(got) == sent, f'a download to dom0 with {card} has changed')
            got = in_domu(machine, 'n2', 'rm /tmp/got; wget -q -O /tmp/got http://10.9.0.1/data; sha256sum /tmp/got')
            check(last_sum(got) == sent, f'a download from dom0 with {card} has changed')
            machine.must('killall httpd; rm /tmp/got /tmp/data')
            output = in_domu(machine, 'n2', 'iperf3 -c 10.9.0.11 -t 1; iperf3 -R -c 10.9.0.11 -t 1; iperf3 -u -b 20M -l 1400 -c 10.9.0.11 -t 1; ping -c 2 -s 30000 10.9.0.11')
            check(output.count('iperf Done.') >= 3 and ' 0% packet loss' in output, output)
            machine.must('pvn destroy n1 && pvn destroy n2; pvn debug audit', SLOW)
            if round == 0:  # from the second time on it takes what it has
                before, nothing = free_frames(machine), left_behind(machine)
        check(free_frames(machine) == before and left_behind(machine) == nothing, f'{left_behind(machine)}, before {nothing}')
        check('vif' not in machine.must('ip link'), 'an interface is left')


def test_net_routed(_):
    """dom0 as a router, with an address for each card; a second card comes and goes; what the domain sends keeps to its rate."""
    with machine_with('net_routed') as machine:
        machine.must('echo 1 >/proc/sys/net/ipv4/ip_forward; ip link set lo up')
        start(machine, 'n1', '10.1.0.2/24', vif=[{'address': '10.1.0.1/24'}])
        start(machine, 'n2', '10.2.0.2/24', vif=[{'address': '10.2.0.1/24', 'rate': '16Mb/s'}])
        for name, network in (('n1', 1), ('n2', 2)):
            in_domu(machine, name, f'ip route add default via 10.{network}.0.1')
        in_domu(machine, 'n1', 'iperf3 -s -D >/dev/null')
        sending = speed(in_domu(machine, 'n2', 'iperf3 -c 10.1.0.2 -t 3'))
        check(8 < sending < 24, f'a rate of 16 Mb/s became {sending}')
        machine.must('[ "$(pvn network attach n2 --address 10.3.0.1/24 --mac 02:00:00:00:00:77)" = 1 ]', SLOW)
        output = in_domu(machine, 'n2', 'ip addr add 10.3.0.2/24 dev eth1; ip link set eth1 up; ping -c 2 10.3.0.1; cat /sys/class/net/eth1/address')
        check('02:00:00:00:00:77' in output and ' 0% packet loss' in output, output)
        # A guest that does not answer keeps its card, also when it answers later.
        machine.must('pvn pause n2')
        refused(machine, 'pvn network detach n2 1', 'does not let it go')
        machine.must('until pvn network list n2 | grep "^n2 *1 " | grep -qv dom0; do usleep 20000; done; pvn unpause n2')
        in_domu(machine, 'n2', '[ "$(cat /sys/class/net/eth1/carrier)" = 1 ] && ping -c 2 -I eth1 10.3.0.1')
        machine.must('pvn network detach n2 1', SLOW)
        check('eth1' not in in_domu(machine, 'n2', 'ls /sys/class/net').split('ls /sys/class/net')[-1], 'eth1 is there still')
        check(len(parsed(machine.must('pvn network list --json'))) == 2, 'a card is listed still')
        machine.must('pvn destroy n1 && pvn destroy n2; pvn debug audit', SLOW)


def test_net_back_end_replaced(_):
    """dom0's driver is replaced twenty times while data flow: connections live on, in the bridge, and data arrive as they were sent."""
    with machine_with('net_back_end_replaced') as machine:
        bridge(machine)
        start(machine, 'n1', '10.9.0.11/24', vif=[{'bridge': 'br0'}])
        sent = last_sum(in_domu(machine, 'n1', 'dd if=/dev/urandom of=/tmp/data bs=100k count=300 2>/dev/null; sha256sum /tmp/data; httpd -h /tmp'))
        machine.must('(while [ ! -e /tmp/stop ]; do wget -q -O - http://10.9.0.11/data | sha256sum >>/tmp/sums || exit; done) >/tmp/wget 2>&1 & true')
        for _ in range(20):
            machine.must('rmmod pvn_net_back && modprobe pvn-net-back', SLOW)
            machine.must('until pvn network list | grep -q "n1.* connected" && ip link show vif1.0 2>/dev/null | grep -q "UP.*master br0"; do usleep 20000; done', SLOW)
        sums = machine.must(': >/tmp/stop; wait; sort -u /tmp/sums; cat /tmp/wget', SLOW)
        check(re.findall(r'^([0-9a-f]{64})  ', sums, re.M) == [sent], sums)
        machine.must('pvn destroy n1; pvn debug audit', SLOW)


def test_net_stalled(_):
    """A domain that is paused while everybody talks to it costs dom0 no memory, and others nothing."""
    with machine_with('net_stalled') as machine:
        bridge(machine)
        for name, address in (('n1', '10.9.0.11/24'), ('n2', '10.9.0.12/24')):
            start(machine, name, address, vif=[{'bridge': 'br0'}])
        sent = last_sum(in_domu(machine, 'n2', 'dd if=/dev/urandom of=/tmp/data bs=100k count=100 2>/dev/null; sha256sum /tmp/data; httpd -h /tmp'))
        in_domu(machine, 'n1', 'ping -c 1 10.9.0.1')
        if DEBUG:  # KASAN keeps what is freed until somebody allocates who may sleep, and packets alone make nobody do so
            in_background(machine, 'n1', 'while usleep 100000; do :; done')
        machine.must('pvn pause n1')

        def number(command):
            return int(re.findall(r'(\d+)', machine.must(command).split('\n')[-1])[0])

        free = number('grep MemAvailable /proc/meminfo')
        # Who sends waits for room in its socket, which packets that are kept would take for ever.
        got = machine.must('for i in 1 2 3 4; do ping -s 60000 -c 300 -i 0.01 -W 1 10.9.0.11 >/dev/null & done; wget -q -O - http://10.9.0.12/data | sha256sum; '
                           'until [ $(cat /sys/class/net/vif1.0/statistics/tx_dropped) -gt 1000 ]; do usleep 20000; done', 100)
        check(last_sum(got) == sent, 'a download from another domain has changed meanwhile')
        lost = free - number('grep MemAvailable /proc/meminfo')
        check(lost < 20_000, f'dom0 holds {lost} KiB for a domain that does not read')
        machine.must('pvn unpause n1; wait', SLOW)
        in_domu(machine, 'n1', 'ping -c 2 10.9.0.12', 60)
        machine.must('pvn destroy n1 && pvn destroy n2; pvn debug audit', SLOW)


TESTS = [test_net_between_domains, test_net_routed, test_net_back_end_replaced, test_net_stalled]
for test in TESTS:
    test.boots_itself = True
