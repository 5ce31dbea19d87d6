# SPDX-License-Identifier: MIT
"""The life of domains, by pvn."""
import json
import os
import re
import shlex
import subprocess

from machine import DEBUG, PROMPT, ROOT, check, free_frames

SLOW = 240  # seconds; only what never happens takes so long


def parsed(output):
    """The JSON that follows the echo of the command."""
    start = re.search(r'^[\[{]\n|^\[\]\n', output + '\n', re.M)
    check(start, f'no JSON in {output!r}')
    return json.loads(output[start.start():])


def domains(machine):
    return {d['name']: d for d in parsed(machine.must('pvn list --json', SLOW))}


def snapshot(machine):
    """What a command that failed must leave as it was: domains, free memory, files, processes."""
    listed = sorted((name, d['id'], d['uuid'], d['memory_bytes']) for name, d in domains(machine).items())
    files = machine.must('ls /run/pvn /var/log/pvn | grep -v "^store\\."').split('\n', 1)[1]
    nodes = [line for line in machine.must('pvn store ls -r -p').split('\n')[1:] if not re.match(r' *(local|domain) ', line)]
    keepers = machine.must('ps | grep -c "[p]vn-keeper"; true').split('\n')[-1]
    return listed, free_frames(machine), files, keepers, nodes


def toml(value):
    if isinstance(value, dict):
        return '{ ' + ', '.join(f'{key} = {toml(inner)}' for key, inner in value.items()) + ' }'
    if isinstance(value, list):
        return '[' + ', '.join(map(toml, value)) + ']'
    return json.dumps(value)


def describe(machine, file, **keys):
    """Writes a domain's description."""
    values = {'name': 'hello', 'kernel': '/boot/vmlinux', 'ramdisk': '/boot/hello.cpio.gz', 'cmdline': 'console=hvc0', 'memory': '160M' if DEBUG else '64M'} | keys
    machine.must(f'rm -f {file}')
    for key, value in values.items():
        if value is not None:
            machine.must(f'echo {shlex.quote(f"{key} = {toml(value)}")} >>{file}')


def refused(machine, command, pattern, code=1):
    output, got = machine.run(command, SLOW)
    check(got == code and re.search(pattern, output), f'`{command}`: exit code {got}, wanted {code} and {pattern!r}: {output}')
    lines = [line for line in output.split('\n') if line.startswith('pvn: ')]
    check(len(lines) == 1, f'`{command}` says more than one line: {output}')


def detach(machine):
    machine.send('\x1d')
    machine.expect(re.escape(PROMPT), SLOW)


def start_linux(machine, file, options=''):
    """Creates a domain and waits for its shell."""
    machine.send(f'pvn create -c {options} {file}\n')
    machine.expect(r'Paravane: domU ready', SLOW)
    machine.expect(r'domU # ', SLOW)
    detach(machine)


def test_create_console_destroy(machine):
    before = free_frames(machine)
    machine.must('pvn create hello.toml', SLOW)
    listing = machine.must('pvn list')
    check(re.search(r'^hello +\d+ +128 MiB', listing, re.M), listing)
    check(list(domains(machine)) == ['dom0', 'hello'], listing)
    machine.send('pvn console hello\n')
    machine.expect(r'Paravane: domU ready', SLOW)
    machine.expect(r'domU # ', SLOW)
    machine.send('echo "marco"-$((40 + 2)) on $(cat /sys/class/tty/console/active)\n')
    machine.expect(r'\nmarco-42 on hvc0\n', SLOW)
    detach(machine)
    # Who attaches later sees what was printed before.
    machine.send('pvn console hello\n')
    machine.expect(r'\nmarco-42 on hvc0\n', SLOW)
    detach(machine)
    machine.must('pvn debug audit')
    # What still traps is named by the kernel that the domain was made of, or that somebody gives.
    for traps in (parsed(machine.must(f'pvn traps --json {domain}')) for domain in ('hello', '-k /boot/vmlinux dom0')):
        check(traps and all(re.match(r'[\w.]+\+0x', trap['place']) and trap['instruction'] for trap in traps), f'{traps}')
    refused(machine, 'pvn traps -k /boot/hello.cpio.gz dom0', r'pvn: /boot/hello.cpio.gz: not a kernel')
    machine.must('pvn pause hello')
    check('paused' in machine.must('pvn info hello'), 'a paused domain does not show as paused')
    refused(machine, 'pvn pause hello', 'hello is paused already')
    refused(machine, 'pvn shutdown hello', 'hello is paused and cannot hear')
    machine.must('pvn unpause hello')
    refused(machine, 'pvn unpause hello', 'hello is not paused')
    machine.must('pvn destroy hello')
    check('hello' not in domains(machine), 'a destroyed domain is still listed')
    check(free_frames(machine) == before, 'destroying a domain did not give every frame back')
    machine.must('pvn debug audit')


def test_repeated(machine):
    machine.must('pvn create -p hello.toml && pvn destroy hello', SLOW)
    before = snapshot(machine)
    machine.must('n=0; while [ $n -lt 50 ]; do pvn create -p hello.toml && pvn destroy hello || break; n=$((n + 1)); done; [ $n = 50 ]', 1200)
    check(snapshot(machine) == before, 'creating and destroying domains left something behind')
    machine.must('pvn debug audit')


def test_bad_input(machine):
    before = snapshot(machine)
    machine.must('head -c 100000 /boot/vmlinux >/root/short; head -c 3000000 /boot/bzImage >/root/short_image; dd if=/dev/zero of=/root/zeros bs=4096 count=9 2>/dev/null')
    machine.must('gzip -c /bin/busybox >/root/packed; : >/root/nothing; head -c 20000 /boot/hello.cpio.gz >/root/cut.gz')
    kernels = [
        ('/boot/nothing', r'pvn: cannot read /boot/nothing: No such file'),
        ('/root/nothing', r'pvn: /root/nothing is empty'),
        ('/root', r'pvn: cannot read /root: it is a folder'),
        ('/dev/null', r'pvn: cannot read /dev/null: it is not a regular file'),
        ('/bin/busybox', r'pvn: /bin/busybox: no Paravane notes: not a kernel ported to Paravane'),
        ('/root/packed', r'pvn: /root/packed: no Paravane notes'),
        ('/root/zeros', r'pvn: /root/zeros: not a kernel'),
        ('/root/hello.toml', r'pvn: /root/hello.toml: not a kernel'),
        ('/root/short', r'pvn: /root/short: truncated'),
        ('/root/short_image', r'pvn: /root/short_image: truncated'),
        ('/boot/hello.cpio.gz', r'pvn: /boot/hello.cpio.gz: not a kernel: what is packed in it is no ELF file'),
        ('/root/cut.gz', r'pvn: /root/cut.gz: truncated'),
    ]
    for kernel, expected in kernels:
        describe(machine, 'bad.toml', kernel=kernel)
        refused(machine, 'pvn create bad.toml', expected)
        refused(machine, 'pvn create --dry-run bad.toml', expected)
    for keys, expected in [
        ({'memroy': '3M'}, r'bad.toml:6: unknown key `memroy` \(known: name, '),
        ({'memory': '3Q'}, r'bad.toml:5: `memory` is no size: `3Q`'),
        ({'memory': None}, r'bad.toml: the key `memory` is missing'),
        ({'name': '../x'}, r'bad.toml:1: `name` must be'),
        ({'on_crash': 'explode'}, r'bad.toml:6: `on_crash` must be'),
        ({'vcpus': 1000}, r'bad.toml:6: `vcpus` must be a number from 1 to 64'),
        ({'ramdisk': '/nowhere'}, r'cannot read /nowhere'),
        ({'memory': '4M'}, r'too little memory: 4 MiB, and the kernel and its ramdisk alone take'),
        ({'memory': '28M'}, r'too little memory'),
        ({'memory': '900G'}, r'hello needs 921600 MiB and the machine has \d+ MiB free: lower `memory`, or end another domain'),
    ]:
        describe(machine, 'bad.toml', **keys)
        refused(machine, 'pvn create bad.toml', expected)
    machine.must('echo "name = " >bad.toml')
    refused(machine, 'pvn create bad.toml', r'pvn: bad.toml:1: ')
    refused(machine, 'pvn create nowhere.toml', r'pvn: cannot read nowhere.toml')
    refused(machine, 'pvn', 'see `pvn --help`', 2)
    refused(machine, 'pvn creat', 'see `pvn --help`', 2)
    refused(machine, 'pvn create', 'see `pvn create --help`', 2)
    refused(machine, 'pvn sched dom0 --weight 0', 'see `pvn sched --help`', 2)
    refused(machine, 'pvn sched dom0 --warp 5', '`5` is no duration')
    refused(machine, 'pvn destroy dom0', 'dom0 cannot be destroyed')
    refused(machine, 'pvn console nobody', 'there is no domain nobody')
    check(snapshot(machine) == before, 'a refused create left something behind')
    machine.must('pvn create -p hello.toml', SLOW)
    with_hello = snapshot(machine)
    refused(machine, 'pvn create hello.toml', r'the name hello is taken by domain \d+ \(paused\)')
    check(snapshot(machine) == with_hello, 'a create under a taken name changed something')
    machine.must('pvn destroy hello')
    refused(machine, 'pvn destroy hello', 'there is no domain hello')
    check(snapshot(machine) == before, 'something was left behind')
    machine.must('pvn debug audit')


def test_interrupted_create(machine):
    """Ctrl-C and kill -9 at every step of a create: afterwards all is as before."""
    before = snapshot(machine)
    describe(machine, 'small.toml')
    for step in ['start', 'read', 'locked', 'checked', 'announced', 'created', 'populated', 'loaded', 'promoted', 'built', 'introduced', 'kept', 'done']:
        refused(machine, f'PVN_TEST_SIGNAL_AT={step}:2 pvn create small.toml', 'pvn: interrupted; nothing was left behind')
        check(snapshot(machine) == before, f'Ctrl-C at {step} left something behind')
        if step == 'done':
            continue  # then it is made, whatever becomes of pvn
        output, code = machine.run(f'PVN_TEST_SIGNAL_AT={step}:9 pvn create small.toml', SLOW)
        check(code == 137, f'{step}: exit code {code}: {output}')
        output = machine.must('pvn list', SLOW)  # whoever comes next puts it in order, and says so
        known = step in ('announced', 'created', 'populated', 'loaded', 'promoted', 'built', 'introduced', 'kept')
        check(('removed hello, which an interrupted pvn had left unfinished' in output) == known, f'{step}: {output}')
        check(snapshot(machine) == before, f'kill -9 at {step} left something behind')
    # A real Ctrl-C, from the terminal.
    for step in ('locked', 'created', 'populated', 'loaded'):
        machine.send('PVN_TRACE=1 pvn create small.toml\n')
        machine.expect(rf'ms {step}\n', SLOW)
        machine.send('\x03')
        machine.expect(re.escape(PROMPT), SLOW)
        machine.run('pvn destroy hello', SLOW)  # if it had been made already
        machine.must('rm -f /var/log/pvn/*')
        check(snapshot(machine)[:2] == before[:2], 'Ctrl-C left something behind')
    machine.must('pvn debug audit')


def test_bzimage(machine):
    describe(machine, 'big.toml', name='big', kernel='/boot/bzImage')
    start_linux(machine, 'big.toml')
    machine.must('pvn destroy big')


def test_shutdown_and_reboot(machine):
    before = free_frames(machine)
    start_linux(machine, 'hello.toml')
    first = domains(machine)['hello']
    machine.must('pvn sched hello --weight 300 --warp 5ms --warp-limit 20ms --unwarp 100ms')
    machine.must('pvn reboot hello --wait 200', SLOW)
    second = domains(machine)['hello']
    check(second['uuid'] != first['uuid'] and second['id'] != first['id'], 'the domain did not start again')
    check(second['weight'] == 300, 'the weight was lost by the reboot')
    scheduling = parsed(machine.must('pvn sched hello --json'))
    check((scheduling['warp_ns'], scheduling['warp_limit_ns'], scheduling['unwarp_ns']) == (5000000, 20000000, 100000000), str(scheduling))
    # The console's log goes on.
    machine.send('pvn console hello\n')
    machine.expect(r'\[pvn\] hello rebooted: restart\n', SLOW)
    machine.expect(r'\[pvn\] hello starts again, as domain \d+\n', SLOW)
    machine.expect(r'Paravane: domU ready', SLOW)
    machine.expect(r'domU # ', SLOW)
    detach(machine)
    # By the store: the guest takes the request away as it takes notice of it.
    machine.must(f'[ "$(pvn store read /local/domain/{second["id"]}/control/listens)" = power ]')
    machine.must(f'pvn store watch /local/domain/{second["id"]}/control/power >/tmp/power & echo $! >/tmp/watch')
    machine.must('pvn shutdown hello --wait 200', SLOW)
    check('hello' not in domains(machine), 'on_poweroff = destroy left the domain')
    machine.run('kill $(cat /tmp/watch)')
    machine.must('[ $(wc -l </tmp/power) -ge 3 ] || { cat /tmp/power; false; }')  # its begin, the request, and that it was taken
    check(free_frames(machine) == before, 'memory was lost')
    # Nobody listens in a guest that has just begun to boot; nobody is there who has ended.
    describe(machine, 'end.toml', name='end', kernel='/boot/guests/start', ramdisk=None, on_poweroff='preserve', memory='16M')
    machine.must('pvn create -p end.toml', SLOW)
    refused(machine, 'pvn shutdown end', 'end is paused and cannot hear')
    machine.must('pvn unpause end')
    wait_for_end(machine, 'end')
    check(domains(machine)['end']['reason'] == 'power_off', str(domains(machine)['end']))
    refused(machine, 'pvn reboot end', 'end has ended already \\(powered off\\)')
    machine.must('pvn destroy end')
    check(free_frames(machine) == before, 'memory was lost')


def wait_for_end(machine, name):
    """Until the keeper has said what becomes of it."""
    machine.send(f'pvn console {name}\n')
    machine.expect(rf'\[pvn\] {name} [^\n]*\n', SLOW)
    detach(machine)


def test_crash(machine):
    """A guest that crashes says why, and is handled as on_crash says."""
    before = free_frames(machine)
    # A panic of Linux: init ends.
    describe(machine, 'panic.toml', name='panic', cmdline='console=hvc0 rdinit=/bin/false')
    machine.must('pvn create panic.toml', SLOW)
    machine.send('pvn console panic\n')
    machine.expect(r'Kernel panic - not syncing: Attempted to kill init', SLOW)
    machine.expect(r'\[pvn\] panic crashed: preserve\n', SLOW)
    detach(machine)
    shown = domains(machine)['panic']
    check((shown['state'], shown['reason']) == ('crashed', 'crash'), str(shown))
    check(re.search(r'^ +rip [0-9a-f]{16} +rsp [0-9a-f]{16}', machine.must('pvn info panic'), re.M), 'pvn info shows no registers')
    check(len(parsed(machine.must('pvn info panic --json'))['registers']) == 1, 'no registers in JSON')
    refused(machine, 'pvn shutdown panic', 'panic has ended already')
    machine.must('pvn destroy panic')
    # Ended by Paravane: a trap without a stack.
    guest = {'kernel': '/boot/guests/hostile_stack_unmapped', 'ramdisk': None, 'memory': '16M'}
    describe(machine, 'lost.toml', name='lost', on_crash='preserve', **guest)
    machine.must('pvn create lost.toml', SLOW)
    wait_for_end(machine, 'lost')
    shown = domains(machine)['lost']
    check(shown['state'] == 'crashed' and shown['last_words'], str(shown))
    check(shown['last_words'] in machine.must('pvn list'), 'pvn list does not say why')
    machine.must('pvn destroy lost')
    describe(machine, 'lost.toml', name='lost', on_crash='destroy', **guest)
    machine.must('pvn create lost.toml', SLOW)
    machine.run('pvn console lost </dev/null', SLOW)  # ends with the domain
    check('lost' not in domains(machine), 'on_crash = destroy left the domain')
    check('lost crashed: ' in machine.must('cat /var/log/pvn/lost.console.log'), 'the log does not say why')
    describe(machine, 'lost.toml', name='lost', on_crash='restart', **guest)
    machine.must('pvn create lost.toml', SLOW)
    begin = machine.seen
    machine.send('pvn console lost\n')
    machine.expect(r'not restarted: it ended 6 times in a row', SLOW)
    # Lines of the hypervisor, which tells of each crash too, may stand in the middle of those of pvn.
    shown = re.sub(r'\n(?:\(pvn\) [^\n]*\n)+', '', machine.text[begin:machine.seen])
    restarts = len(re.findall(r'\[pvn\] lost crashed: [^\n]*?: restart', shown))
    check(restarts == 5, f'{restarts} restarts, not 5:\n{shown}')
    detach(machine)
    check(domains(machine)['lost']['state'] == 'crashed', 'a domain that always crashes is not left alone')
    machine.must('pvn destroy lost')
    check(free_frames(machine) == before, 'memory was lost')
    machine.must('pvn debug audit')


def test_keeper_killed(machine):
    before = free_frames(machine)
    start_linux(machine, 'hello.toml')
    machine.must('kill -9 $(pidof pvn-keeper || ps | grep "[p]vn-keeper" | awk "{ print \\$1 }")')
    check('the keeper of hello was gone; started another' in machine.must('pvn list'), 'nobody noticed')
    check('keeper' not in machine.must('pvn list').split('\n', 1)[1], 'it was started again and again')
    machine.send('pvn console hello\n')
    machine.send('\necho polo-$((40 + 3))\n')
    machine.expect(r'\npolo-43\n', SLOW)
    detach(machine)
    machine.must('pvn destroy hello')
    check(free_frames(machine) == before, 'memory was lost')


def shares(machine, cpus):
    """Domains with weights 1, 2 and 4 and work for all CPUs share 10 s of their time by these weights, within 3 %."""
    weights = {'light': 1, 'middle': 2, 'heavy': 4}
    for name, weight in weights.items():
        describe(machine, f'{name}.toml', name=name, weight=weight * 128, vcpus=cpus)
        machine.must(f'pvn create {name}.toml', SLOW)
    for name in weights:
        machine.send(f'pvn console {name}\n')
        machine.expect(r'domU # ', SLOW)
        machine.send('echo go; ' + 'while :; do :; done & ' * cpus + '\n')
        machine.expect(r'\ngo\n', SLOW)
        detach(machine)

    def times():
        now = domains(machine)
        return {name: now[name]['cpu_time_ns'] for name in weights}
    first = times()
    while sum((last := times()).values()) - sum(first.values()) < 10e9:
        pass
    ran = {name: last[name] - first[name] for name in weights}
    for name, weight in weights.items():
        share, fair = ran[name] / sum(ran.values()), weight / sum(weights.values())
        check(abs(share / fair - 1) < 0.03, f'{name} had {share:.4f} of the time, {fair:.4f} is fair: {ran}')
    machine.must('pvn destroy light && pvn destroy middle && pvn destroy heavy')


def test_weights(machine):
    shares(machine, 1)


def test_weights_on_two_cpus(machine):
    shares(machine, 2)


test_weights.smp = 1


def test_hostile_domus(machine):
    """Each hostile test guest as a domU: dom0 and a neighbour do not notice, and nothing is left."""
    start_linux(machine, 'hello.toml')
    machine.must('pvn debug audit')
    before = free_frames(machine)
    guests = machine.must('ls -1 /boot/guests').split('\n')[1:]
    hostile = [guest for guest in guests if guest.startswith('hostile_')]
    check(len(hostile) > 10, str(guests))
    for guest in hostile:
        describe(machine, 'bad.toml', name='bad', kernel=f'/boot/guests/{guest}', ramdisk=None, memory='16M', on_crash='destroy', on_reboot='destroy')
        machine.must('pvn create bad.toml', SLOW)
        machine.run('pvn console bad </dev/null', SLOW)  # ends with the domain
        check('bad' not in domains(machine), f'{guest} is still there')
        check(free_frames(machine) == before, f'{guest} left memory behind')
    machine.must('pvn debug audit', SLOW)
    machine.send('pvn console hello\n')
    machine.send('\necho alive-$((40 + 4))\n')
    machine.expect(r'\nalive-44\n', SLOW)
    detach(machine)
    machine.must('pvn destroy hello')
    check(not re.search(r'WARNING:|BUG:|Oops', machine.text), 'a kernel warned')


def test_completion_and_manual(_):
    """Completion names every command that pvn has; the manual pages are well-formed and name them too."""
    shown = subprocess.run(['build/toolstack/pvn', '--help'], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    section = shown.split('Subcommands:\n', 1)[1].split('\n\n', 1)[0]
    commands = sorted(re.findall(r'^  ([a-z]+) ', section, re.M))
    check(len(commands) > 10, shown)
    script = 'source toolstack/completion/pvn.bash; COMP_WORDS=(pvn ""); COMP_CWORD=1; _pvn; echo "${COMPREPLY[@]}"'
    completed = subprocess.run(['bash', '-c', script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    check(sorted(word for word in completed if not word.startswith('-')) == commands, f'completion {completed}, commands {commands}')
    manual = (ROOT / 'toolstack/man/pvn.1').read_text()
    for command in commands:
        check(re.search(rf'^\.B pvn {command}\b', manual, re.M), f'pvn(1) does not explain {command}')
    keys = re.findall(r'Key\{"(\w+)"', (ROOT / 'toolstack/lib/domain_config.cpp').read_text())
    description = (ROOT / 'toolstack/man/pvn.toml.5').read_text()
    for key in keys:
        check(re.search(rf'^\.B {key}$', description, re.M), f'pvn.toml(5) does not explain {key}')
    for page in ('pvn.1', 'pvn.toml.5'):
        result = subprocess.run(['man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', f'toolstack/man/{page}'], cwd=ROOT, capture_output=True, text=True,
                                timeout=60, env=os.environ | {'MANROFFSEQ': '', 'LC_ALL': 'C.UTF-8'})
        check(result.returncode == 0 and not result.stderr, f'{page}: {result.stderr}')


test_completion_and_manual.boots_itself = True


TESTS = [test_completion_and_manual, test_create_console_destroy, test_repeated, test_bad_input, test_interrupted_create, test_bzimage, test_shutdown_and_reboot,
         test_crash, test_keeper_killed, test_weights, test_weights_on_two_cpus, test_hostile_domus]
