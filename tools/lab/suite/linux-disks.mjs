/**
 * Debian's Linux on an ext4 disk of its own: it mounts it as its root, writes 256 MiB and reads them back past its cache.
 * Afterwards the host's e2fsck finds nothing to say, and what the guest had flushed before vmm was killed is there.
 * Exit status: 0 when all is as it should be.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildInitramfs, chooseKernel } from "../dist/index.js";
import { endAll, start, until } from "./programs.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const MODULES = ["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"];

/** The initramfs only finds the root; everything else is on the disk. */
const TO_ROOT = `
mkdir /root
mount -t ext4 /dev/vda /root || echo "no root"
exec switch_root /root /init
`;

/** Prints a line `fact NAME VALUE` for each thing it finds out. */
const onDisk = (work) => `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
fact() { echo "fact $1 $2"; }
fact root "$(awk '$2 == "/" {print $1, $3}' /proc/mounts | tail -n 1)"
fact serial "$(cat /sys/block/vda/serial)"
fact queues "$(ls /sys/block/vda/mq | wc -l)"
fact packed "$(cut -c 35 /sys/block/vda/device/features)"
${work}
sync
mount -o remount,ro /
poweroff -f
`;

const WRITE_AND_READ = (mebibytes) => `
dd if=/dev/urandom of=/piece bs=1M count=16 2>/dev/null
for i in $(seq ${mebibytes / 16}); do cat /piece; done >/big
md5sum /big >/sum
sync
echo 3 >/proc/sys/vm/drop_caches
md5sum -c /sum >/dev/null && fact checksum same
fact written-mib "$(($(stat -c %s /big) / 1048576))"
`;

const FLUSH_AND_WAIT = `
for i in $(seq 200); do echo "record $i" >>/journal-of-records; done
sync
echo "flushed"
while :; do sleep 1; done
`;

/** An ext4 image whose only programs are busybox and `script`. */
function makeRoot(folder, path, script, sizeMib) {
  const root = join(folder, "root");
  for (const directory of ["", "bin", "proc", "sys", "dev", "tmp"])
    mkdirSync(join(root, directory), { recursive: true });
  copyFileSync(execFileSync("which", ["busybox"], { encoding: "utf8" }).trim(), join(root, "bin/busybox"));
  writeFileSync(join(root, "init"), script);
  chmodSync(join(root, "init"), 0o755);
  execFileSync("mkfs.ext4", ["-q", "-F", "-d", root, path, `${sizeMib}M`]);
}

function boot(name, { path: kernel }, initramfs, disk, ...more) {
  return start("node", [
    ...[VMM, "run", "--name", name, "--kernel", kernel, "--initrd", initramfs, "--append", "console=ttyS0 loglevel=4"],
    ...["--memory", "384M", "--disk", disk, ...more],
  ]);
}

function compare(name, guest, expected) {
  const facts = Object.fromEntries(
    [...guest.out.text.matchAll(/^fact (\S+) (.*?)\r?$/gm)].map(([, key, value]) => [key, value]),
  );
  console.log(name, JSON.stringify(facts));
  const faults = Object.entries(expected)
    .filter(([key, value]) => facts[key] !== value)
    .map(([key, value]) => `${name}: ${key} is ${facts[key]}, not ${value}`);
  return faults.length === 0 ? [] : [...faults, `${guest.out.text.slice(-1500)}${guest.out.errors}`];
}

/** Complaints of e2fsck, which changes nothing. */
function fsck(name, raw) {
  const { status, stdout, stderr } = spawnSync("e2fsck", ["-f", "-n", raw], { encoding: "utf8" });
  return status === 0 ? [] : [`${name}: e2fsck says ${status}: ${stdout}${stderr}`];
}

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
  writeFileSync(
    initramfs,
    buildInitramfs({ script: TO_ROOT, modules: MODULES, modulesDirectory: kernel.modulesDirectory }),
  );
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
