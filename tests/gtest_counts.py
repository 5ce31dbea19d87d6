#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""From GoogleTest's JSON to the counts of a suite.   usage: gtest_counts.py SUITE GTEST.json OUTPUT.json"""
import json
import pathlib
import sys

suite, source, output = sys.argv[1:]
report = json.loads(pathlib.Path(source).read_text())
failed = report['failures'] + report.get('errors', 0)
counts = {'suite': suite, 'passed': report['tests'] - failed - report.get('disabled', 0), 'failed': failed, 'skipped': report.get('disabled', 0)}
pathlib.Path(output).write_text(json.dumps(counts))
print(f"{suite}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
sys.exit(1 if failed else 0)
