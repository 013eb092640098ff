/** What `npm test` runs in the lab, each in a machine of its own. To add a test, add an entry. */

export interface SuiteEntry {
  name: string;
  /** Program and arguments, run in `cwd` inside the lab: status 0 is a pass, 77 a skip, anything else a failure. */
  command: readonly string[];
  /** Below the checkout; its root unless told otherwise. */
  cwd?: string;
  /** How long the command may take. Everything is some ten to twenty times slower in there. */
  timeoutMs: number;
  cpus?: number;
  memoryMiB?: number;
  /** Files of the checkout without which there is nothing to test yet. */
  needsFiles?: readonly string[];
  /** Programs of the host, which the lab shares. */
  needsPrograms?: readonly string[];
}

const MINUTE_MS = 60_000;

/** Tests of a package by vitest, with its patience multiplied. The reporter's counts and skips become the suite's. */
function vitest(cwd: string, ...words: string[]): readonly string[] {
  const up = cwd
    .split("/")
    .map(() => "..")
    .join("/");
  return [
    ...["node", `${up}/node_modules/vitest/vitest.mjs`, "run"],
    ...["--reporter=default", `--reporter=${up}/tools/setup/vitest-reporter.mjs`],
    ...["--testTimeout=300000", "--hookTimeout=300000"],
    ...words,
  ];
}

export const SUITE: readonly SuiteEntry[] = [
  {
    name: "kvm-binding's tests on a real kvm-amd",
    // Without the two that ask nothing of KVM and much of the processor. One CPU: see docs/lab.md, "More than one CPU".
    command: vitest("packages/kvm-binding", "--exclude=src/fuzz.test.ts", "--exclude=src/leak.test.ts"),
    cwd: "packages/kvm-binding",
    timeoutMs: 10 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["packages/kvm-binding/dist/index.js", "packages/kvm-binding/build/Release/kvm_binding.node"],
  },
  {
    name: "what KVM promises to user space, on a real kvm-amd",
    command: ["node", "tools/kernel-tests/bin/kernel-tests.js", "--jobs", "1"],
    timeoutMs: 10 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/kernel-tests/dist/cli.js", "tools/kernel-tests/dist/raw-ioctl"],
  },
  {
    name: "perf-kvm's doctor, list and stat on a real kvm-amd",
    command: vitest("packages/perf-kvm", "src/cli/doctor.test.ts", "src/cli/list.test.ts", "src/cli/stat-away.test.ts"),
    cwd: "packages/perf-kvm",
    timeoutMs: 10 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["packages/vmm/dist/cli.js", "packages/perf-kvm/dist/cli.js"],
  },
  {
    name: "perf-kvm top, perf-kvm report and perf kvm stat count the same kvm_exit events",
    command: ["node", "tools/lab/suite/exit-counts.mjs"],
    timeoutMs: 10 * MINUTE_MS,
    needsFiles: ["tools/lab/suite/exit-counts.mjs", "packages/vmm/dist/cli.js", "packages/perf-kvm/dist/cli.js"],
    needsPrograms: ["perf"],
  },
  {
    name: "perf-kvm top knows the instruction, the detail and the time of each kvm_exit",
    command: ["node", "tools/lab/suite/exit-sources.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/exit-sources.mjs", "packages/vmm/dist/cli.js", "packages/perf-kvm/dist/cli.js"],
  },
  {
    name: "Linux boots as a bzImage, as a vmlinux, by our ROM and by SeaBIOS, and leaves by power button, reset and power-off",
    command: ["node", "tools/lab/suite/linux-boots.mjs"],
    timeoutMs: 10 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-boots.mjs", "packages/vmm/dist/cli.js"],
    needsPrograms: ["busybox"],
  },
  {
    name: "Linux runs on ext4 disks, raw and qcow2, and what it flushed survives a kill",
    command: ["node", "tools/lab/suite/linux-disks.mjs"],
    timeoutMs: 10 * MINUTE_MS,
    cpus: 1,
    memoryMiB: 3072,
    needsFiles: ["tools/lab/suite/linux-disks.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "mkfs.ext4", "qemu-img", "debugfs"],
  },
  {
    name: "Linux has its disk, its network and random numbers on PCI, with MSI-X and without",
    command: ["node", "tools/lab/suite/linux-pci.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-pci.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "mkfs.ext4"],
  },
  {
    name: "Linux has its balloon, its vsock and a shared folder on PCI with a split irqchip, with MSI-X and without",
    command: ["node", "tools/lab/suite/linux-pci-devices.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-pci-devices.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "gcc"],
  },
  {
    name: "samples of a guest have the names of its functions, and perf counts as many",
    command: ["node", "tools/lab/suite/guest-samples.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 2,
    needsFiles: [
      "tools/lab/suite/guest-samples.mjs",
      "packages/perf-kvm/dist/cli.js",
      "packages/vmm/dist/io-worker.js",
    ],
    needsPrograms: ["busybox", "perf"],
  },
  {
    name: "Linux that SeaBIOS has booted has its disk on PCI, and restarts",
    command: ["node", "tools/lab/suite/linux-pci-firmware.mjs", "seabios"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-pci-firmware.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "mkfs.ext4"],
  },
  {
    name: "OVMF starts Linux from a disk on PCI",
    command: ["node", "tools/lab/suite/linux-pci-firmware.mjs", "ovmf"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-pci-firmware.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox"],
  },
  {
    name: "Debian's cloud kernel boots to a shell on an ext4 disk, raw with one CPU and qcow2 on PCI with two",
    command: ["node", "tools/lab/suite/linux-cloud.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-cloud.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "mkfs.ext4", "qemu-img"],
  },
  {
    name: "SeaBIOS reaches its boot menu, and boots kernels and a disk's first sector",
    command: vitest("packages/vmm", "src/cli/seabios.test.ts"),
    cwd: "packages/vmm",
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["packages/vmm/dist/cli.js"],
  },
  {
    name: "OVMF reaches its shell, and keeps a variable from one machine to the next",
    command: ["node", "tools/lab/suite/ovmf.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/ovmf.mjs", "packages/vmm/dist/cli.js"],
  },
  {
    name: "Linux has more virtio devices: a balloon that gives memory back to the host, and vsock both ways",
    command: ["node", "tools/lab/suite/linux-more-devices.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-more-devices.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "gcc"],
  },
  {
    name: "Linux has a shell on a virtio console that follows its terminal's size, and ports to the host's programs",
    command: ["node", "tools/lab/suite/linux-console.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-console.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "setsid", "stty"],
  },
  {
    name: "Linux is on the network, over a tap and over passt with a forwarded port",
    command: ["node", "tools/lab/suite/linux-net.mjs"],
    timeoutMs: 10 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-net.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "ip", "passt"],
  },
  {
    name: "Linux mounts a shared folder by 9P, and stays in it",
    command: ["node", "tools/lab/suite/linux-share.mjs"],
    timeoutMs: 10 * MINUTE_MS,
    cpus: 1,
    memoryMiB: 3072,
    needsFiles: ["tools/lab/suite/linux-share.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox"],
  },
  {
    name: "Debian's kernel has a folder of the host's as its root, by 9P",
    command: ["node", "tools/lab/suite/linux-root-9p.mjs"],
    timeoutMs: 5 * MINUTE_MS,
    cpus: 1,
    needsFiles: ["tools/lab/suite/linux-root-9p.mjs", "packages/vmm/dist/io-worker.js"],
    needsPrograms: ["busybox", "mkinitramfs"],
  },
  {
    name: "vmm sandbox runs commands on the host's kernel and files: streams, terminal, signals, network, status",
    command: ["node", "tools/lab/suite/linux-sandbox.mjs"],
    timeoutMs: 10 * MINUTE_MS,
    cpus: 1,
    memoryMiB: 3072,
    needsFiles: ["tools/lab/suite/linux-sandbox.mjs", "packages/firmware/dist/sandbox-init"],
    needsPrograms: ["busybox", "ip", "passt", "script", "setpriv"],
  },
  {
    name: "Linux's 9p client on the server for shared folders",
    command: ["node", "tools/lab/suite/shared-folder.mjs"],
    timeoutMs: 15 * MINUTE_MS,
    needsFiles: ["tools/lab/suite/shared-folder.mjs", "packages/vmm/dist/index.js"],
    needsPrograms: ["git", "tar", "python3"],
  },
];
