/**
 * Firmware with virtio devices on PCI, whose windows it places. SeaBIOS boots Debian's Linux, which has its root there and
 * restarts the machine once; OVMF's shell starts Linux, as an EFI program, from a disk, with an initial ramdisk from there.
 *
 *   node linux-pci-firmware.mjs seabios|ovmf
 *
 * Exit status: 0 when all is as it should be, 77 when the firmware is not installed.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildInitramfs, chooseKernel } from "../dist/index.js";
import { writeFatImage } from "./fat-image.mjs";
import { endAll, start, until } from "./programs.mjs";
import { boot, compare, fsck, makeRoot, onDisk, WRITE_AND_READ, writeInitramfs } from "./root-disk.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const FIRMWARE = {
  seabios: { file: "/usr/share/seabios/bios-256k.bin", test: bySeabios },
  ovmf: { file: "/usr/share/OVMF/OVMF_CODE_4M.fd", test: byOvmf },
};
const MODULES = ["virtio_pci", "virtio_blk", "virtio_rng", "crc32c_generic", "ext4"];
const MEBIBYTES = 16;

const ABOUT_PCI = `
fact functions "$(cat /sys/bus/pci/devices/*/device | tr '\\n' ' ')"
fact windows-where-they-were "$(awk '/c0000000|c0008000/' /proc/iomem | grep -c virtio)"
fact vectors "$(grep -c 'MSI.*virtio' /proc/interrupts)"
fact acpi-faults "$(dmesg | grep -cE 'ACPI (BIOS )?(Error|Warning|Exception)|Firmware Bug')"
fact random "$(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)"
`;
const EXPECTED = { functions: "0x29c0 0x1042 0x1044 0x2918 ", vectors: "4", "acpi-faults": "0", random: "64" };

/** The first time it comes up it restarts the machine. */
const ONCE_MORE = `
if [ ! -e /restarted ]; then
  : >/restarted
  sync
  mount -o remount,ro /
  reboot -f
fi
fact restarted yes
`;

async function bySeabios(folder, kernel) {
  const image = join(folder, "root.raw");
  const initramfs = join(folder, "root.cpio");
  writeInitramfs(initramfs, kernel, MODULES);
  makeRoot(folder, image, onDisk(`${ONCE_MORE}\n${WRITE_AND_READ(MEBIBYTES)}\n${ABOUT_PCI}`), 48);
  const more = ["--bus", "pci", "--firmware", "seabios", "--rng"];
  const guest = boot("seabios", kernel, initramfs, `${image},serial=seabios`, ...more);
  const status = await guest.done;
  const expected = { ...EXPECTED, root: "/dev/vda ext4", serial: "seabios", checksum: "same", restarted: "yes" };
  return [
    ...compare("seabios", guest, { ...expected, "windows-where-they-were": "0" }),
    ...(status === 0 ? [] : [`seabios: status ${status}: ${guest.out.errors}`]),
    ...fsck("seabios", image),
  ];
}

async function byOvmf(folder, { path, modulesDirectory }) {
  const image = join(folder, "efi.raw");
  const script = `fact() { echo "fact $1 $2"; }\n${ABOUT_PCI}\nfact efi "$(ls /sys/firmware/efi | grep -c systab)"\npoweroff -f\n`;
  const ramdisk = buildInitramfs({ script, modules: MODULES.slice(0, 3), modulesDirectory });
  writeFatImage(image, [
    ["linux", "efi", readFileSync(path)],
    ["initrd", "img", ramdisk],
  ]);
  const guest = start("node", [
    ...[VMM, "run", "--firmware", "ovmf", "--bus", "pci", "--rng", "--memory", "384M", "--disk", image],
  ]);
  await until("the startup script's countdown", guest, () => guest.out.text.includes("startup.nsh"));
  guest.child.stdin.write("\x1b");
  await until("the shell's prompt", guest, () => guest.out.text.includes("Shell> "));
  guest.child.stdin.write("fs0:\\linux.efi console=ttyS0 loglevel=4 initrd=\\initrd.img\r");
  const status = await guest.done;
  return [
    ...compare("ovmf", guest, { ...EXPECTED, efi: "1" }),
    ...(status === 0 ? [] : [`ovmf: status ${status}: ${guest.out.errors}`]),
  ];
}

const which = process.argv[2];
const { file, test } = FIRMWARE[which];
if (!existsSync(file)) {
  console.log(`needs ${which}: apt-get install ${which}`);
  process.exit(77);
}
const folder = mkdtempSync(join(tmpdir(), "linux-pci-firmware-"));
try {
  const kernel = chooseKernel({});
  const faults = await test(folder, kernel);
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
