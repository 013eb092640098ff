/**
 * Debian's kernel with a folder of the host's as its root, by the recipe of docs/shared-folders.md: an initrd of mkinitramfs with 9p in it, and
 * `root=` on the command line. Exit status: 0 when all is as it should be.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chooseKernel } from "../dist/index.js";
import { endAll, start } from "./programs.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const ROOT = "root=root rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=mmap,msize=262144 rw";

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
echo "fact root $(awk '$2 == "/" {print $1, $3}' /proc/mounts | tail -n 1)"
echo "fact owner $(stat -c %u:%g /theirs)"
echo written >/from-guest
chown 12:34 /from-guest
mv /before /after
sync
poweroff -f
`;

/** A root with busybox in it. */
function makeRoot(root) {
  for (const directory of ["bin", "sbin", "proc", "sys", "dev", "run", "tmp", "etc"])
    mkdirSync(join(root, directory), { recursive: true });
  copyFileSync(execFileSync("which", ["busybox"], { encoding: "utf8" }).trim(), join(root, "bin/busybox"));
  writeFileSync(join(root, "sbin/init"), INIT);
  chmodSync(join(root, "sbin/init"), 0o755);
  writeFileSync(join(root, "before"), "");
  writeFileSync(join(root, "theirs"), "");
  execFileSync("chown", ["56:78", join(root, "theirs")]);
}

/** `list`: no other modules than these, which is all the difference to a whole initrd. */
function makeInitrd(folder, path, version) {
  const conf = join(folder, "conf");
  execFileSync("cp", ["-r", "/etc/initramfs-tools", conf]);
  writeFileSync(join(conf, "modules"), "virtio_mmio\n9pnet_virtio\n9p\n");
  mkdirSync(join(conf, "conf.d"), { recursive: true });
  writeFileSync(join(conf, "conf.d/9p"), "MODULES=list\nCOMPRESS=gzip\n");
  execFileSync("mkinitramfs", ["-d", conf, "-o", path, version], { stdio: ["ignore", "ignore", "inherit"] });
}

const folder = mkdtempSync(join(tmpdir(), "linux-root-9p-"));
try {
  const { path: kernel, version } = chooseKernel({});
  const root = join(folder, "rootfs");
  const initrd = join(folder, "initrd.9p");
  makeRoot(root);
  makeInitrd(folder, initrd, version);
  const machine = ["--kernel", kernel, "--initrd", initrd, "--memory", "512M", "--share", `root=${root}`];
  const guest = start("node", [VMM, "run", ...machine, "--append", `console=ttyS0 loglevel=4 ${ROOT}`]);
  const status = await guest.done;
  const facts = Object.fromEntries(
    [...guest.out.text.matchAll(/^fact (\S+) (.*?)\r?$/gm)].map(([, key, value]) => [key, value]),
  );
  console.log(JSON.stringify(facts));
  const faults = [];
  const expect = (what, found, expected) => {
    if (found !== expected) faults.push(`${what} is ${found}, not ${expected}`);
  };
  expect("status", status, 0);
  expect("root", facts.root, "root 9p");
  expect("owner", facts.owner, "56:78");
  if (faults.length === 0) {
    expect("from-guest", readFileSync(join(root, "from-guest"), "utf8"), "written\n");
    expect("from-guest's owner", statSync(join(root, "from-guest")).uid, 12);
    expect("after", statSync(join(root, "after"), { throwIfNoEntry: false })?.size, 0);
  }
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  if (faults.length > 0) console.log(guest.out.text.slice(-3000), guest.out.errors);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
