# SPDX-License-Identifier: MIT
"""dom0 drives real devices with Linux's own drivers: disks, network cards and their interrupts, on both of QEMU's machines; how the
machine is switched off, and which CPUs will do."""
import contextlib
import hashlib
import http.server
import os
import re
import threading

from machine import LOGS, Machine, check

MIB = 1 << 20
DISKS = {'sda': 'ahci', 'vda': 'virtio'}       # Linux's name, the driver's name in /proc/interrupts
CARDS = {'e1000': '10.0.2', 'virtio-net-pci': '10.0.3'}  # QEMU's name, the network it is on


def sum_of(data):
    return hashlib.sha256(data).hexdigest()


def interrupts(machine):
    """What /proc/interrupts says of each device: {device: (chip, count on all CPUs)}."""
    found = {}
    for line in machine.must('cat /proc/interrupts').splitlines():
        if match := re.match(r' *\d+:((?: +\d+)+) +(\D\S*) +\S+ +(.+)$', line):
            for device in match[3].split(', '):
                found[device] = match[2], sum(map(int, match[1].split()))
    return found


def check_interrupts(before, after, device, chip):
    """The device's interrupts come by `chip`, and came in between."""
    rose = [name for name in after if name.startswith(device) and after[name][1] > before.get(name, ('', 0))[1]]
    check(rose, f'{device} raised no interrupt: {before} {after}')
    check(all(re.search(chip, after[name][0]) for name in rose), f'{device} does not interrupt by {chip}: {after}')


@contextlib.contextmanager
def web_server(content):
    """A server on this host for one file; what is posted to it ends up in `posted`."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(content)

        def do_POST(self):
            server.posted.append(self.rfile.read(int(self.headers['Content-Length'])))
            self.answer(b'')

        def answer(self, body):
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.posted = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def disk_carries_data(machine, disk, image, chip):
    """Written, flushed and read back through dom0; and what the image file holds at the end."""
    before = interrupts(machine)
    machine.must('head -c 8m /dev/urandom >/tmp/pattern')
    machine.must(f'dd if=/tmp/pattern of=/dev/{disk} bs=64k conv=fsync && sync && echo 3 >/proc/sys/vm/drop_caches')
    written, read = re.findall(r'\b([0-9a-f]{64})\b', machine.must(f'sha256sum /tmp/pattern; dd if=/dev/{disk} bs=64k count=128 | sha256sum'))
    check(written == read, f'{disk}: wrote {written}, read {read}')
    with open(image, 'rb') as file:
        check(sum_of(file.read(8 * MIB)) == written, f'{disk}: the disk holds something else than was written')
    check_interrupts(before, interrupts(machine), DISKS[disk], chip)


def card_carries_data(machine, interface, card, content, chip):
    """Fetches a file by UDP and by TCP, and sends one."""
    network = CARDS[card]
    before = interrupts(machine)
    machine.must(f'ifconfig {interface} {network}.15 up')
    machine.must(f'tftp -g -b 1400 -r content -l /tmp/udp {network}.2')
    with web_server(content) as server:
        url = f'http://{network}.2:{server.server_port}/'
        machine.must(f'wget -q -O /tmp/tcp {url}')
        fetched = re.findall(r'\b([0-9a-f]{64})\b', machine.must('sha256sum /tmp/udp /tmp/tcp'))
        check(fetched == [sum_of(content)] * 2, f'{interface}: the files fetched by UDP and TCP have the sums {fetched}')
        machine.must(f'wget -q -O /dev/null --post-file /tmp/tcp {url}')
        check(server.posted == [content], f'{interface}: the file sent by TCP arrived changed')
    check_interrupts(before, interrupts(machine), 'virtio' if 'virtio' in card else interface, chip)
    machine.must(f'ifconfig {interface} down')


def devices(kind, msi):
    name = f'devices_{kind}_{"msi" if msi else "intx"}'
    LOGS.mkdir(parents=True, exist_ok=True)
    images = {disk: LOGS / f'{name}.{disk}' for disk in DISKS}
    for image in images.values():
        image.write_bytes(b'')
        os.truncate(image, 64 * MIB)
    share = LOGS / f'{name}.share'
    share.mkdir(exist_ok=True)
    content = os.urandom(MIB).hex().encode()  # busybox posts text: no zero bytes
    (share / 'content').write_bytes(content)

    arguments = ['-M', kind, '-nodefaults', '-device', 'ahci,id=ahci']
    for disk, device in ('sda', 'ide-hd,bus=ahci.0'), ('vda', 'virtio-blk-pci'):
        arguments += ['-drive', f'if=none,id={disk},format=raw,file={images[disk]}', '-device', f'{device},drive={disk}']
    for card, network in CARDS.items():
        arguments += ['-netdev', f'user,id={card},net={network}.0/24,tftp={share}', '-device', f'{card},netdev={card}']
    with Machine(name, cmdline='console=hvc0' + ('' if msi else ' pci=nomsi'), devices=arguments) as machine:
        machine.boot()
        message = 'msi' if msi else 'gsi'
        for disk, image in images.items():
            disk_carries_data(machine, disk, image, message)
        for card in CARDS:
            driver = 'virtio_net' if 'virtio' in card else card
            interface = re.search(rf'^(\S+) {driver}$', machine.must(
                'for i in /sys/class/net/*/device/driver; do echo $(echo $i | cut -d/ -f5) $(basename $(readlink $i)); done'), re.M)
            check(interface, f'no network interface is driven by {driver}')
            # QEMU's e1000 has no MSI.
            card_carries_data(machine, interface[1], card, content, message if 'virtio' in card else 'gsi')
        machine.must('pvn debug audit')
    for image in images.values():
        image.unlink()


def test_devices_q35_msi(_):
    devices('q35', True)


def test_devices_q35_intx(_):
    devices('q35', False)


def test_devices_pc_msi(_):
    devices('pc', True)


def test_devices_pc_intx(_):
    devices('pc', False)


def test_reboot_and_power_off(_):
    """A machine that may reboot: `reboot` brings it up again, and only `poweroff` ends it, by ACPI."""
    with Machine('reboot_and_power_off', may_reboot=True) as machine:
        machine.boot()
        machine.send('reboot -f\n')
        machine.boot()
        machine.send('dmesg -n 8; poweroff -f\n')
        check(machine.expect_end(60) == 0 and 'Preparing to enter system sleep state S5' in machine.text, 'ACPI did not end the machine')


def test_cpu_without_smap(_):
    with Machine('cpu_without_smap', cpu='max,smap=off,smep=off') as machine:
        machine.boot()
        check(not re.search(r'\bsm[ae]p\b', machine.must('grep -m1 ^flags /proc/cpuinfo')), 'the CPU has SMAP or SMEP all the same')


def test_cpu_without_fsgsbase(_):
    """Refused, with a line that says why."""
    with Machine('cpu_without_fsgsbase', cpu='qemu64') as machine:
        machine.expect(r'this CPU has no FSGSBASE, which Paravane needs')


TESTS = [test_devices_q35_msi, test_devices_q35_intx, test_devices_pc_msi, test_devices_pc_intx, test_reboot_and_power_off,
         test_cpu_without_smap, test_cpu_without_fsgsbase]
for test in TESTS:
    test.boots_itself = True
