#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sums up the suites: reads build/results/SUITE.json of each, prints what failed, and the totals as the last line.

A suite without a result did not get far enough to write one: it counts as one failure.

usage: summary.py SUITE...
"""
import json
import pathlib
import sys

RESULTS = pathlib.Path(__file__).resolve().parent.parent / 'build' / 'results'


def main() -> int:
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip().splitlines()[-1])
    total = {'passed': 0, 'failed': 0, 'skipped': 0}
    print()
    for suite in sys.argv[1:]:
        try:
            result = json.loads((RESULTS / f'{suite}.json').read_text())
            counts = {key: int(result[key]) for key in total}
            failures = result.get('failures', [])
        except (OSError, ValueError, KeyError, TypeError):
            counts = {'passed': 0, 'failed': 1, 'skipped': 0}
            failures = [f'the suite did not finish; its output is above (make test-{suite})']
        print(f'  {suite:<10}' + ', '.join(f'{counts[key]} {key}' for key in total))
        for failure in failures:
            print(f'          FAILED {failure}')
        for key in total:
            total[key] += counts[key]
    print(', '.join(f'{total[key]} {key}' for key in total))
    return 1 if total['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
