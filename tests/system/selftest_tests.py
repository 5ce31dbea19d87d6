# SPDX-License-Identifier: MIT
"""The kernel's own x86 selftests: what they say natively they must say in dom0 and in a domU.

They try what a paravirtual kernel gets wrong first: odd ways into the kernel and out of it, segments, ports, single steps.  The same
kernel image runs them in all three places.
"""
import re

from machine import Failure, Machine, check

# With SMAP on, QEMU 7.2 breaks two of them even natively (CAVEATS.md).
CPU = 'max,smap=off'

# These must pass natively, or the comparison would say nothing.
EXPECTED = """sigreturn_64 single_step_syscall_64 syscall_nt_64 ptrace_syscall_64 fsgsbase_64 fsgsbase_restore_64 ldt_gdt_64 iopl_64 ioperm_64
syscall_arg_fault_64 test_vsyscall_64 sysret_rip_64 sysret_ss_attrs_64 check_initial_reg_state_64 syscall_numbering_64 sigaltstack_64
sigreturn_32 single_step_syscall_32 syscall_nt_32 ptrace_syscall_32 fsgsbase_restore_32 ldt_gdt_32 iopl_32 ioperm_32 mov_ss_trap_32
syscall_arg_fault_32 test_syscall_vdso_32 test_vsyscall_32 sysret_ss_attrs_32 check_initial_reg_state_32 unwind_vdso_32 vdso_restorer_32""".split()


def results(machine, timeout):
    """Of each test: its exit code, and its lines that tell of a failure or of something skipped, without numbers."""
    start = machine.seen
    machine.expect(r'selftests: end', timeout)
    found = {}
    for match in re.finditer(r'^selftest (\S+)\n(.*?)^selftest \1: exit (\d+)$', machine.text[start:], re.S | re.M):
        lines = [line.strip() for line in match[2].splitlines() if re.search(r'\[(FAIL|SKIP)\]|^not ok|# SKIP', line)]
        found[match[1]] = int(match[3]), [re.sub(r'0x[0-9a-f]+|\d+', 'N', line) for line in lines]
    return found


def native():
    """What there is to compare with.  A native kernel faults for ever in one boot of some twenty, without any of Paravane (CAVEATS.md): another one then."""
    boot = ['-kernel', 'build/bzImage', '-append', 'console=ttyS0 quiet', '-initrd', 'build/selftests.cpio.gz']
    for last in False, False, True:
        with Machine('selftests-native', memory=512, boot=boot, cpu=CPU, smp=1) as machine:
            try:
                return results(machine, 240)
            except Failure:
                if last:
                    raise


def dom0():
    with Machine('selftests-dom0', cmdline='console=hvc0 quiet', initrd='build/selftests.cpio.gz', cpu=CPU, smp=1) as machine:
        return results(machine, 900)


def domu():
    with Machine('selftests-domu', initrd='build/selftests-dom0.cpio.gz', cpu=CPU, smp=1) as machine:
        machine.boot()
        machine.must("sed -e 's/hello/selftests/' -e 's/128M/256M/' -e 's/console=hvc0/& quiet/' hello.toml >selftests.toml")
        machine.must('pvn create selftests.toml', 60)
        machine.send('pvn console selftests\n')
        return results(machine, 1200)


# These fail or skip something more than natively, but end with the same code; CAVEATS.md has the reasons.
NO_16_BIT_SEGMENTS = 'sigreturn_32', 'sigreturn_64'
NO_SYSENTER = 'syscall_arg_fault_32',
EXCUSED = NO_16_BIT_SEGMENTS + NO_SYSENTER


def test_selftests(_):
    wanted = native()
    failing = [name for name in EXPECTED if wanted.get(name, (None,))[0] != 0]
    check(not failing, f'these do not pass natively: {" ".join(failing)}')
    differences = []
    for where, run in ('dom0', dom0), ('domU', domu):
        got = run()
        for name, result in wanted.items():
            there = got.get(name)
            if there != result and not (name in EXCUSED and there is not None and there[0] == result[0]):
                differences.append(f'{name} in {where}: {there}, natively {result}')
    check(not differences, f'{len(differences)} selftests differ: ' + '; '.join(differences))


test_selftests.boots_itself = True


TESTS = [test_selftests]
