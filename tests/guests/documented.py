# SPDX-License-Identifier: MIT
"""The errors that docs/abi promises, call by call, and those that the test guests have met: so that none is written down and never tried, or tried and not written down.
And the calls whose time without interrupts was measured: so that none is left out.

A page documents the calls of its family.  An error is one of its call if it stands in the call's row of a table, or in the text or a table below a heading that
names the call; below a heading that names several, text is about all of them, and a row about its own.  What a page says once for all of its calls is in SAID_ONCE.
"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ABI = ROOT / 'docs' / 'abi'
HEADERS = ROOT / 'hypercall-abi' / 'include' / 'paravane'

# What the first words of a call's arguments mean for its errors, by page.
SAID_ONCE = {'event': {'a0 port': {'INVALID', 'NOT_FOUND'}},
             'domain': {'a0 domain': {'NOT_FOUND'}, 'a0 other': {'NOT_FOUND', 'DENIED'}}}

# No guest can meet these, or only by chance.
NOT_MET = {
    ('PVN_MMU_QUEUE', 'NO_SPACE'): 'a counter of 2^31 and more; host test `frames`',
    ('PVN_MMU_SET_ROOT', 'NO_SPACE'): 'likewise',
    ('PVN_DOMAIN_SET_CONTEXT', 'NO_SPACE'): 'likewise',
    ('PVN_EVENT_BIND_IRQ', 'BUSY'): 'dom0 alone may bind one, and is told EXISTS',
}

# What this one meets it meets by chance: it does not count, but it must be documented.  (hostile_fuzz lists nothing: its calls write where they like, to the list too.)
BY_CHANCE = {'hostile_races'}

# It does not return: neither without an error, nor in a time that could be measured.
NO_RETURN = 'PVN_SCHED_SHUTDOWN'

MET = re.compile(r'\bmet ([0-9a-f]{3}) ([0-9a-f]{3})$')
MEASURED = re.compile(r'\blatency ([0-9a-f]{3}) \d+ ')


def numbers(header, pattern):
    return {name: int(value, 0) for name, value in re.findall(rf'^#define {pattern}\b', (HEADERS / header).read_text(), re.M)}


CALLS = numbers('hypercall.h', r'(PVN_\w+)\s+(0x[0-9a-f]{3})') | numbers('grant.h', r'(PVN_\w+)\s+(0x[0-9a-f]{3})')
ERRORS = numbers('errors.h', r'PVN_E_(\w+)\s+(\d+)')


def errors_in(text):
    return {name for name in re.findall(r'`([A-Z_]+)`', text) if name in ERRORS}


def documented_on(page):
    """{call: errors} of one page."""
    found = {}
    text = page.read_text()
    all_privileged = re.search(r'^All privileged', text, re.M) is not None
    section, header = [], None

    def add(call, errors, privileged):
        found.setdefault(call, set()).update(errors | ({'DENIED'} if privileged or all_privileged else set()))

    for line in text.splitlines():
        if line.startswith('#'):
            section, header = [name for name in re.findall(r'PVN_[A-Z_]+', line) if name in CALLS], None
            for call in section:
                add(call, set(), 'privileged' in line)
        elif not line.startswith('|'):
            header = None
            for call in section:
                add(call, errors_in(line), False)
        elif header is None:
            header = [cell.strip() for cell in line.strip('|').split('|')]
        elif not line.startswith('| ---'):
            cells = dict(zip(header, (cell.strip() for cell in line.strip('|').split('|'))))
            errors = errors_in(' '.join(text for name, text in cells.items() if name.startswith('errors')))
            for first_words, more in SAID_ONCE.get(page.stem, {}).items():
                errors |= more if re.match(rf'{first_words}\b', cells.get('arguments', '')) else set()
            own = f'PVN_{page.stem.upper()}_' + ''.join(re.findall(r'^`([A-Z_0-9]+)`', next(iter(cells.values()))))
            for call in section if len(section) == 1 else [own] if own in CALLS else []:
                add(call, errors, 'privileged' in next(iter(cells.values())))
    return found


def documented():
    """{(call, error)} of all pages; and the calls that no page has."""
    calls = {}
    for page in sorted(ABI.glob('*.md')):
        for call, errors in documented_on(page).items():
            calls.setdefault(call, set()).update(errors)
    return {(call, error) for call, errors in calls.items() for error in errors}, sorted(CALLS.keys() - calls.keys())


def met_in(lines):
    """{(call, error)} that a guest has said it met, when it passed; error None: there was none."""
    calls, errors = ({number: name for name, number in table.items()} for table in (CALLS, ERRORS))
    errors[0] = None
    pairs = ((int(match[1], 16), int(match[2], 16)) for line in lines if (match := MET.search(line.strip())))
    return {(calls[call], errors[error]) for call, error in pairs if call in calls and error in errors}


def measured_in(lines):
    """The calls that a guest has measured."""
    calls = {number: name for name, number in CALLS.items()}
    return {calls.get(int(match[1], 16)) for line in lines if (match := MEASURED.search(line))}


def unmeasured(measured):
    """What is wrong, a line each."""
    return [f'{call}: nothing says how long it keeps interrupts off' for call in sorted(CALLS.keys() - measured - {NO_RETURN})]


def shortcomings(met, met_by_chance):
    """What is wrong, a line each: a call that no guest made without an error or that no page has, an error that is documented and was not met, or the reverse."""
    promised, undocumented = documented()
    succeeded = {call for call, error in met if error is None}
    any_met = {(call, error) for call, error in met | met_by_chance if error is not None}
    return ([f'{call}: no guest made it without an error' for call in sorted(CALLS.keys() - succeeded - {NO_RETURN})] +
            [f'docs/abi has nothing of {call}' for call in undocumented] +
            [f'{call}: no guest met {error}' for call, error in sorted(promised - met - NOT_MET.keys())] +
            [f'{call}: a guest met {error}, which docs/abi has not' for call, error in sorted(any_met - promised)] +
            [f'{call}: {error} is not documented; documented.py says that it need not be met' for call, error in sorted(NOT_MET.keys() - promised)])
