import { describe, expect, it } from "vitest";
import { findings, nodeIsRecentEnough } from "./findings.mjs";

/** @typedef {import("./findings.mjs").Facts} Facts */

/** A machine on which nothing is wrong. @type {Facts} */
const good = {
  platform: "linux",
  arch: "x64",
  nodeVersion: "20.19.0",
  nodeHeaders: true,
  nodeIsDistributions: true,
  isRoot: false,
  user: "ada",
  hasApt: true,
  distribution: "debian",
  programs: {
    c: true,
    cxx: true,
    make: true,
    python3: true,
    qemu: true,
    qemuImg: true,
    iasl: true,
    dmidecode: true,
    ip: true,
    passt: true,
    busybox: true,
    perf: true,
    xz: true,
  },
  labKernel: true,
  cloudKernel: true,
  ovmf: true,
  kvm: { device: "usable", error: "", group: "kvm", groupMayOpen: true, userInGroup: true, cpu: "svm" },
};

/** @param {Partial<Facts>} facts */
function linesFor(facts) {
  return findings({ ...good, ...facts }).map(({ severity, problem, remedy }) => `${severity}: ${problem}: ${remedy}`);
}

/** @param {Partial<Facts["programs"]>} programs */
function withPrograms(programs) {
  return { programs: { ...good.programs, ...programs } };
}

/** @param {Partial<Facts["kvm"]>} kvm */
function withKvm(kvm) {
  return { kvm: { ...good.kvm, ...kvm } };
}

describe("a machine that has everything", () => {
  it("is told nothing", () => {
    expect(findings(good)).toEqual([]);
  });
});

describe("each thing that is missing gets one line, with the command that mends it", () => {
  it("another system than Linux, and nothing after it", () => {
    expect(linesFor({ platform: "darwin", nodeVersion: "18.0.0", ...withPrograms({ c: false }) })).toEqual([
      "stop: this is darwin, and KVM is a part of Linux: run it on an x86-64 Linux, or in a virtual machine with one and nested virtualisation",
    ]);
  });

  it("another processor than x86-64, and nothing after it", () => {
    expect(linesFor({ arch: "arm64", ...withPrograms({ c: false }) })).toEqual([
      "stop: this Node.js is built for arm64, and so far only x86-64 hosts are supported: run it on an x86-64 Linux, with a Node.js for x86-64",
    ]);
  });

  it("a Node.js older than 20.19", () => {
    expect(linesFor({ nodeVersion: "18.20.4" })).toEqual([
      "stop: this is Node.js 18.20.4, and 20.19 or newer is needed: npm install --global n && n 22",
    ]);
    for (const recent of ["20.19.0", "20.20.2", "22.0.0", "24.1.0"]) expect(nodeIsRecentEnough(recent)).toBe(true);
    for (const old of ["12.22.0", "18.20.4", "20.18.3", "8.0.0"]) expect(nodeIsRecentEnough(old)).toBe(false);
  });

  it("a compiler, make, python3", () => {
    expect(linesFor(withPrograms({ cxx: false }))).toEqual([
      "install: there is no C and C++ compiler: sudo apt-get install -y --no-install-recommends g++",
    ]);
    expect(linesFor({ ...withPrograms({ make: false }), isRoot: true })).toEqual([
      "install: there is no make: apt-get install -y --no-install-recommends make",
    ]);
    expect(linesFor({ ...withPrograms({ python3: false }), hasApt: false })).toEqual([
      "install: there is no python3, which node-gyp runs on: install what Debian calls python3",
    ]);
  });

  it("Node's headers, by apt when Node came by apt, otherwise by a Node that brings them", () => {
    const problem = "Node.js came without its headers (include/node), which the native code needs";
    expect(linesFor({ nodeHeaders: false })).toEqual([
      `install: ${problem}: sudo apt-get install -y --no-install-recommends libnode-dev`,
    ]);
    expect(linesFor({ nodeHeaders: false, nodeIsDistributions: false })).toEqual([
      `stop: ${problem}: npm install --global n && n 22`,
    ]);
  });

  it("/dev/kvm, by the module for this processor", () => {
    const absent = { device: /** @type {const} */ ("absent"), group: "" };
    expect(linesFor(withKvm(absent))).toEqual(["no-kvm: there is no /dev/kvm: sudo modprobe kvm-amd"]);
    expect(linesFor({ ...withKvm({ ...absent, cpu: "vmx" }), isRoot: true })).toEqual([
      "no-kvm: there is no /dev/kvm: modprobe kvm-intel",
    ]);
    expect(linesFor(withKvm({ ...absent, cpu: "none" }))).toEqual([
      "no-kvm: there is no /dev/kvm, and the processor offers no virtualisation: turn on SVM or VT-x in the firmware's setup, or nested virtualisation for this machine on its host",
    ]);
  });

  it("permission on /dev/kvm: the group, a new login, or the device's mode", () => {
    const denied = { device: /** @type {const} */ ("denied"), error: "EACCES" };
    expect(linesFor(withKvm({ ...denied, userInGroup: false }))).toEqual([
      "no-kvm: ada may not open /dev/kvm (EACCES): sudo usermod -aG kvm ada && newgrp kvm",
    ]);
    expect(linesFor(withKvm({ ...denied, userInGroup: true }))).toEqual([
      "no-kvm: /dev/kvm is not open to this login yet (EACCES): newgrp kvm",
    ]);
    expect(linesFor(withKvm({ ...denied, userInGroup: false, groupMayOpen: false }))).toEqual([
      "no-kvm: ada may not open /dev/kvm (EACCES): sudo chmod 666 /dev/kvm",
    ]);
    expect(linesFor(withKvm({ ...denied, userInGroup: false, group: "root" }))).toEqual([
      "no-kvm: ada may not open /dev/kvm (EACCES): sudo chmod 666 /dev/kvm",
    ]);
  });

  it("a /dev/kvm with nothing behind it", () => {
    expect(linesFor(withKvm({ device: "broken", error: "ENODEV", cpu: "vmx" }))).toEqual([
      "no-kvm: /dev/kvm does not open (ENODEV): sudo modprobe kvm-intel",
    ]);
  });

  it("what only the lab needs, which stops nothing", () => {
    const nothing = {
      ...withPrograms({
        qemu: false,
        qemuImg: false,
        iasl: false,
        dmidecode: false,
        ip: false,
        passt: false,
        busybox: false,
        perf: false,
        xz: false,
      }),
      labKernel: false,
      cloudKernel: false,
      ovmf: false,
    };
    const list = findings({ ...good, ...nothing });
    expect(list.map(({ severity }) => severity)).toEqual(new Array(12).fill("lab"));
    const packages = list.flatMap((finding) => finding.packages);
    expect(packages).toEqual([
      "qemu-system-x86",
      "qemu-utils",
      "acpica-tools",
      "dmidecode",
      "iproute2",
      "passt",
      "linux-image-amd64",
      "linux-image-cloud-amd64",
      "ovmf",
      "busybox-static",
      "xz-utils",
      "linux-perf",
    ]);
    const ubuntu = findings({ ...good, ...nothing, distribution: "ubuntu" }).flatMap((finding) => finding.packages);
    expect(ubuntu).toEqual([
      "qemu-system-x86",
      "qemu-utils",
      "acpica-tools",
      "dmidecode",
      "iproute2",
      "passt",
      "linux-image-generic",
      "ovmf",
      "busybox-static",
      "xz-utils",
      "linux-tools-generic",
    ]);
  });

  it("never in more than one line", () => {
    const worst = {
      nodeVersion: "18.0.0",
      nodeHeaders: false,
      labKernel: false,
      cloudKernel: false,
      ovmf: false,
      ...withPrograms({
        c: false,
        make: false,
        python3: false,
        qemu: false,
        qemuImg: false,
        iasl: false,
        dmidecode: false,
        ip: false,
        passt: false,
        busybox: false,
        perf: false,
        xz: false,
      }),
      ...withKvm({ device: "absent" }),
    };
    const lines = linesFor(worst);
    expect(lines.length).toBe(18);
    for (const line of lines) expect(line).not.toContain("\n");
  });
});
