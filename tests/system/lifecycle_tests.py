# SPDX-License-Identifier: MIT
"""The life of domains, by pvn."""
import json
import re
import shlex

from machine import PROMPT, check, free_frames


def test_create_console_destroy(machine):
    before = free_frames(machine)
    machine.must('pvn create hello.toml', 60)
    listing = machine.must('pvn list')
    check(re.search(r'^hello +\d+ +128 MiB', listing, re.M), listing)
    described = json.loads(machine.must('pvn list --json').split('\n', 1)[1])
    check([d['name'] for d in described] == ['dom0', 'hello'], str(described))
    machine.send('pvn console hello\n')
    machine.expect(r'Paravane: domU ready', 60)
    machine.expect(r'domU # ')
    machine.send('echo "marco"-$((40 + 2)) on $(cat /sys/class/tty/console/active)\n')
    machine.expect(r'\nmarco-42 on hvc0\n')
    machine.send('\x1d')
    machine.expect(re.escape(PROMPT))
    machine.must('pvn debug audit')
    machine.must('pvn pause hello')
    check('paused' in machine.must('pvn info hello'), 'a paused domain does not show as paused')
    machine.must('pvn unpause hello')
    machine.must('pvn destroy hello')
    check('hello' not in machine.must('pvn list').split('\n', 1)[1], 'a destroyed domain is still listed')
    check(free_frames(machine) == before, 'destroying a domain did not give every frame back')
    machine.must('pvn debug audit')


def test_repeated(machine):
    before = free_frames(machine)
    machine.must('n=0; while [ $n -lt 10 ]; do pvn create hello.toml && pvn destroy hello || break; n=$((n + 1)); done; [ $n = 10 ]', 180)
    check(free_frames(machine) == before, 'creating and destroying domains lost frames')
    machine.must('pvn debug audit')


def test_bad_input(machine):
    before = free_frames(machine)
    cases = [
        ('kernel = "/boot/nothing"', r'pvn: cannot read /boot/nothing: No such file'),
        ('kernel = "/bin/busybox"', r'pvn: /bin/busybox: .*'),
        ('kernel = "/root/bad.toml"', r'pvn: /root/bad.toml: not an ELF file'),
        ('kernel = "/root/short"', r'pvn: /root/short: truncated'),
        ('kernel = "/boot/vmlinux"\nmemroy = "3M"', r'pvn: .*bad.toml:3: unknown key `memroy`'),
    ]
    machine.must('head -c 100000 /boot/vmlinux >/root/short')
    for text, expected in cases:
        lines = 'name = "bad"\n' + text + ('' if 'memroy' in text else '\nmemory = "64M"')
        machine.must('printf %s ' + shlex.quote(lines.replace('\n', '\\n')) + ' | xargs -0 printf >/root/bad.toml')
        output, code = machine.run('pvn create /root/bad.toml')
        check(code != 0 and re.search(expected, output), f'{text}: exit code {code}: {output}')
    machine.must('sed s/128M/8M/ hello.toml >/root/bad.toml')
    output, code = machine.run('pvn create /root/bad.toml')
    check(code != 0 and 'too little memory' in output, output)
    machine.must('sed s/128M/64G/ hello.toml >/root/bad.toml')
    output, code = machine.run('pvn create /root/bad.toml')
    check(code != 0 and 'pvn: cannot' in output, output)
    machine.must('pvn create hello.toml')
    output, code = machine.run('pvn create hello.toml')
    check(code != 0 and 'the name hello is taken' in output, output)
    machine.must('pvn destroy hello')
    output, code = machine.run('pvn destroy hello')
    check(code != 0 and 'there is no domain hello' in output, output)
    check(free_frames(machine) == before, 'a failed create lost frames')
    machine.must('pvn debug audit')


TESTS = [test_create_console_destroy, test_repeated, test_bad_input]
