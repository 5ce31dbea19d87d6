#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the fuzz targets (tests/fuzz/*_fuzz.cpp) and runs each for some seconds.

What was learnt stays in build/fuzz/corpus/NAME; seeds may lie in tests/fuzz/corpus/NAME.  An input that breaks
something is kept in build/fuzz/found/, and the command that repeats it is printed.

usage: run.py [--seconds N] [NAME...]
"""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / 'build' / 'fuzz'


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    known = sorted(path.stem for path in (ROOT / 'tests/fuzz').glob('*_fuzz.cpp'))
    wanted = [name if name.endswith('_fuzz') else f'{name}_fuzz' for name in options.names] or known
    if not known:
        print('fuzz: there are no fuzz targets yet')
        return 0
    for name in wanted:
        if name not in known:
            print(f'fuzz: no target {name}; there are: {" ".join(known)}', file=sys.stderr)
            return 1

    print(f'  FUZZ  build {" ".join(wanted)}', flush=True)
    for command in (['cmake', '-S', str(ROOT / 'tests/host'), '-B', str(BUILD), '-G', 'Ninja', '-DPARAVANE_FUZZ=ON',
                     '-DCMAKE_C_COMPILER=clang-19', '-DCMAKE_CXX_COMPILER=clang++-19', '-DCMAKE_BUILD_TYPE='],
                    ['cmake', '--build', str(BUILD), '--target', *wanted]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            return 1

    failed = []
    found = BUILD / 'found'
    found.mkdir(exist_ok=True)
    for name in wanted:
        corpus = BUILD / 'corpus' / name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds = ROOT / 'tests/fuzz/corpus' / name
        print(f'  FUZZ  {name} for {options.seconds} s', flush=True)
        before = set(found.iterdir())
        command = [str(BUILD / name), f'-max_total_time={options.seconds}', f'-artifact_prefix={found}/{name}-', '-timeout=10',
                   '-print_final_stats=1', str(corpus)] + ([str(seeds)] if seeds.is_dir() else [])
        log = BUILD / f'{name}.log'
        with open(log, 'w') as sink:
            status = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT,
                                    env=dict(os.environ, UBSAN_OPTIONS='print_stacktrace=1')).returncode
        text = log.read_text(errors='replace').splitlines()
        if status:
            failed.append(name)
            print('\n'.join(text[-60:]), file=sys.stderr)
            for artifact in sorted(set(found.iterdir()) - before):
                print(f'FAILED {name}; to repeat: build/fuzz/{name} build/fuzz/found/{artifact.name}', file=sys.stderr)
        else:
            runs = next((line.split()[-1] for line in text if 'number_of_executed_units' in line), '?')
            print(f'  ok {name}: {runs} runs, nothing found')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
