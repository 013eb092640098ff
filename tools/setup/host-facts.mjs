/**
 * One line of JSON: what of this machine decides whether a test runs or skips. nx takes it into the key of its cache, so that a
 * test skipped here is not taken for one that passed elsewhere. Never fails, starts no program.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { release } from "node:os";
import { cloudKernels, findProgram, labKernels, openError, ovmfImages } from "./facts.mjs";
import { unpackedProgram } from "./unpacked.mjs";

/** @param {() => unknown} look */
function orNull(look) {
  try {
    return look() ?? null;
  } catch {
    return null;
  }
}

/** Changes when the program does: running `--version` would take longer than everything else here. @param {string} name */
function identity(name) {
  const path = findProgram(name);
  if (path === undefined) return null;
  const { size, mtimeMs } = statSync(path);
  return `${path} ${size} ${Math.floor(mtimeMs)}`;
}

/** Root may mount it at any time, so whether it is mounted now says something to other users only. */
function hasTracefs() {
  if (process.getuid?.() === 0) return /\btracefs$/m.test(readFileSync("/proc/filesystems", "utf8"));
  return existsSync("/sys/kernel/tracing/events/kvm");
}

const facts = {
  root: orNull(() => process.getuid?.() === 0),
  kernel: orNull(release),
  insideLab: process.env.TOOLS_KVM_LAB === "1",
  kvm: orNull(() => openError("/dev/kvm") || "usable"),
  tun: orNull(() => openError("/dev/net/tun") || "usable"),
  tracefs: orNull(hasTracefs),
  perfEventParanoid: orNull(() => Number(readFileSync("/proc/sys/kernel/perf_event_paranoid", "utf8"))),
  qemu: orNull(() => identity("qemu-system-x86_64")),
  qemuImg: orNull(() => identity("qemu-img")),
  iasl: orNull(() => identity("iasl")),
  dmidecode: orNull(() => identity("dmidecode")),
  passt: orNull(() => identity("passt")),
  perf: orNull(() => identity("perf")),
  prometheus: orNull(() => unpackedProgram("prometheus", "prometheus")),
  busybox: orNull(() => identity("busybox")),
  compiler: orNull(() => identity("gcc")),
  labKernels: orNull(labKernels),
  cloudKernels: orNull(cloudKernels),
  ovmf: orNull(ovmfImages),
};

process.stdout.write(`${JSON.stringify(facts)}\n`);
