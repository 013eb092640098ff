/**
 * Samples of a Linux guest, kernel and user space, recorded by perf-kvm: named by the guest's own kallsyms, counted as perf counts
 * them; and of the embedded guest, named by what its machine says of its kernel.
 * Exit status: 0 when all is as it should be.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildInitramfs, chooseKernel } from "../dist/index.js";
import { endAll, start, until } from "./programs.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const PERF_KVM = "packages/perf-kvm/bin/perf-kvm.js";
const MODULES = ["virtio_mmio", "9pnet_virtio", "9p"];
const SECONDS = "4";
/** What dd of zeros does in the kernel. */
const ZEROING = /zero|clear_user|rep_stos/;

const SCRIPT = `
mkdir /shared
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 work /shared
cat /proc/kallsyms > /shared/kallsyms
cat /proc/modules > /shared/modules
umount /shared
echo ready
dd if=/dev/zero of=/dev/null bs=64k &
while :; do :; done
`;

const faults = [];
const expect = (what, isSo) => {
  if (!isSo) faults.push(what);
};

function run(...words) {
  const { status, stdout, stderr } = spawnSync("node", [PERF_KVM, ...words], { encoding: "utf8", maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`perf-kvm ${words.join(" ")}: ${stderr}`);
  return stdout;
}

/** Samples of guests by perf's own reading of the file: 4 is a guest's kernel, 5 its user space. */
function perfCounts(file) {
  const { stdout } = spawnSync("perf", ["script", "-D", "-i", file], { encoding: "utf8", maxBuffer: 2 ** 28 });
  const count = (misc) => stdout.split(`PERF_RECORD_SAMPLE(IP, 0x${misc}):`).length - 1;
  return { kernel: count(4), user: count(5) };
}

const sum = (rows) => rows.reduce((total, { count }) => total + count, 0);

async function linux(folder) {
  const shared = join(folder, "shared");
  mkdirSync(shared);
  const kernel = chooseKernel({});
  const initramfs = join(folder, "initramfs.cpio");
  writeFileSync(
    initramfs,
    buildInitramfs({ script: SCRIPT, modules: MODULES, modulesDirectory: kernel.modulesDirectory }),
  );
  const guest = start("node", [
    ...[VMM, "run", "--name", "sampled", "--memory", "512M", "--kernel", kernel.path, "--initrd", initramfs],
    ...["--append", "console=ttyS0 quiet", "--share", `work=${shared}`],
  ]);
  await until("the guest's work", guest, () => guest.out.text.includes("ready"));
  const file = join(folder, "linux.data");
  run("record", "--vm", "sampled", "-e", "exits,cpu-clock", "-F", "200", "--duration", SECONDS, "-o", file);
  const names = ["--guest-kallsyms", join(shared, "kallsyms"), "--guest-modules", join(shared, "modules")];
  const { samples, rows } = JSON.parse(run("report", "-i", file, "--json", ...names));
  console.log(
    run("report", "-i", file, ...names)
      .split("\n")
      .slice(0, 40)
      .join("\n"),
  );
  guest.child.kill("SIGKILL");
  await guest.done;

  const kernelRows = samples.rows.filter(({ mode }) => mode === "kernel");
  const userRows = samples.rows.filter(({ mode }) => mode === "user");
  const counts = perfCounts(file);
  expect(`perf counts ${JSON.stringify(counts)}`, counts.kernel === sum(kernelRows) && counts.user === sum(userRows));
  expect("samples of the guest's kernel", counts.kernel > 20);
  expect("samples of the guest's user space", counts.user > 20);
  expect(
    "user space says so",
    userRows.every(({ symbol, why }) => symbol === null && why === "user space of the guest"),
  );
  // The kernel says of some samples of user space that they are of the guest's kernel: their addresses tell.
  const inKernel = kernelRows.filter(({ why }) => why !== "user space of the guest");
  expect("the kernel has names", sum(inKernel.filter(({ symbol }) => symbol !== null)) > 0.95 * sum(inKernel));
  expect(
    "the kernel writes zeros",
    kernelRows.some(({ symbol }) => ZEROING.test(symbol ?? "")),
  );
  expect(
    "exits beside the samples",
    rows.some(({ source, count }) => source === "kvm_exit" && count > 0),
  );
}

async function embedded(folder) {
  const guest = start("node", [
    VMM,
    "run",
    "--name",
    "own",
    "--append",
    "quiet run=exits cpuid 100000000",
    "--serial",
    "null",
  ]);
  const file = join(folder, "own.data");
  await until("the machine", guest, () => spawnSync("node", [VMM, "inspect", "own"]).status === 0);
  run("record", "--vm", "own", "-e", "cpu-clock", "-F", "500", "--duration", SECONDS, "-o", file);
  const report = JSON.parse(run("report", "-i", file, "--json"));
  guest.child.kill("SIGKILL");
  await guest.done;
  const named = report.samples.rows.filter(({ symbol }) => symbol !== null);
  console.log(JSON.stringify(report.samples, null, 1));
  // It is outside of the guest most of the time; what is inside has names without being asked for files.
  expect("the embedded guest's samples have names", named.length > 0 && named.length === report.samples.rows.length);
  expect(
    "its loop is among them",
    named.some(({ symbol }) => symbol === "cpuid_loop"),
  );
}

const folder = mkdtempSync(join(tmpdir(), "guest-samples-"));
try {
  await linux(folder);
  await embedded(folder);
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
for (const fault of faults) console.error(`not so: ${fault}`);
process.exit(faults.length === 0 ? 0 : 1);
