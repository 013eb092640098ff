/**
 * Debian's Linux with its disk, network device and random numbers on PCI: it finds them, mounts the disk as its root, and is
 * interrupted by MSI-X, one vector a queue.
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
fact quiet-disk-queues "$(awk '/virtio0-req/ && $2 + $3 == 0' /proc/interrupts | wc -l)"
fact random "$(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)"
fact mac "$(cat /sys/class/net/eth0/address)"
ip link set eth0 up
ip addr add 10.9.8.2/24 dev eth0
ping -c 3 -q 10.9.8.1 >/dev/null && fact ping answered
fact network-vectors "$(grep -c 'MSI.*virtio1-' /proc/interrupts)"
`;

const folder = mkdtempSync(join(tmpdir(), "linux-pci-"));
try {
  const kernel = chooseKernel({});
  const initramfs = join(folder, "root.cpio");
  writeInitramfs(initramfs, kernel, MODULES);
  const image = join(folder, "disk.raw");
  makeRoot(folder, image, onDisk(`${WRITE_AND_READ(MEBIBYTES)}\n${ABOUT_PCI}`), 80);
  execFileSync("ip", ["tuntap", "add", "mode", "tap", "name", TAP]);
  execFileSync("ip", ["addr", "add", "10.9.8.1/24", "dev", TAP]);
  execFileSync("ip", ["link", "set", TAP, "up"]);
  const devices = ["--bus", "pci", "--net", `tap,name=${TAP},mac=${MAC}`, "--rng", "--cpus", "2"];
  const guest = boot("msix", kernel, initramfs, `${image},serial=pci-disk,queues=2`, ...devices);
  const status = await guest.done;
  const expected = {
    root: "/dev/vda ext4",
    serial: "pci-disk",
    queues: "2",
    checksum: "same",
    "written-mib": String(MEBIBYTES),
    functions: "0x29c0 0x1042 0x1041 0x1044 0x2918 ",
    "disk-vectors": "3",
    "quiet-disk-queues": "0",
    random: "64",
    mac: MAC,
    ping: "answered",
    "network-vectors": "3",
  };
  const faults = [
    ...compare("msix", guest, expected),
    ...(status === 0 ? [] : [`msix: status ${status}`]),
    ...fsck("msix", image),
  ];
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
