# SPDX-License-Identifier: MIT
"""Linux with several processors as dom0."""
import hashlib
import itertools
import json
import re
import subprocess

from lifecycle_tests import describe, start_linux
from machine import IN_TURNS, Failure, Machine, check, free_frames

# Four at once: a storm of processes, pipes, sorting, and page faults; each says that it is done.
LOAD = '''load() { k=0; while [ $k -lt 40 ]; do /bin/true; k=$((k + 1)); done
dd if=/dev/zero bs=4k count=1000 2>/dev/null | cat | wc -c | grep -qx 4096000 || return 1
[ $(seq 5000 | sort -rn | tail -n 1) = 1 ] || return 1
dd if=/dev/zero of=/tmp.$1 bs=64k count=64 2>/dev/null && rm /tmp.$1 && echo "load"-$1 done; }'''


# What a kernel says when it is not content.
TROUBLE = r'WARNING:|BUG:|Oops|Call Trace|soft lockup|blocked for more than|rcu:.*stall|refused|Firmware Bug'


def but_killed(log):
    """The log without the traces of who ran out of memory and was killed, or was refused a page meanwhile."""
    why = r'invoked oom-killer|page allocation failure: order:0, mode:\w+\(GFP_KERNEL'
    return re.sub(rf'(?m)^.*({why}).*\n(?:.*\n){{0,2}}.* Call Trace:\n', '', log)


def quiet(machine):
    log = machine.must('dmesg')
    check(not re.search(TROUBLE, log), 'the kernel is not content:\n' + log)


def run_load(machine, jobs=4):
    output = machine.must('for i in ' + ' '.join(str(i) for i in range(jobs)) + '; do load $i & done; wait', 300)
    check(len(re.findall(r'^load-\d done$', output, re.M)) == jobs, output)


def interrupts(machine):
    """What /proc/interrupts says: name of the row -> counts, one for each CPU."""
    rows = {}
    for line in machine.must('cat /proc/interrupts').splitlines():
        if match := re.match(r' *(\w+):((?: +\d+)+) +(.*)', line):
            name = match[3].split('  ')[-1].strip() if match[1].isdigit() else match[1]
            rows[name] = [int(count) for count in match[2].split()]
    return rows


def online(machine):
    return machine.must('cat /sys/devices/system/cpu/online').split('\n', 1)[1].strip()


def begin(machine, cpus):
    machine.boot()
    check(int(machine.must('nproc').split('\n', 1)[1]) == cpus, f'not {cpus} processors')
    check(len(re.findall(r'^processor\s*:', machine.must('cat /proc/cpuinfo'), re.M)) == cpus, f'/proc/cpuinfo has not {cpus} processors')
    machine.must(LOAD.replace('\n', '; '))


def end(machine):
    quiet(machine)
    machine.must('pvn debug audit')


def test_four_cpus(_):
    """All processors work, hear each other and their timers, and can be taken away and given back."""
    with Machine('four_cpus', smp=4) as machine:
        begin(machine, 4)
        run_load(machine)
        rows = interrupts(machine)
        for row in ('timer', 'RES', 'CAL'):
            check(len(rows[row]) == 4 and all(rows[row]), f'{row}: {rows[row]}')
        for cpu in range(4):
            check(machine.must(f"taskset {1 << cpu:x} sh -c 'taskset -p $$'").rstrip().endswith(f'mask: {1 << cpu:x}'), f'taskset to CPU {cpu}')

        # An interrupt goes where it is sent.
        for cpu in (1, 3, 0):
            machine.must(f"echo {1 << cpu:x} >/proc/irq/$(awk '$NF == \"console\" {{ print $1 + 0 }}' /proc/interrupts)/smp_affinity")
            before = interrupts(machine)['console']
            machine.must('echo one more line from the console')
            after = interrupts(machine)['console']
            check([n for n in range(4) if after[n] != before[n]] == [cpu], f'console on CPU {cpu}: {before} {after}')

        # Processors go and come while all of them have work.
        machine.must('(load 8; load 9) >/dev/null & cd /sys/devices/system/cpu; for round in 1 2 3; do for n in 1 2 3; do echo 0 >cpu$n/online && echo 1 >cpu$n/online '
                     '|| break 2; done; done; [ $round-$n = 3-3 ]; r=$?; wait; cd; [ $r = 0 ]', 300)
        machine.must('for n in 1 2 3; do echo 0 >/sys/devices/system/cpu/cpu$n/online; done', 120)
        check(online(machine) == '0', 'processors 1 to 3 are not off')
        run_load(machine, 2)
        machine.must('for n in 3 1 2; do echo 1 >/sys/devices/system/cpu/cpu$n/online; done', 120)
        check(online(machine) == '0-3', 'processors 1 to 3 are not back')
        run_load(machine)
        end(machine)


def test_two_cpus(_):
    """Two processors; one is enough to switch the machine off."""
    with Machine('two_cpus', smp=2) as machine:
        begin(machine, 2)
        run_load(machine)
        end(machine)
        machine.send('taskset 2 poweroff -f\n')
        try:
            machine.process.wait(60)
        except subprocess.TimeoutExpired:
            raise Failure('the machine did not switch itself off') from None


def eight_cpus(name, accel):
    with Machine(name, smp=8, accel=accel) as machine:
        begin(machine, 8)
        compared = re.findall(r'cpu (\d): TSC between -?\d+ and -?\d+ ticks ahead', machine.text)
        check(compared == list('1234567'), f'the TSCs of {compared} were compared')
        run_load(machine, 8)
        machine.must('for n in 7 1 4; do echo 0 >/sys/devices/system/cpu/cpu$n/online; done', 120)
        check(online(machine) == '0,2-3,5-6', 'processors 1, 4 and 7 are not off')
        machine.must('for n in 1 4 7; do echo 1 >/sys/devices/system/cpu/cpu$n/online; done', 120)
        check(online(machine) == '0-7', 'not all processors are back')
        end(machine)


def test_eight_cpus(_):
    """Eight processors, threads of a host that has fewer: any of them may be away for long while it holds a lock."""
    eight_cpus('eight_cpus', 'tcg,thread=multi')


def test_eight_cpus_in_turns(_):
    """Eight processors that take turns, each for long: whoever is waited for does nothing meanwhile."""
    eight_cpus('eight_cpus_in_turns', IN_TURNS)


def test_fight_for_a_lock(_):
    """Two virtual processors of one real one fight for a spinlock of the kernel: who waits lets the other one run.  QEMU counts time in
    instructions."""
    with Machine('fight_for_a_lock', smp=1, paravane='debug_exit dom0_max_vcpus=2', devices=['-icount', 'shift=0,sleep=off']) as machine:
        begin(machine, 2)
        figures = re.search(r'alone (\d+) fighting (\d+)', machine.must('lock_fight 200000', 240))
        alone, fighting = map(int, figures.groups())
        check(fighting < 1.3 * alone, f'{alone} us for one, {fighting} us for two')
        end(machine)


def test_more_vcpus_than_cpus(_):
    """Four virtual processors on two real ones: whoever waits for a lock does not hold up its owner, and waiting is seen as steal time."""
    with Machine('more_vcpus_than_cpus', smp=2, paravane='debug_exit dom0_max_vcpus=4') as machine:
        begin(machine, 4)
        run_load(machine)
        steal = [int(line.split()[8]) for line in machine.must('grep "^cpu" /proc/stat').splitlines() if line.startswith('cpu')]
        check(steal[0] > 0, f'no steal time: {steal}')
        end(machine)


def test_typed_in_bulk(_):
    """What is typed faster than it is read arrives whole and in order: an interrupt and hvc's thread take it in, on processors that are
    taken away from them at any time."""
    with Machine('typed_in_bulk', smp=2, paravane='debug_exit dom0_max_vcpus=4') as machine:
        begin(machine, 4)
        machine.must('for i in 0 1 2 3; do while :; do /bin/true; done & done')
        lines = 3000
        text = ''.join(f'line {i}\n' for i in range(lines))
        machine.send(f"stty -icanon -echo; echo 'be'gin; head -c {len(text)} | sha256sum; stty sane\n")
        machine.expect('\nbegin\n')
        machine.send(text)
        sum = machine.expect(r'\n?([0-9a-f]{64})  -\n', 240)[1]
        check(sum == hashlib.sha256(text.encode()).hexdigest(), 'what was typed is not what came')
        machine.expect(re.escape(machine.prompt))
        machine.must('kill $(jobs -p)')
        end(machine)


def test_fewer_vcpus_than_cpus(_):
    """The machine's tables name more processors than dom0 has."""
    with Machine('fewer_vcpus_than_cpus', smp=4, paravane='debug_exit dom0_max_vcpus=2') as machine:
        begin(machine, 2)
        run_load(machine, 2)
        end(machine)


marks = itertools.count()


def in_domu(machine, name, command, timeout=240):
    """A command at the shell on a domain's console: its output.  It must succeed."""
    # The console first repeats what it showed before: each command has a mark of its own.
    mark = f'{name}-{next(marks)}'
    machine.send(f'pvn console {name}\n')
    # The last prompt may be too long ago for the console to repeat it.
    machine.expect(r'Ctrl-\] leaves', timeout)
    machine.send('\n')
    machine.expect(r'domU # ', timeout)
    machine.send(f'{command}; echo "code"-{mark}=$?\n')
    start = machine.seen
    match = machine.expect(rf'\ncode-{mark}=(\d+)\n', timeout)
    output = machine.text[start:machine.seen]
    machine.expect(r'domU # ', timeout)
    machine.send('\x1d')
    machine.expect(re.escape(machine.prompt), timeout)
    check(match[1] == '0', f'`{command}` in {name} ended with {match[1]}:\n{output}')
    return output


def test_domus_with_vcpus(machine):
    """Two domUs with two and four virtual processors, beside a dom0 with two, all with work at once."""
    before = free_frames(machine)
    machine.must(LOAD.replace('\n', '; '))
    for name, vcpus in (('two', 2), ('four', 4)):
        describe(machine, f'{name}.toml', name=name, vcpus=vcpus)
        start_linux(machine, f'{name}.toml')
        check(re.search(rf'^{vcpus}$', in_domu(machine, name, 'nproc'), re.M), f'{name} has not {vcpus} processors')
        in_domu(machine, name, LOAD.replace('\n', '; '))
    # What a domU began goes on while nobody looks at its console.
    for name in ('two', 'four'):
        in_domu(machine, name, '(for i in 0 1 2 3; do load $i & done; wait) >/tmp/result 2>&1 & true')
    run_load(machine)
    for name, vcpus in (('two', 2), ('four', 4)):
        output = in_domu(machine, name, 'wait; cat /tmp/result')
        check(len(re.findall(r'^load-\d done$', output, re.M)) == 4, output)
        last = vcpus - 1
        in_domu(machine, name, f'echo 0 >/sys/devices/system/cpu/cpu{last}/online && load 7 && echo 1 >/sys/devices/system/cpu/cpu{last}/online && load 7')
        log = in_domu(machine, name, 'dmesg')
        check(not re.search(TROUBLE, log), f'{name} is not content:\n{log}')
    end(machine)
    machine.must('pvn destroy two && pvn destroy four')
    check(free_frames(machine) == before, 'memory was lost')
    machine.must('pvn debug audit')


def test_vcpus_added(machine):
    """A domU is given virtual processors while it runs, and gives them back."""
    before = free_frames(machine)
    describe(machine, 'grows.toml', name='grows', vcpus=1, max_vcpus=4)
    start_linux(machine, 'grows.toml')
    check(re.search(r'^1$', in_domu(machine, 'grows', 'nproc'), re.M), 'it does not start with one processor')
    in_domu(machine, 'grows', LOAD.replace('\n', '; '))
    in_domu(machine, 'grows', '(while [ ! -e /tmp/enough ]; do load 5; done) >/tmp/result & true')
    for number, expected in ((4, '0-3'), (2, '0-1'), (1, '0'), (3, '0-2')):
        machine.must(f'pvn vcpu set grows {number}')
        in_domu(machine, 'grows', f'until [ "$(cat /sys/devices/system/cpu/online)" = {expected} ]; do usleep 10000; done; for i in 1 2 3; do load $i & done; wait %2 %3 %4')
        states = [v['state'] for v in json.loads(machine.must('pvn vcpu list grows --json').split('\n', 1)[1])]
        check([state == 'offline' for state in states] == [n >= number for n in range(4)], f'{number} vCPUs: {states}')
    log = in_domu(machine, 'grows', 'touch /tmp/enough; wait; dmesg')
    check(not re.search(TROUBLE, log), f'the domU is not content:\n{log}')
    for number, complaint in (('0', 'keeps one vCPU'), ('5', 'has room for 4 vCPUs'), ('many', 'many'), ('-1', '-1')):
        refusal, code = machine.run(f'pvn vcpu set grows {number}')
        check(code != 0 and complaint in refusal.split('\n', 1)[1], refusal)
    refusal, code = machine.run('pvn vcpu set dom0 1')
    check(code != 0 and 'dom0 cannot be' in refusal, refusal)
    machine.must('pvn destroy grows')
    check(free_frames(machine) == before, 'memory was lost')
    machine.must('pvn debug audit')


def test_short_sleeps(_):
    """A task that sleeps alone on its CPU waits there for an interrupt: that is no CPU time of its own, the CPU is idle meanwhile, and who
    wakes it from another CPU is heard at once.  By a clock that counts instructions, so that a busy host does not matter."""
    with Machine('short_sleeps', devices=('-icount', 'shift=0,sleep=off')) as machine:
        machine.boot()
        said = machine.must('sleeps', 120)
        times, took, cpu, idle, switches = map(int, re.search(r'slept (\d+) times in (\d+) us: (\d+) us of CPU, idle (\d+) us, (\d+) switches', said).groups())
        check(times >= 300 and cpu < took / 4 and idle > took / 2, said)
        # To the idle task and back would be two for each; here they are for sleeps in which another interrupt came, such as a tick.
        check(switches < times, said)
        check(int(re.search(r'there and back: (\d+) us', said)[1]) < 1000, said)


for test in (test_four_cpus, test_two_cpus, test_eight_cpus, test_eight_cpus_in_turns, test_fight_for_a_lock, test_more_vcpus_than_cpus, test_typed_in_bulk,
             test_fewer_vcpus_than_cpus, test_short_sleeps):
    test.boots_itself = True

TESTS = [test_four_cpus, test_two_cpus, test_eight_cpus, test_eight_cpus_in_turns, test_fight_for_a_lock,
         test_more_vcpus_than_cpus, test_typed_in_bulk, test_fewer_vcpus_than_cpus, test_domus_with_vcpus, test_vcpus_added, test_short_sleeps]
test_eight_cpus_in_turns.in_turns = True
