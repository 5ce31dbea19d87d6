# SPDX-License-Identifier: MIT
"""How the machine comes up."""
import re

from machine import Machine, check


def test_dom0_boots(machine):
    check('Paravane' in machine.must('dmesg | grep -i "paravirtualized kernel"'), 'the kernel does not know that it runs on Paravane')
    check(not re.search(r'WARNING:|BUG:|Oops', machine.text), 'the kernel warned while it booted')
    listing = machine.must('pvn list')
    check(re.search(r'^dom0 +0 .* running$', listing, re.M), listing)


def test_grub_iso(_):
    """GRUB boots the hypervisor by multiboot2, from an ISO with a test guest."""
    with Machine('grub', memory=256, boot=['-cdrom', 'build/paravane.iso']) as machine:
        machine.expect(r'PASS: start', 60)


test_grub_iso.boots_itself = True


TESTS = [test_grub_iso, test_dom0_boots]
