# SPDX-License-Identifier: MIT
"""The rows of `make bench`: what each counts, what was promised, what Xen 4.17 takes; and the table they make."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    name: str          # as the program prints it
    text: str          # what one unit is
    target: float = 0  # domU against native, instructions; 0: none was set
    wall: float = 0    # the same by the wall
    xen: float = 0     # what Xen 4.17 PV has for it: instructions
    xen_wall: float = 0
    rate: str = ''  # 'kb': per KiB of a stream, 'op': per piece of it; not per operation
    base: str = ''  # what a domU is compared with, if that has another name elsewhere

    def key(self, clock, where):
        """Under which key the program's figures stand: the raw counter for instructions, the clock for time."""
        name = self.base if self.base and where != 'domu' else self.name
        if self.rate:
            return f'{name}.{"tick" if clock == "icount" else "ns"}_per_{self.rate}'
        return f'{name}.{"tmin" if clock == "icount" else "min"}'


# Xen's ratios: 4.17 PV domU against native, measured once with the same program on the same QEMU (docs/performance.md).
ROWS = [
    Row('null_syscall', 'system call that does nothing (getppid)', 1.15, 1.5, 2.83, 31.27),
    Row('read_zero_1b', 'read 1 byte from /dev/zero', 0, 0, 1.95, 21.07),
    Row('write_null_1b', 'write 1 byte to /dev/null', 0, 0, 2.08, 21.53),
    Row('stat', 'stat', 0, 0, 1.09, 4.15),
    Row('open_close', 'open + close', 0, 0, 1.13, 5.79),
    Row('gettimeofday', 'gettimeofday (vDSO)', 1.05, 0, 11.27, 218.37),
    Row('clock_gettime_syscall', 'clock_gettime as a system call', 0, 0, 2.49, 31.81),
    Row('sig_install', 'sigaction', 0, 0, 2.21, 22.22),
    Row('sig_handle', 'signal to oneself, handled', 1.15, 0, 1.35, 6.88),
    Row('prot_fault', 'protection fault, handled (SIGSEGV)', 1.15, 0, 1.40, 6.64),
    Row('mprotect', 'mprotect of one touched page', 0, 0, 1.47, 5.73),
    Row('mmap_munmap_4m', 'mmap + munmap 4 MiB, untouched', 0, 0, 1.32, 4.16),
    Row('mmap_touch_page', 'mmap + touch + munmap, per page', 1.3, 0, 1.68, 4.87),
    Row('fault_anon', 'page fault, anonymous', 1.2, 2.5, 1.47, 4.77),
    Row('fault_anon_single', 'page fault, anonymous, going downwards'),
    Row('fault_file_write', 'page fault, shared file write', 1.5, 2.5, 2.38, 9.96),
    Row('fault_file_read_page', 'file read fault, per page', 1.6, 2.5, 3.04, 6.20),
    Row('pipe_self', 'pipe write + read, one process', 0, 0, 1.56, 14.25),
    Row('ctx_2p_0k_hop', 'pipe ping-pong of 2 processes, one hop', 1.25, 2, 2.04, 3.29),
    Row('ctx_8p_16k_hop', 'ring of 8 processes with 16 KiB, one hop', 0, 0, 1.32, 3.05),
    Row('fork_exit', 'fork + exit', 1.6, 2.2, 3.03, 3.35),
    Row('fork_exec', 'fork + execve of a tiny program', 1.7, 0, 3.18, 3.06),
    Row('sh_c', 'sh -c tiny', 0, 0, 2.74, 3.68),
    Row('tcp_lo_pp', 'TCP by loopback, round trip of 1 byte', 0, 0, 1.36, 2.30),
    Row('tcp_lo_send', 'TCP by loopback, send, per KiB', rate='kb'),
    Row('tcp_lo_recv', 'TCP by loopback, receive, per KiB', rate='kb'),
    Row('tcp_vif_pp', 'TCP with dom0 (loopback), 1 byte there and back', 1.8, 0, 2.83, 6.46, base='tcp_lo_pp'),
    Row('tcp_vif_send', 'TCP to dom0 (loopback), per KiB', 1.5, 0, 2.16, 2.20, rate='kb', base='tcp_lo_send'),
    Row('tcp_vif_recv', 'TCP from dom0 (loopback), per KiB', 1.3, 0, 1.57, 2.52, rate='kb', base='tcp_lo_recv'),
    Row('disk_128k', 'RAM disk, reads of 128 KiB, per KiB', 2.5, 0, 7.17, 17.90, rate='kb'),
    Row('disk_4k', 'RAM disk, read of 4 KiB', 5, 0, 17.24, 100.52, rate='op'),
    # By the wall only: QEMU's clock of instructions jumps while its disk is waited for.
    Row('qemu_disk_read', "QEMU's disk, reads of 128 KiB, per KiB", 0, 1 / 0.3, 0, 10.74, rate='kb'),
    Row('qemu_disk_write', "QEMU's disk, writes of 128 KiB, per KiB", 0, 1 / 0.3, rate='kb'),
    Row('qemu_disk_random', "QEMU's disk, 4 KiB at random, 32 at once", 0, 1 / 0.25, rate='op'),
    Row('memcpy_64m_per_mb', 'memcpy, per MiB', 1.01, 0, 1.00, 1.07),
    Row('wordcopy_64m_per_mb', 'copy by words, per MiB', 1.01, 0, 1.00, 1.08),
    Row('sha256_per_kb', 'SHA-256, per KiB', 1.01, 0, 1.00, 1.07),
]


def figure(value):
    return f'{value:.0f}' if value >= 1000 else f'{value:.1f}'


def render(clock, results, rows):
    """A table of text.  `results`: native, dom0, domu -> key -> value.  A row that misses its target ends in `missed`."""
    unit = 'instructions' if clock == 'icount' else 'ns of wall time'
    lines = [f'\n{unit:<42}{"native":>10}{"dom0":>10}{"domU":>10}{"dom0/nat":>10}{"domU/nat":>10}{"target":>8}{"Xen 4.17":>10}{"switches":>10}']
    for row in rows:
        keys = {where: row.key(clock, where) for where in ('native', 'dom0', 'domu')}
        if any(key not in results[where] for where, key in keys.items()):
            continue
        native, dom0, domu = (results[where][key] for where, key in keys.items())
        target, xen = (row.target, row.xen) if clock == 'icount' else (row.wall, row.xen_wall)
        ratio = domu / native
        switches = results['dom0'].get(f'{row.name}.switches')
        lines.append(f'{row.text:<42}{figure(native):>10}{figure(dom0):>10}{figure(domu):>10}{dom0 / native:>10.2f}{ratio:>10.2f}'
                     f'{f"{target:.2f}" if target else "":>8}{f"{xen:.2f}" if xen else "":>10}{"" if switches is None else f"{switches:.2f}":>10}'
                     f'{"  missed" if target and ratio > target + 0.005 else ""}')
    lines.append('switches: how often dom0 went to the hypervisor\'s address space in the operation')
    return '\n'.join(lines)


def render_costs(costs):
    """`costs`: hypercall -> instructions."""
    lines = [f'\n{"hypercalls: instructions, there and back":<42}{"":>10}']
    return '\n'.join(lines + [f'{name:<42}{cost:>10}' for name, cost in costs.items()])


def render_latencies(latencies):
    """`latencies`: scheduler -> (median, 99 %) in ns."""
    lines = [f'\n{"a warped domU wakes beside two busy ones":<42}{"median us":>10}{"99 % us":>10}']
    return '\n'.join(lines + [f'{sched:<42}{median / 1000:>10.0f}{most / 1000:>10.0f}' for sched, (median, most) in latencies.items()])
