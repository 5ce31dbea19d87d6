#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the fuzz targets (tests/fuzz/*_fuzz.cpp) and runs each for some seconds, or once over the inputs that are kept.

tests/fuzz/corpus/NAME.zip has the inputs that are kept.  What is learnt beyond them stays in build/fuzz/corpus/NAME until --keep puts the
smallest set that reaches as much into the archive.  An input that breaks something goes to build/fuzz/found/, and the command that repeats it
is printed.

usage: run.py [--seconds N | --corpus | --keep] [NAME...]
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / 'build' / 'fuzz'
CORPUS = ROOT / 'tests/fuzz/corpus'


def build(targets):
    print(f'  FUZZ  build {" ".join(targets)}', flush=True)
    for command in (['cmake', '-S', str(ROOT / 'tests/host'), '-B', str(BUILD), '-G', 'Ninja', '-DPARAVANE_FUZZ=ON',
                     '-DCMAKE_C_COMPILER=clang-19', '-DCMAKE_CXX_COMPILER=clang++-19', '-DCMAKE_BUILD_TYPE='],
                    ['cmake', '--build', str(BUILD), '--target', *targets]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            return False
    return True


def kept(name):
    """The folder with the inputs that are kept, unpacked."""
    folder = BUILD / 'kept' / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = CORPUS / f'{name}.zip'
    if archive.exists():
        with zipfile.ZipFile(archive) as inputs:
            inputs.extractall(folder)
    return folder


def keep(name):
    smallest = BUILD / 'smallest' / name
    shutil.rmtree(smallest, ignore_errors=True)
    smallest.mkdir(parents=True)
    subprocess.run([BUILD / name, '-merge=1', smallest, kept(name), BUILD / 'corpus' / name], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    CORPUS.mkdir(exist_ok=True)
    inputs = sorted(smallest.iterdir(), key=lambda path: path.name)
    with zipfile.ZipFile(CORPUS / f'{name}.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for path in inputs:  # the same bytes whenever it is made
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    print(f'  FUZZ  {name}: {len(inputs)} inputs kept')


def run(name, options):
    """True if nothing was found."""
    corpus = BUILD / 'corpus' / name
    corpus.mkdir(parents=True, exist_ok=True)
    found = BUILD / 'found'
    found.mkdir(exist_ok=True)
    before = set(found.iterdir())
    inputs = kept(name)
    how = ['-runs=0', inputs] if options.corpus else [f'-max_total_time={options.seconds}', corpus, inputs]
    command = [BUILD / name, f'-artifact_prefix={found}/{name}-', '-timeout=10', '-print_final_stats=1', *how]
    log = BUILD / f'{name}.log'
    with open(log, 'w') as sink:
        status = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT, env=dict(os.environ, UBSAN_OPTIONS='print_stacktrace=1')).returncode
    text = log.read_text(errors='replace').splitlines()
    if status:
        print('\n'.join(text[-60:]), file=sys.stderr)
        for artifact in sorted(set(found.iterdir()) - before):
            print(f'FAILED {name}; to repeat: build/fuzz/{name} build/fuzz/found/{artifact.name}', file=sys.stderr)
        return False
    runs = next((line.split()[-1] for line in text if 'number_of_executed_units' in line), '?')
    print(f'  ok {name}: {runs} runs, nothing found')
    return True


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--corpus', action='store_true', help='only the inputs that are kept, once each, as a test suite')
    parser.add_argument('--keep', action='store_true', help='keep what has been learnt')
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    known = sorted(path.stem for path in (ROOT / 'tests/fuzz').glob('*_fuzz.cpp'))
    wanted = [name if name.endswith('_fuzz') else f'{name}_fuzz' for name in options.names] or known
    for name in wanted:
        if name not in known:
            print(f'fuzz: no target {name}; there are: {" ".join(known)}', file=sys.stderr)
            return 1
    if not build(wanted):
        return 1
    if options.keep:
        for name in wanted:
            keep(name)
        return 0
    if not options.corpus:
        for name in wanted:
            print(f'  FUZZ  {name} for {options.seconds} s', flush=True)
            if not run(name, options):
                return 1
        return 0
    failed = [name for name in wanted if not run(name, options)]
    results = ROOT / 'build/results'
    results.mkdir(parents=True, exist_ok=True)
    counts = {'suite': 'fuzz', 'passed': len(wanted) - len(failed), 'failed': len(failed), 'skipped': 0,
              'failures': [f'{name} (tests/fuzz/run.py --corpus {name})' for name in failed]}
    (results / 'fuzz.json').write_text(json.dumps(counts))
    print(f'fuzz: {counts["passed"]} passed, {counts["failed"]} failed, 0 skipped')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
