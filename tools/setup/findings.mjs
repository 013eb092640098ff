/**
 * From what a machine has to what is wrong with it: one line a finding, and the command that mends it.
 * Pure, and free of imports and of young syntax: this runs, and speaks, on a Node that is too old for everything else.
 *
 * @typedef {"install" | "stop" | "no-kvm" | "lab"} Severity
 *   install: apt could mend it, and nothing works without.  stop: a person has to mend it, and nothing works without.
 *   no-kvm: no guest runs here; tests do, and name what they skip.  lab: only the lab (and what compares with perf) misses it.
 *
 * @typedef {object} Finding
 * @property {string} id
 * @property {Severity} severity
 * @property {string} problem One line: what is wrong.
 * @property {string} remedy The command that mends it, or words where there is none.
 * @property {string[]} [packages] What apt would have to install.
 *
 * @typedef {object} Facts
 * @property {string} platform As process.platform.
 * @property {string} arch As process.arch.
 * @property {string} nodeVersion Such as "20.19.0".
 * @property {boolean} nodeHeaders include/node beside Node's own bin.
 * @property {boolean} nodeIsDistributions Node came by the distribution's package manager.
 * @property {boolean} isRoot
 * @property {string} user
 * @property {boolean} hasApt
 * @property {string} distribution ID of /etc/os-release.
 * @property {{ c: boolean, cxx: boolean, make: boolean, python3: boolean, qemu: boolean, qemuImg: boolean, iasl: boolean, dmidecode: boolean, ip: boolean, passt: boolean, busybox: boolean, perf: boolean, xz: boolean }} programs
 * @property {boolean} labKernel A kernel in /boot with the modules the lab needs.
 * @property {boolean} cloudKernel Debian's cloud kernel in /boot, as a guest.
 * @property {boolean} ovmf OVMF where Debian's package has it.
 * @property {KvmFacts} kvm
 *
 * @typedef {object} KvmFacts
 * @property {"usable" | "absent" | "denied" | "broken"} device
 * @property {string} error The errno's name when it is denied or broken; otherwise empty.
 * @property {string} group Of /dev/kvm; empty when there is none.
 * @property {boolean} groupMayOpen By the permissions of /dev/kvm.
 * @property {boolean} userInGroup By /etc/group, whether or not this login knows it yet.
 * @property {"svm" | "vmx" | "none"} cpu
 */

const MIN_NODE = [20, 19];

/**
 * @param {string} version
 * @returns {boolean}
 */
export function nodeIsRecentEnough(version) {
  const parts = version.split(".").map(Number);
  return parts[0] > MIN_NODE[0] || (parts[0] === MIN_NODE[0] && parts[1] >= MIN_NODE[1]);
}

/**
 * @param {string} version
 * @returns {Finding}
 */
export function nodeFinding(version) {
  return {
    id: "node",
    severity: "stop",
    problem: `this is Node.js ${version}, and ${MIN_NODE.join(".")} or newer is needed`,
    remedy: "npm install --global n && n 22",
  };
}

/**
 * Everything that is wrong, what stops most first.
 *
 * @param {Facts} facts
 * @returns {Finding[]}
 */
export function findings(facts) {
  const machine = machineFindings(facts);
  // On another system or processor no further line would be worth reading.
  if (machine.length > 0) return machine;
  const node = nodeIsRecentEnough(facts.nodeVersion) ? [] : [nodeFinding(facts.nodeVersion)];
  return [...node, ...buildFindings(facts), ...kvmFindings(facts), ...labFindings(facts)];
}

/**
 * @param {Facts} facts
 * @returns {Finding[]}
 */
function machineFindings(facts) {
  if (facts.platform !== "linux") {
    return [
      {
        id: "platform",
        severity: "stop",
        problem: `this is ${facts.platform}, and KVM is a part of Linux`,
        remedy: "run it on an x86-64 Linux, or in a virtual machine with one and nested virtualisation",
      },
    ];
  }
  if (facts.arch !== "x64") {
    return [
      {
        id: "arch",
        severity: "stop",
        problem: `this Node.js is built for ${facts.arch}, and so far only x86-64 hosts are supported`,
        remedy: "run it on an x86-64 Linux, with a Node.js for x86-64",
      },
    ];
  }
  return [];
}

/**
 * @param {Facts} facts
 * @returns {Finding[]}
 */
function buildFindings(facts) {
  const { programs } = facts;
  /** @type {Finding[]} */
  const list = [];
  if (!programs.c || !programs.cxx) list.push(missing(facts, "compiler", "there is no C and C++ compiler", ["g++"]));
  if (!programs.make) list.push(missing(facts, "make", "there is no make", ["make"]));
  if (!programs.python3)
    list.push(missing(facts, "python3", "there is no python3, which node-gyp runs on", ["python3"]));
  // Without them node-gyp would fetch some from nodejs.org, and this tree downloads from npm and Debian alone.
  const noHeaders = "Node.js came without its headers (include/node), which the native code needs";
  if (!facts.nodeHeaders && facts.nodeIsDistributions)
    list.push(missing(facts, "node-headers", noHeaders, ["libnode-dev"]));
  if (!facts.nodeHeaders && !facts.nodeIsDistributions) {
    list.push({ id: "node-headers", severity: "stop", problem: noHeaders, remedy: "npm install --global n && n 22" });
  }
  return list;
}

/**
 * @param {Facts} facts
 * @param {string} id
 * @param {string} problem
 * @param {string[]} packages
 * @param {"install" | "lab"} [severity]
 * @returns {Finding}
 */
function missing(facts, id, problem, packages, severity = "install") {
  const remedy = facts.hasApt ? aptCommand(packages, facts.isRoot) : `install what Debian calls ${packages.join(" ")}`;
  return { id, severity, problem, remedy, packages };
}

/**
 * @param {string[]} packages
 * @param {boolean} isRoot
 * @returns {string}
 */
export function aptCommand(packages, isRoot) {
  return `${isRoot ? "" : "sudo "}apt-get install -y --no-install-recommends ${packages.join(" ")}`;
}

/**
 * @param {Facts} facts
 * @returns {Finding[]}
 */
function kvmFindings({ kvm, user, isRoot }) {
  const sudo = isRoot ? "" : "sudo ";
  /** @type {(problem: string, remedy: string) => Finding[]} */
  const finding = (problem, remedy) => [{ id: `kvm-${kvm.device}`, severity: "no-kvm", problem, remedy }];
  const load = kvm.cpu === "vmx" ? `${sudo}modprobe kvm-intel` : `${sudo}modprobe kvm-amd`;
  switch (kvm.device) {
    case "usable":
      return [];
    case "absent":
      if (kvm.cpu === "none") {
        return finding(
          "there is no /dev/kvm, and the processor offers no virtualisation",
          "turn on SVM or VT-x in the firmware's setup, or nested virtualisation for this machine on its host",
        );
      }
      return finding("there is no /dev/kvm", load);
    case "denied":
      if (kvm.userInGroup)
        return finding(`/dev/kvm is not open to this login yet (${kvm.error})`, `newgrp ${kvm.group}`);
      if (kvm.groupMayOpen && kvm.group !== "root") {
        return finding(
          `${user} may not open /dev/kvm (${kvm.error})`,
          `sudo usermod -aG ${kvm.group} ${user} && newgrp ${kvm.group}`,
        );
      }
      return finding(`${user} may not open /dev/kvm (${kvm.error})`, `${sudo}chmod 666 /dev/kvm`);
    default:
      return finding(`/dev/kvm does not open (${kvm.error})`, load);
  }
}

/**
 * @param {Facts} facts
 * @returns {Finding[]}
 */
function labFindings(facts) {
  const { programs } = facts;
  const ubuntu = facts.distribution === "ubuntu";
  const list = [];
  if (!programs.qemu) list.push(missing(facts, "lab-qemu", "the lab misses QEMU", ["qemu-system-x86"], "lab"));
  if (!programs.qemuImg) {
    list.push(missing(facts, "qemu-img", "there is no qemu-img to compare disk images with", ["qemu-utils"], "lab"));
  }
  if (!programs.iasl) {
    list.push(missing(facts, "iasl", "there is no iasl to read ACPI tables with", ["acpica-tools"], "lab"));
  }
  if (!programs.dmidecode) {
    list.push(missing(facts, "dmidecode", "there is no dmidecode to read SMBIOS tables with", ["dmidecode"], "lab"));
  }
  if (!programs.ip) list.push(missing(facts, "ip", "there is no ip to set up taps with", ["iproute2"], "lab"));
  if (!programs.passt) {
    list.push(missing(facts, "passt", "there is no passt for a guest's network", ["passt"], "lab"));
  }
  if (!facts.labKernel) {
    const kernel = ubuntu ? "linux-image-generic" : "linux-image-amd64";
    list.push(missing(facts, "lab-kernel", "the lab misses a kernel with its modules", [kernel], "lab"));
  }
  if (!facts.cloudKernel && facts.distribution === "debian") {
    const packages = ["linux-image-cloud-amd64"];
    list.push(missing(facts, "cloud-kernel", "there is no cloud kernel to boot as a guest", packages, "lab"));
  }
  if (!facts.ovmf) list.push(missing(facts, "ovmf", "there is no OVMF to start a guest with", ["ovmf"], "lab"));
  if (!programs.busybox)
    list.push(missing(facts, "lab-busybox", "the lab misses a static busybox", ["busybox-static"], "lab"));
  if (!programs.xz)
    list.push(
      missing(facts, "lab-xz", "the lab misses xz, and starts three seconds later for it", ["xz-utils"], "lab"),
    );
  if (!programs.perf) {
    const perf = ubuntu ? "linux-tools-generic" : "linux-perf";
    list.push(missing(facts, "lab-perf", "there is no perf to compare perf-kvm with", [perf], "lab"));
  }
  return list;
}
