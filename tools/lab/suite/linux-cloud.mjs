/**
 * Debian's cloud kernel, which leaves much out that the generic one has, on an ext4 disk: it boots to a shell, reads back what it
 * has written, and fsck finds nothing to say.
 * Exit status: 0 when all is as it should be, 77 when there is no such kernel.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostKernelVersions } from "../dist/index.js";
import { endAll, until } from "./programs.mjs";
import { boot, compare, fsck, makeRoot, onDisk, WRITE_AND_READ, writeInitramfs } from "./root-disk.mjs";

const MODULES = ["virtio_mmio", "virtio_blk", "ext4"];
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
  const image = join(folder, "disk.raw");
  makeRoot(folder, image, onDisk(`${WRITE_AND_READ(MEBIBYTES)}\nHOME=/ PS1='${PROMPT}' sh -i\n`), 80);
  const guest = boot("cloud", kernel, initramfs, image);
  await until("a shell's prompt", guest, () => guest.out.text.includes(PROMPT));
  guest.child.stdin.write('echo "fact release $(uname -r)"; exit\n');
  const status = await guest.done;
  const expected = { release: version, root: "/dev/vda ext4", checksum: "same", "written-mib": String(MEBIBYTES) };
  const faults = [
    ...compare("cloud", guest, expected),
    ...(status === 0 ? [] : [`cloud: status ${status}`]),
    ...fsck("cloud", image),
  ];
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
