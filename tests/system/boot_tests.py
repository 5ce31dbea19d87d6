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


def test_debian_disk(_):
    """What `make run` boots: Debian on a disk, which starts domains, one of them Debian on a disk, too; `poweroff` brings each to an end."""
    with Machine('debian_disk', boot=['-kernel', 'build/paravane', '-append', 'debug_exit', '-initrd', 'build/vmlinux console=hvc0 root=/dev/vda rw'],
                 devices=['-drive', 'file=build/debian.img,format=raw,if=virtio,snapshot=on', '-drive', 'file=build/domu.img,format=raw,if=virtio,snapshot=on',
                          '-nic', 'user,model=virtio-net-pci'],
                 prompt='root@dom0:~# ') as machine:
        machine.expect(re.escape(machine.prompt), 180)
        check(re.search(r'^dom0 +0 .* running$', machine.must('pvn list'), re.M), 'dom0 is not listed')
        machine.must('pvn create hello.toml', 60)
        check(re.search(r'^hello +\d+ .*$', machine.must('pvn list'), re.M), 'hello is not listed')
        machine.send('pvn console hello\n')
        machine.expect(r'Paravane: domU ready', 60)
        machine.send('\x1d')
        machine.expect(re.escape(machine.prompt))
        machine.must('pvn destroy hello')
        machine.send('pvn create -c debian.toml\n')
        machine.expect(r'root@debian:~# ', 180)
        # A tree of files, through the disk and by the network to dom0.
        machine.send('cp -a /usr /var/copy && sync && echo 3 >/proc/sys/vm/drop_caches && diff -r --no-dereference /usr /var/copy && busybox ping -c 2 10.1.0.1 && echo "copied"-well\n')
        machine.expect(r'\ncopied-well', 240)
        machine.send('(cd /usr && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)\n')
        inside = machine.expect(r'\n([0-9a-f]{64})  -', 240)[1]
        machine.send('\x1d')
        machine.expect(re.escape(machine.prompt))
        check(' 0% packet loss' in machine.must('busybox ping -c 1 10.1.0.2 || ping -c 1 10.1.0.2'), 'the domain does not answer')
        check(inside in machine.must('(cd /usr && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)', 240), 'a file of the domain is not what dom0 has')
        machine.must('pvn shutdown debian --wait 60', 90)
        check('debian is going down' in machine.must('cat /var/log/pvn/debian.console.log'), 'the domain did not end in order')
        machine.send('poweroff\n')
        machine.expect_end(60)
        check('dom0 is going down' in machine.text and 're-mounted' in machine.text, 'dom0 did not end in order')


test_debian_disk.boots_itself = True


TESTS = [test_grub_iso, test_dom0_boots, test_debian_disk]
