/**
 * Debian's Linux on an ext4 disk of its own: it mounts it as its root, writes 256 MiB and reads them back past its cache.
 * Afterwards the host's e2fsck finds nothing to say, and what the guest had flushed before vmm was killed is there.
 * Exit status: 0 when all is as it should be.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chooseKernel } from "../dist/index.js";
import { endAll, until } from "./programs.mjs";
import { boot, compare, fsck, makeRoot, onDisk, WRITE_AND_READ, writeInitramfs } from "./root-disk.mjs";

const MODULES = ["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"];

const FLUSH_AND_WAIT = `
for i in $(seq 200); do echo "record $i" >>/journal-of-records; done
sync
echo "flushed"
while :; do sleep 1; done
`;

async function rawDisk(folder, kernel, initramfs) {
  const image = join(folder, "disk.raw");
  makeRoot(folder, image, onDisk(WRITE_AND_READ(256)), 400);
  const guest = boot("raw", kernel, initramfs, `${image},serial=raw-disk,queues=2`, "--cpus", "2");
  const status = await guest.done;
  const expected = {
    root: "/dev/vda ext4",
    serial: "raw-disk",
    queues: "2",
    packed: "0",
    checksum: "same",
    "written-mib": "256",
  };
  return [
    ...compare("raw", guest, expected),
    ...(status === 0 ? [] : [`raw: status ${status}`]),
    ...fsck("raw", image),
  ];
}

async function qcow2Disk(folder, kernel, initramfs) {
  const [base, image, back] = ["base.raw", "disk.qcow2", "back.raw"].map((file) => join(folder, file));
  makeRoot(folder, base, onDisk(WRITE_AND_READ(32)), 80);
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, image]);
  const guest = boot("qcow2", kernel, initramfs, image, "--virtio-rings", "packed");
  await guest.done;
  const expected = { root: "/dev/vda ext4", packed: "1", checksum: "same", "written-mib": "32" };
  const faults = compare("qcow2", guest, expected);
  const check = spawnSync("qemu-img", ["check", image], { encoding: "utf8" });
  if (check.status !== 0) faults.push(`qcow2: qemu-img check says ${check.stdout}${check.stderr}`);
  execFileSync("qemu-img", ["convert", "-O", "raw", image, back]);
  return [...faults, ...fsck("qcow2", back)];
}

async function killedAfterFlush(folder, kernel, initramfs) {
  const image = join(folder, "killed.raw");
  makeRoot(folder, image, onDisk(FLUSH_AND_WAIT), 40);
  const guest = boot("killed", kernel, initramfs, image);
  await until("the guest's fsync", guest, () => guest.out.text.includes("flushed"));
  guest.child.kill("SIGKILL");
  await guest.done;
  // The journal is replayed, as the next mount would do; that is all there is to mend.
  const { status, stdout } = spawnSync("e2fsck", ["-f", "-y", image], { encoding: "utf8" });
  const records = execFileSync("debugfs", ["-R", "cat /journal-of-records", image], { encoding: "utf8" })
    .trim()
    .split("\n");
  const faults =
    records.length === 200 && records.at(-1) === "record 200" ? [] : [`killed: ${records.length} records are left`];
  return status <= 1 ? faults : [...faults, `killed: e2fsck says ${status}: ${stdout}`];
}

const folder = mkdtempSync(join(tmpdir(), "linux-disks-"));
try {
  const kernel = chooseKernel({});
  const initramfs = join(folder, "root.cpio");
  writeInitramfs(initramfs, kernel, MODULES);
  const faults = [
    ...(await rawDisk(folder, kernel, initramfs)),
    ...(await qcow2Disk(folder, kernel, initramfs)),
    ...(await killedAfterFlush(folder, kernel, initramfs)),
  ];
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
