# SPDX-License-Identifier: MIT
"""Test guests on Bochs: an emulator of its own make, whose CPUs have PCIDs, which QEMU's TCG has not.

Paravane is started by GRUB from an ISO, as on a real machine.  Bochs wants a terminal for its screen, and Debian's build of it
waits in its debugger for the command to go on.
"""
import os
import pty
import subprocess

CONFIGURATION = """\
config_interface: textconfig
display_library: term
vga: extension=none
cpu: model={model}, count={cpus}, ips=20000000, reset_on_triple_fault=0
megs: {memory}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
log: {log}
panic: action=fatal
error: action=report
info: action=ignore
"""


class Machine:
    """`serial` is a file descriptor with what comes from the serial port; `process` Bochs."""

    def __init__(self, root, folder, image, options, modules, model, cpus, memory):
        folder.mkdir(parents=True, exist_ok=True)
        iso, serial = folder / 'boot.iso', folder / 'serial'
        kernel, *others = modules
        path, _, cmdline = kernel.partition(' ')
        subprocess.run([root / '.make' / 'iso', iso, image, options, cmdline, path, *others], cwd=root, check=True,
                       env={**os.environ, 'ISO_PROTOCOL': 'multiboot'})
        (folder / 'bochsrc').write_text(CONFIGURATION.format(model=model, cpus=cpus, memory=memory, iso=iso, serial=serial, log=folder / 'log'))
        (folder / 'debugger').write_text('c\n')
        serial.unlink(missing_ok=True)
        os.mkfifo(serial)
        self.serial = os.open(serial, os.O_RDONLY | os.O_NONBLOCK)
        # Not the end of the file before Bochs has opened it.
        self.keep_open = os.open(serial, os.O_WRONLY)
        self.screen, terminal = pty.openpty()
        self.process = subprocess.Popen(['bochs', '-q', '-f', folder / 'bochsrc', '-rc', folder / 'debugger'], cwd=folder, stdin=terminal,
                                        stdout=terminal, stderr=terminal, env={**os.environ, 'TERM': 'xterm'}, start_new_session=True)
        os.close(terminal)

    def drain_screen(self):
        """What it draws is not looked at, but has to go somewhere.  False when Bochs has ended."""
        try:
            return bool(os.read(self.screen, 65536))
        except OSError:
            return False

    def close(self):
        for descriptor in (self.serial, self.keep_open, self.screen):
            os.close(descriptor)
