# SPDX-License-Identifier: MIT
"""Linux's memory: when there is none left, and what faults and forks take."""
import re

from lifecycle_tests import parsed
from machine import DEBUG, Machine, check, free_frames
from smp_tests import TROUBLE, but_killed


def test_many_page_tables(_):
    """Any page may become a page table, those of the kernel's image that were given back after boot too, and be a page again."""
    with Machine('many_page_tables', paravane='debug_exit dom0_mem=256M') as machine:
        machine.boot()
        before = free_frames(machine)
        for _ in range(3):
            tables = int(re.search(r'\n(\d+) tables', machine.must('many_tables', 240))[1])
            check(tables > 30000, f'only {tables} tables')
        log = but_killed(machine.must('dmesg'))
        check(not re.search(TROUBLE, log), 'the kernel is not content:\n' + log)
        check(free_frames(machine) == before, 'memory was lost')
        machine.must('pvn debug audit')


def hypercalls_of_each(machine, command, times):
    """Of what the command does so often.  What dom0 does beside it is counted too and only adds: the least of three counts."""
    def all_of_dom0():
        return sum(vcpu['hypercalls'] for vcpu in parsed(machine.must('pvn vcpu list --json')))
    counts = []
    for _ in range(3):
        before = all_of_dom0()
        machine.must(command, 240)
        counts.append((all_of_dom0() - before) / times)
    return min(counts)


def hypercalls_of_a_fork(machine):
    """And of the child's exit."""
    return hypercalls_of_each(machine, 'page_faults forks 2000', 2000)


def read_again(machine):
    """Pages of files that the kernel had taken back because memory was short, and then needed."""
    return int(re.search(r'workingset_refault_file (\d+)', machine.must('cat /proc/vmstat'))[1])


def test_page_faults(_):
    """Pages are mapped ahead of a program that goes upwards, copied before both sides of a fork write them, and flushed by nothing but the
    hypercalls that change them; programs see none of that, on two processors either, but that it is fewer faults and fewer hypercalls."""
    with Machine('page_faults') as machine:
        machine.boot()
        said = machine.must('page_faults', 240)
        upwards, three, shared, children, parent = (int(re.search(pattern, said)[1]) for pattern in
                                                    (r'upwards: (\d+) faults for 256', r'three pages: (\d+) mapped', r'shared: (\d+) faults',
                                                     r'forks: (\d+) faults', r'children, (\d+) in the parent'))
        check(upwards < 256 / 4 and 3 < three <= 3 + 7, said)
        # Without any of this they are 8, 800 and 400.
        check(shared < 8 and children < 700 and parent < 300, said)
        check('all is well' in said, said)
        each = hypercalls_of_a_fork(machine)
        check(each < (40 if DEBUG else 28), f'{each:.1f} hypercalls for a fork and an exit')
        # A processor that is idle need not be told of a change.
        each = hypercalls_of_each(machine, 'page_faults changes 5000', 10000)
        check(each < (2.5 if DEBUG else 1.5), f'{each:.1f} hypercalls for a change of an entry')
        check(not re.search(TROUBLE, machine.must('dmesg')), 'the kernel is not content')


def test_forks_on_one_processor(_):
    """There a fork and an exit change the entries of all regions together; whoever looks for a page's mappings meanwhile finds them as they are."""
    tools = ['-drive', 'file=build/tools.img,format=raw,if=virtio,snapshot=on']
    with Machine('forks_on_one_processor', smp=1, paravane=f'debug_exit dom0_mem={600 if DEBUG else 192}M', devices=tools) as machine:
        machine.boot()
        each = hypercalls_of_a_fork(machine)
        check(each < (30 if DEBUG else 21), f'{each:.1f} hypercalls for a fork and an exit')
        before = read_again(machine)
        said = machine.must('page_faults short /dev/vda', 300)
        check('short: 30 forks' in said, said)
        check(read_again(machine) - before > 1000, 'no memory was reclaimed')
        check(not re.search(TROUBLE, machine.must('dmesg')), 'the kernel is not content')
        machine.must('pvn debug audit')


TESTS = [test_many_page_tables, test_page_faults, test_forks_on_one_processor]
for test in TESTS:
    test.boots_itself = True
