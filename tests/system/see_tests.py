# SPDX-License-Identifier: MIT
"""What pvn shows of CPUs and vCPUs, and how it places them."""
import json

from lifecycle_tests import SLOW, describe, parsed, refused
from machine import Machine, check


def vcpu(machine, domain='dom0', number=0):
    listed = parsed(machine.must(f'pvn vcpu list {domain} --json', SLOW))
    return next(v for v in listed if v['vcpu'] == number)


def cpus(machine):
    return parsed(machine.must('pvn host cpu list --json', SLOW))


def wait_for(look, what, rounds=50):
    """What a CPU does when it next leaves its guest: each look at it takes long enough."""
    for _ in range(rounds):
        if look():
            return
    check(False, what)


def test_processors(_):
    """On two CPUs: pin vCPUs, take CPUs away, look at the load, trace."""
    with Machine('processors') as machine:
        machine.boot()
        first = cpus(machine)
        check([c['cpu'] for c in first] == [0, 1] and all(c['online'] for c in first), f'CPUs: {first}')
        table = machine.must('pvn vcpu list', SLOW)
        check('dom0' in table and ' all' in table, table)

        # Pinned to one CPU, then to the other.
        for to in (1, 0, 1):
            machine.must(f'pvn vcpu pin dom0 0 {to} --soft 0-1', SLOW)
            now = vcpu(machine)
            check(now['hard_affinity'] == str(to) and now['soft_affinity'] == '0-1', f'pinned to {to}: {now}')
            wait_for(lambda to=to: vcpu(machine)['cpu'] == to, f'vCPU 0 did not come to CPU {to}')
        refused(machine, 'pvn vcpu pin dom0 0 7', r'no CPU of 7 is online')
        refused(machine, 'pvn vcpu pin dom0 99 0', r'dom0 has no vCPU 99')
        refused(machine, 'pvn vcpu pin dom0 0 3-1', r'the range `3-1` ends before it begins; write 1-3')
        refused(machine, 'pvn host cpu offline 1', r'CPU 1 must stay')
        refused(machine, 'pvn host cpu offline 9', r'there is no CPU 9')
        refused(machine, 'pvn host cpu online 0', r'CPU 0 is online already')

        # A CPU is taken away and given back.
        machine.must('pvn vcpu pin dom0 all 1', SLOW)
        machine.must('pvn host cpu offline 0', SLOW)
        wait_for(lambda: cpus(machine)[0]['homes'] == 0, 'CPU 0 kept vCPUs')
        check(not cpus(machine)[0]['online'], 'CPU 0 is online')
        machine.must('pvn host cpu online 0', SLOW)
        check(cpus(machine)[0]['online'], 'CPU 0 is offline')
        machine.must('pvn vcpu pin dom0 all all --soft all', SLOW)
        check(vcpu(machine)['hard_affinity'] == 'all', 'dom0 is still pinned')
        check('page_tables' in machine.must('pvn host locks', SLOW), 'no lock of page tables')

        # A domain that may run on one CPU only, from its start.
        describe(machine, 'pinned.toml', name='pinned', cpus='1')
        machine.must('pvn create -p pinned.toml', SLOW)
        check(vcpu(machine, 'pinned')['hard_affinity'] == '1', 'the description did not pin it')
        machine.must('pvn destroy pinned', SLOW)
        describe(machine, 'pinned.toml', name='pinned', cpus='5')
        refused(machine, 'pvn create pinned.toml', r'pinned: no CPU of `cpus` = "5" is online')

        # The load.
        top = parsed(machine.must('pvn top --batch 1 --interval 300ms --json', SLOW))
        dom0 = next(d for d in top['domains'] if d['name'] == 'dom0')
        check(len(top['cpus']) == 2 and top['seconds'] >= 0.25, f'{top}')
        idle = max(c['idle_ns'] for c in cpus(machine))
        check(idle <= parsed(machine.must('pvn info --json', SLOW))['uptime_ns'], f'a CPU was idle for {idle} ns, longer than it has run')
        check(dom0['cpu_share'] > 0 and dom0['hypercalls_per_s'] > 0, f'{dom0}')
        table = machine.must('pvn top --batch 2 --interval 100ms', SLOW)
        check(table.count('STEAL%') == 2, table)
        machine.send('pvn top\n')
        machine.expect(r'STEAL%', SLOW)
        machine.send('q')
        machine.must('true')

        # The trace.
        machine.must('pvn trace --seconds 1 --events hypercall,switch,wake -o /tmp/t.json', SLOW)
        trace = trace_in(machine, '/tmp/t.json')
        names = {event['name'] for event in trace if 'name' in event}
        check({'SYSTEM_TRACE_READ', 'SCHED_BLOCK'} <= names, f'names: {sorted(names)}')
        check('dom0 v0' in names and 'CPU 0' in names, f'names: {sorted(names)}')
        machine.must('pvn trace --seconds 0.2 -o /tmp/all.json', SLOW)
        machine.must("grep -q '\"ph\":\"X\".*\"name\":\"SYSTEM_TRACE_READ\"' /tmp/all.json")
        refused(machine, 'pvn trace -e nothing', r'`nothing` is no event')
        check(parsed(machine.must('pvn debug audit --json', SLOW))['discrepancies'] == 0, 'the audit found something')


def trace_in(machine, file):
    """The events of a trace, sent through the console: the first ones and those at the end, each line of the file being one."""
    other = machine.run(f"grep -vEc '^\\{{\"ph\".*\\}},?$' {file}", SLOW)[0]
    check(other.split()[-1] == '2', f'lines that are no events: {other}')
    output = machine.must(f'wc -l <{file}; head -n 400 {file}; echo ...; tail -n 40 {file}', SLOW)
    lines = output.split('\n')
    events = [json.loads(line.rstrip(',')) for line in lines if line.startswith('{"ph"')]
    check(any(line.startswith('{"displayTimeUnit"') for line in lines) and any(line.startswith(']}') for line in lines), 'the file has no frame')
    check(len(events) > 20, f'{len(events)} events')
    return events


test_processors.boots_itself = True


def test_pools(_):
    """Three CPUs in two pools, each with a domain and a scheduler of its own."""
    with Machine('pools', smp=3) as machine:
        machine.boot()
        pools = lambda: parsed(machine.must('pvn pool list --json', SLOW))
        check(pools() == [{'pool': 0, 'scheduler': 'bvt', 'domains': 1, 'cpus': '0-2'}], f'{pools()}')
        refused(machine, 'pvn pool create --sched cfs', r'there is no scheduler `cfs`; there are bvt, rr and null')
        refused(machine, 'pvn pool create --cpus 2,7', r'there is no CPU 7')
        check(pools()[0]['cpus'] == '0-2' and len(pools()) == 1, 'half a pool was left')
        machine.must('test "$(pvn pool create --sched rr --cpus 2)" = 1', SLOW)
        check(pools() == [{'pool': 0, 'scheduler': 'bvt', 'domains': 1, 'cpus': '0-1'}, {'pool': 1, 'scheduler': 'rr', 'domains': 0, 'cpus': '2'}], f'{pools()}')
        check([c['pool'] for c in cpus(machine)] == [0, 0, 1], 'CPU 2 is not in pool 1')

        describe(machine, 'apart.toml', name='apart', pool=1)
        machine.must('pvn create apart.toml', SLOW)
        check(pools()[1]['domains'] == 1 and vcpu(machine, 'apart')['cpu'] == 2, 'not in its pool')
        refused(machine, 'pvn pool destroy 1', r'pool 1 has CPUs or domains')
        refused(machine, 'pvn pool add 0 2', r'CPU 2 must stay in its pool')
        refused(machine, 'pvn host cpu offline 2', r'CPU 2 must stay')
        refused(machine, 'pvn vcpu pin apart 0 0', r'no CPU of 0 is online in its pool, 1')
        refused(machine, 'pvn pool move apart 5', r'there is no pool 5')
        describe(machine, 'nowhere.toml', name='nowhere', pool=4)
        refused(machine, 'pvn create nowhere.toml', r'there is no `pool` 4')

        machine.must('pvn pool add 1 1', SLOW)
        check([pool['cpus'] for pool in pools()] == ['0', '1-2'], f'{pools()}')
        machine.must('pvn pool move apart 0', SLOW)
        wait_for(lambda: vcpu(machine, 'apart')['cpu'] == 0, 'the domain has not moved')
        machine.must('pvn pool add 0 all', SLOW)
        machine.must('pvn pool destroy 1', SLOW)
        refused(machine, 'pvn pool destroy 1', r'there is no pool 1')
        refused(machine, 'pvn pool destroy 0', r'pool 0 is always there')
        machine.must('pvn destroy apart', SLOW)
        machine.must('pvn debug audit', SLOW)


test_pools.boots_itself = True

TESTS = [test_processors, test_pools]
