/**
 * Debian's Linux with its disk, network device and random numbers on PCI: it finds them, mounts the disk as its root, and is
 * interrupted by MSI-X, one vector a queue; and by its interrupt lines when it is told to use no MSI.
 * Exit status: 0 when all is as it should be.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chooseKernel } from "../dist/index.js";
import { endAll } from "./programs.mjs";
import { boot, compare, fsck, makeRoot, onDisk, WRITE_AND_READ, writeInitramfs } from "./root-disk.mjs";

const MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "crc32c_generic", "ext4"];
const MEBIBYTES = 32;
const TAP = "vmm-pci0";
const MAC = "52:54:00:12:34:57";

const ABOUT_PCI = `
fact functions "$(cat /sys/bus/pci/devices/*/device | tr '\\n' ' ')"
fact disk-vectors "$(grep -c 'MSI.*virtio0-' /proc/interrupts)"
fact busy-disk-queues "$(awk '/virtio0-req/ && $2 + $3 > 0' /proc/interrupts | wc -l)"
fact lines "$(grep 'fasteoi.*virtio' /proc/interrupts | wc -l)"
fact random "$(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)"
fact mac "$(cat /sys/class/net/eth0/address)"
ip link set eth0 up
ip addr add 10.9.8.2/24 dev eth0
ping -c 3 -q 10.9.8.1 >/dev/null && fact ping answered
fact network-vectors "$(grep -c 'MSI.*virtio1-' /proc/interrupts)"
`;

const THROUGH_BOTH_QUEUES = `
for cpu in 1 2; do taskset $cpu dd if=/dev/vda of=/dev/null bs=4096 count=64 iflag=direct 2>/dev/null; done
`;

async function onPci(name, folder, kernel, initramfs, expected, ...more) {
  const image = join(folder, `${name}.raw`);
  makeRoot(folder, image, onDisk(`${WRITE_AND_READ(MEBIBYTES)}\n${THROUGH_BOTH_QUEUES}\n${ABOUT_PCI}`), 80);
  const devices = ["--bus", "pci", "--net", `tap,name=${TAP},mac=${MAC}`, "--rng", "--cpus", "2"];
  const guest = boot(name, kernel, initramfs, `${image},serial=pci-disk,queues=2`, ...devices, ...more);
  const status = await guest.done;
  const always = {
    root: "/dev/vda ext4",
    serial: "pci-disk",
    checksum: "same",
    "written-mib": String(MEBIBYTES),
    functions: "0x29c0 0x1042 0x1041 0x1044 0x2918 ",
    random: "64",
    mac: MAC,
    ping: "answered",
  };
  return [
    ...compare(name, guest, { ...always, ...expected }),
    ...(status === 0 ? [] : [`${name}: status ${status}`]),
    ...fsck(name, image),
  ];
}

const folder = mkdtempSync(join(tmpdir(), "linux-pci-"));
try {
  const kernel = chooseKernel({});
  const initramfs = join(folder, "root.cpio");
  writeInitramfs(initramfs, kernel, MODULES);
  execFileSync("ip", ["tuntap", "add", "mode", "tap", "name", TAP]);
  execFileSync("ip", ["addr", "add", "10.9.8.1/24", "dev", TAP]);
  execFileSync("ip", ["link", "set", TAP, "up"]);
  const vectors = { queues: "2", "disk-vectors": "3", "busy-disk-queues": "2", "network-vectors": "3", lines: "0" };
  const lines = { "disk-vectors": "0", "network-vectors": "0", lines: "3" };
  const withoutMsi = ["--append", "console=ttyS0 loglevel=4 pci=nomsi"];
  const faults = [
    ...(await onPci("msix", folder, kernel, initramfs, vectors)),
    ...(await onPci("nomsi", folder, kernel, initramfs, lines, ...withoutMsi)),
  ];
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
