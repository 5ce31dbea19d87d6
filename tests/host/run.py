#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds and runs the host tests, and writes the number of test cases to build/results/host.json.

usage: run.py [--only FOLDER] [--filter GTEST_FILTER]
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / 'build' / 'host'
RESULT = ROOT / 'build' / 'results' / 'host.json'


def run(title, command, verbose):
    """Runs a build step quietly: its output appears when it fails."""
    print(f'  HOST  {title}', flush=True)
    if verbose:
        return subprocess.run(command).returncode
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return done.returncode


def collect(folder):
    """Counts of one binary: (passed, skipped, names of failures)."""
    again = f'make test-host FOLDER={folder}'
    try:
        report = json.loads((BUILD / 'results' / f'{folder}.json').read_text())
    except (OSError, ValueError):
        return 0, 0, [f'{folder}: the test program ended without a report ({again})']
    passed, skipped, failures = 0, 0, []
    for suite in report.get('testsuites', []):
        for case in suite.get('testsuite', []):
            name = f'{suite["name"]}.{case["name"]}'
            if case.get('failures'):
                failures.append(f"{folder}: {name} ({again} FILTER='{name}')")
            elif case.get('result') == 'SKIPPED' or case.get('status') == 'NOTRUN':
                skipped += 1
            else:
                passed += 1
    return passed, skipped, failures


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--only')
    parser.add_argument('--filter')
    options = parser.parse_args()
    verbose = os.environ.get('V') == '1'

    # A build folder that was copied from another place is of no use.
    cache = BUILD / 'CMakeCache.txt'
    if cache.is_file() and f'CMAKE_HOME_DIRECTORY:INTERNAL={ROOT / "tests/host"}\n' not in cache.read_text():
        shutil.rmtree(BUILD)
    configure = ['cmake', '-S', str(ROOT / 'tests/host'), '-B', str(BUILD), '-G', 'Ninja', '-DCMAKE_CXX_COMPILER=clang++-19',
                 '-DCMAKE_BUILD_TYPE=']
    if run('configure', configure, verbose):
        return 1
    suites = (BUILD / 'suites.txt').read_text().split()
    if options.only:
        if options.only not in suites:
            print(f'host: no tests in hypervisor/{options.only}; there are: {" ".join(suites)}', file=sys.stderr)
            return 1
        suites = [options.only]
    if run(f'build {" ".join(suites) or "(no tests yet)"}',
           ['cmake', '--build', str(BUILD)] + (['--target', f'{options.only}_test'] if options.only else []), verbose):
        return 1

    shutil.rmtree(BUILD / 'results', ignore_errors=True)
    (BUILD / 'results').mkdir()
    environment = dict(os.environ, ASAN_OPTIONS='abort_on_error=0:detect_stack_use_after_return=1',
                       UBSAN_OPTIONS='print_stacktrace=1')
    if options.filter:
        environment['GTEST_FILTER'] = options.filter
    command = ['ctest', '--test-dir', str(BUILD), '--output-on-failure', '-j', str(os.cpu_count())]
    if options.only:
        command += ['-R', f'^{options.only}$']
    if suites:
        done = subprocess.run(command, env=environment, text=True, stdout=None if verbose else subprocess.PIPE)
        if done.returncode and not verbose:
            print(done.stdout)

    passed = skipped = 0
    failures = []
    for folder in suites:
        p, s, f = collect(folder)
        print(f'  {"FAILED" if f else "ok"} {folder}: {p} passed, {len(f)} failed' + (f', {s} skipped' if s else ''))
        passed += p
        skipped += s
        failures += f
    for failure in failures:
        print(f'  FAILED {failure}')
    print(f'host: {passed} passed, {len(failures)} failed, {skipped} skipped')
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({'suite': 'host', 'passed': passed, 'failed': len(failures), 'skipped': skipped,
                                  'failures': failures}) + '\n')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
