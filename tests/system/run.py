#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boots Linux as dom0 under Paravane and drives it.  A test takes a machine that has booted, or boots its own (`boots_itself`).

usage: run.py [TEST ...]        all tests, or the named ones; the log of each machine is build/system/NAME.log
"""
import concurrent.futures
import json
import os
import sys
import time
import traceback

import block_tests
import boot_tests
import debug_tests
import devices_tests
import hostile_tests
import lifecycle_tests
import memory_tests
import net_tests
import see_tests
import selftest_tests
import smp_tests
import store_tests
import stress_tests
from machine import ROOT, Failure, Machine

TESTS = boot_tests.TESTS + devices_tests.TESTS + lifecycle_tests.TESTS + memory_tests.TESTS + see_tests.TESTS + store_tests.TESTS + block_tests.TESTS + net_tests.TESTS + hostile_tests.TESTS + smp_tests.TESTS + stress_tests.TESTS + debug_tests.TESTS + selftest_tests.TESTS


def run(test):
    """What is wrong, in one line, or None."""
    name = test.__name__.removeprefix('test_')
    started = time.monotonic()
    try:
        if getattr(test, 'boots_itself', False):
            test(None)
        else:
            with Machine(name, smp=getattr(test, 'smp', 2)) as machine:
                machine.boot()
                test(machine)
    except Exception as failure:  # also what a test did not expect: the others still run
        print(f'  FAILED {name}: {failure if isinstance(failure, Failure) else traceback.format_exc()}', flush=True)
        return f'{name}: {(str(failure) or repr(failure)).splitlines()[0]} (tests/system/run.py {name})'
    print(f'  ok {name} {time.monotonic() - started:.1f} s', flush=True)
    return None


def main():
    wanted = sys.argv[1:]
    tests = [test for test in TESTS if not wanted or test.__name__.removeprefix('test_') in wanted]
    alone = [test for test in tests if not getattr(test, 'in_turns', False)]
    results = [run(test) for test in alone]
    # Each of the others needs one processor of the host, and 2 GiB.
    with concurrent.futures.ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), 4)) as pool:
        results += pool.map(run, [test for test in tests if test not in alone])
    failures = [result for result in results if result]
    passed = len(results) - len(failures)
    folder = ROOT / 'build/results'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'system.json').write_text(json.dumps({'suite': 'system', 'passed': passed, 'failed': len(failures), 'skipped': 0, 'failures': failures}))
    print(f'system: {passed} passed, {len(failures)} failed, 0 skipped')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
