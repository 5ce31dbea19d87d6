# SPDX-License-Identifier: MIT
"""Linux when there is no memory left."""
import re

from machine import Machine, check, free_frames
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


TESTS = [test_many_page_tables]
for test in TESTS:
    test.boots_itself = True
