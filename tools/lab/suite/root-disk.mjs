/** A Linux guest whose root is an ext4 disk: how it is made, booted, and looked at afterwards. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildInitramfs } from "../dist/index.js";
import { start } from "./programs.mjs";

const VMM = "packages/vmm/bin/vmm.js";

/** The initramfs only finds the root; everything else is on the disk. */
const TO_ROOT = `
mkdir /root
mount -t ext4 /dev/vda /root || echo "no root"
exec switch_root /root /init
`;

/** Prints a line `fact NAME VALUE` for each thing it finds out. */
export const onDisk = (work) => `#!/bin/busybox sh
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

export const WRITE_AND_READ = (mebibytes) => `
dd if=/dev/urandom of=/piece bs=1M count=16 2>/dev/null
for i in $(seq ${mebibytes / 16}); do cat /piece; done >/big
md5sum /big >/sum
sync
echo 3 >/proc/sys/vm/drop_caches
md5sum -c /sum >/dev/null && fact checksum same
fact written-mib "$(($(stat -c %s /big) / 1048576))"
`;

/** An archive that finds the disk. Modules that a kernel has built in are passed over. */
export function writeInitramfs(path, { modulesDirectory }, modules) {
  writeFileSync(path, buildInitramfs({ script: TO_ROOT, modules, modulesDirectory }));
}

/** An ext4 image whose only programs are busybox and `script`. */
export function makeRoot(folder, path, script, sizeMib) {
  const root = join(folder, "root");
  for (const directory of ["", "bin", "proc", "sys", "dev", "tmp"])
    mkdirSync(join(root, directory), { recursive: true });
  copyFileSync(execFileSync("which", ["busybox"], { encoding: "utf8" }).trim(), join(root, "bin/busybox"));
  writeFileSync(join(root, "init"), script);
  chmodSync(join(root, "init"), 0o755);
  execFileSync("mkfs.ext4", ["-q", "-F", "-d", root, path, `${sizeMib}M`]);
}

export function boot(name, { path: kernel }, initramfs, disk, ...more) {
  return start("node", [
    ...[VMM, "run", "--name", name, "--kernel", kernel, "--initrd", initramfs, "--append", "console=ttyS0 loglevel=4"],
    ...["--memory", "384M", "--disk", disk, ...more],
  ]);
}

export function compare(name, guest, expected) {
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
export function fsck(name, raw) {
  const { status, stdout, stderr } = spawnSync("e2fsck", ["-f", "-n", raw], { encoding: "utf8" });
  return status === 0 ? [] : [`${name}: e2fsck says ${status}: ${stdout}${stderr}`];
}
