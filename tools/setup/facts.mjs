/** Looks at the machine: what findings.mjs judges. Starts no program, so it takes a few milliseconds. */
import { accessSync, closeSync, constants, existsSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { delimiter, dirname, join } from "node:path";

/** @returns {import("./findings.mjs").Facts} */
export function gatherFacts() {
  return {
    platform: process.platform,
    arch: process.arch,
    nodeVersion: process.versions.node,
    nodeHeaders: existsSync(join(dirname(dirname(process.execPath)), "include/node/node_api.h")),
    nodeIsDistributions: process.execPath === "/usr/bin/node" || process.execPath === "/usr/bin/nodejs",
    isRoot: process.getuid?.() === 0,
    user: userName(),
    hasApt: hasProgram("apt-get"),
    distribution: distribution(),
    programs: {
      c: hasProgram("cc") || hasProgram("gcc"),
      cxx: hasProgram("c++") || hasProgram("g++"),
      make: hasProgram("make"),
      python3: hasProgram("python3"),
      qemu: hasProgram("qemu-system-x86_64"),
      qemuImg: hasProgram("qemu-img"),
      iasl: hasProgram("iasl"),
      dmidecode: hasProgram("dmidecode"),
      ip: hasProgram("ip"),
      passt: hasProgram("passt"),
      busybox: hasStaticBusybox(),
      perf: hasProgram("perf"),
      xz: hasProgram("xz"),
    },
    labKernel: labKernels().length > 0,
    cloudKernel: cloudKernels().length > 0,
    ovmf: ovmfImages().length > 0,
    kvm: kvmFacts(),
  };
}

/** @param {string} name */
export function findProgram(name) {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .filter(Boolean)
    .map((directory) => join(directory, name))
    .find(isExecutable);
}

/** @param {string} name */
function hasProgram(name) {
  return findProgram(name) !== undefined;
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Versions of Debian's cloud kernel in /boot, which the lab boots as a guest. */
export function cloudKernels() {
  return list("/boot").filter((name) => /^vmlinuz-.*-cloud-/.test(name));
}

export function ovmfImages() {
  return list("/usr/share/OVMF").filter((name) => /^OVMF_CODE.*\.fd$/.test(name));
}

/** Versions in /boot whose modules include 9p and kvm-amd, by modules.dep and modules.builtin: the lab takes one of them. */
export function labKernels() {
  return list("/boot")
    .filter((name) => name.startsWith("vmlinuz-"))
    .map((name) => name.slice("vmlinuz-".length))
    .filter((version) => {
      const known = read(`/lib/modules/${version}/modules.dep`) + read(`/lib/modules/${version}/modules.builtin`);
      return /\/9p\.ko/.test(known) && /\/kvm-amd\.ko/.test(known);
    });
}

/** The dynamic kind of busybox is of no use in an initramfs; its program headers name a loader. */
function hasStaticBusybox() {
  return ["/bin/busybox", "/usr/bin/busybox"].some(
    (path) => existsSync(path) && !readBytes(path).subarray(0, 4096).includes("/ld-linux"),
  );
}

/** @returns {import("./findings.mjs").KvmFacts} */
function kvmFacts() {
  const flags = read("/proc/cpuinfo").match(/^flags\s*:.*$/m)?.[0] ?? "";
  const cpu = /\bsvm\b/.test(flags) ? "svm" : /\bvmx\b/.test(flags) ? "vmx" : "none";
  const node = statSync("/dev/kvm", { throwIfNoEntry: false });
  if (node === undefined)
    return { device: "absent", error: "", group: "", groupMayOpen: false, userInGroup: false, cpu };
  const group = groups().find(({ id }) => id === node.gid);
  const error = openError("/dev/kvm");
  return {
    device: error === "" ? "usable" : error === "EACCES" || error === "EPERM" ? "denied" : "broken",
    error,
    group: group?.name ?? String(node.gid),
    groupMayOpen: (node.mode & 0o060) === 0o060,
    userInGroup: (node.mode & 0o060) === 0o060 && (group?.members.includes(userName()) ?? false),
    cpu,
  };
}

/**
 * @param {string} path
 * @returns {string} An errno's name, or nothing when it opens for reading and writing.
 */
export function openError(path) {
  try {
    closeSync(openSync(path, constants.O_RDWR));
    return "";
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code ?? "unknown error";
  }
}

function groups() {
  return read("/etc/group")
    .split("\n")
    .map((line) => line.split(":"))
    .filter((fields) => fields.length >= 4)
    .map(([name, , id, members]) => ({ name, id: Number(id), members: members.split(",") }));
}

function userName() {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? "");
  }
}

function distribution() {
  return read("/etc/os-release").match(/^ID="?([^"\n]+)/m)?.[1] ?? "";
}

/** @param {string} path */
function read(path) {
  return readBytes(path).toString();
}

/** @param {string} path */
function readBytes(path) {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}

/** @param {string} directory */
function list(directory) {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
