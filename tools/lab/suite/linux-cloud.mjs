/**
 * Debian's cloud kernel, which leaves much out that the generic one has, on an ext4 disk, raw with one CPU and qcow2 on PCI with two: it
 * boots to a shell, reads back what it has written, and fsck finds nothing to say.
 * Exit status: 0 when all is as it should be, 77 when there is no such kernel.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostKernelVersions } from "../dist/index.js";
import { endAll, until } from "./programs.mjs";
import { boot, compare, fsck, makeRoot, onDisk, WRITE_AND_READ, writeInitramfs } from "./root-disk.mjs";

const MODULES = ["virtio_mmio", "virtio_pci", "virtio_blk", "ext4"];
const MEBIBYTES = 32;
const PROMPT = "~ # ";

const version = hostKernelVersions().find((each) => each.includes("-cloud-"));
if (version === undefined) {
  console.log("needs a cloud kernel: apt-get install linux-image-cloud-amd64");
  process.exit(77);
}

const folder = mkdtempSync(join(tmpdir(), "linux-cloud-"));
try {
  const kernel = { path: `/boot/vmlinuz-${version}`, modulesDirectory: `/lib/modules/${version}` };
  const initramfs = join(folder, "root.cpio");
  writeInitramfs(initramfs, kernel, MODULES);
  const raw = join(folder, "disk.raw");
  const script = `fact cpus "$(grep -c ^processor /proc/cpuinfo)"\n${WRITE_AND_READ(MEBIBYTES)}\nHOME=/ PS1='${PROMPT}' sh -i\n`;
  makeRoot(folder, raw, onDisk(script), 80);
  const qcow2 = join(folder, "disk.qcow2");
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, qcow2]);
  const faults = [
    ...(await toShell("raw", { kernel, initramfs, image: raw, cpus: "1", bus: "mmio" })),
    ...fsck("raw", raw),
    ...(await toShell("qcow2", { kernel, initramfs, image: qcow2, cpus: "2", bus: "pci" })),
  ];
  const back = join(folder, "back.raw");
  execFileSync("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", qcow2, back]);
  faults.push(...fsck("qcow2", back));
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}

/** Boots, waits for the shell, types a command into it, and leaves. */
async function toShell(name, { kernel, initramfs, image, cpus, bus }) {
  const guest = boot(name, kernel, initramfs, image, "--cpus", cpus, "--bus", bus);
  await until("a shell's prompt", guest, () => guest.out.text.includes(PROMPT));
  guest.child.stdin.write('echo "fact release $(uname -r)"; exit\n');
  const status = await guest.done;
  const expected = {
    release: version,
    root: "/dev/vda ext4",
    cpus,
    checksum: "same",
    "written-mib": String(MEBIBYTES),
  };
  return [...compare(name, guest, expected), ...(status === 0 ? [] : [`${name}: status ${status}`])];
}
