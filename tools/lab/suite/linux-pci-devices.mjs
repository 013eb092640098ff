/**
 * Debian's Linux with its balloon, its vsock and a shared folder on PCI, with a split irqchip: by MSI-X, and by interrupt lines
 * of the IOAPIC, which is ours.
 * Exit status: 0 when all is as it should be.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { buildInitramfs, chooseKernel } from "../dist/index.js";
import { endAll, start, until } from "./programs.mjs";
import { compare } from "./root-disk.mjs";
import { buildVsock, echoed, md5, serveGuest } from "./vsock.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const MIB = 2 ** 20;
const BALLOON_MIB = 64;
const SETTLE_MS = 30_000;
const MODULES = ["virtio_pci", "virtio_balloon", "vmw_vsock_virtio_transport", "virtio_rng", "9pnet_virtio", "9p"];

const SCRIPT = `
fact() { echo "fact $1 $2"; }
mkdir /shared
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 work /shared || fact mount failed
fact shared "$(md5sum </shared/from-host | cut -d" " -f1)"
cp /shared/from-host /shared/from-guest
umount /shared
fact functions "$(cat /sys/bus/pci/devices/*/device | tr '\\n' ' ')"
fact random "$(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)"
echo "ready"
read line
vsock listen 1234 &
fact from-host "$(vsock connect 4321 | md5sum | cut -d' ' -f1)"
wait
fact vectors "$(grep -c 'MSI.*virtio' /proc/interrupts)"
fact lines "$(grep 'fasteoi.*virtio' /proc/interrupts | wc -l)"
fact nobody-cared "$(dmesg | grep -c 'nobody cared')"
poweroff -f
`;

function balloon(name, size) {
  const { stdout, stderr, status } = spawnSync("node", [VMM, "balloon", name, ...size, "--json"], { encoding: "utf8" });
  if (status !== 0) throw new Error(`vmm balloon ${name} ${size}: ${stderr}`);
  return JSON.parse(stdout);
}

/** The guest gives back what it is asked for. */
async function inflate(name, mib) {
  balloon(name, [`${mib}M`]);
  for (let end = Date.now() + SETTLE_MS; ; await sleep(200)) {
    const { actualBytes } = balloon(name, []);
    if (actualBytes === mib * MIB) return;
    if (Date.now() > end) throw new Error(`${name}: the balloon stays at ${actualBytes}`);
  }
}

async function withDevices(name, folder, { kernel, initramfs, bytes }, expected, ...more) {
  const work = join(folder, name);
  mkdirSync(work);
  writeFileSync(join(work, "from-host"), bytes);
  const path = join(folder, `${name}.sock`);
  serveGuest(path, bytes);
  const guest = start("node", [
    ...[VMM, "run", "--name", name, "--bus", "pci", "--kernel", kernel, "--initrd", initramfs, "--memory", "256M"],
    ...["--irqchip", "split", "--rng", "--balloon", "--vsock", `cid=3,uds=${path}`, "--share", `work=${work}`, ...more],
  ]);
  await until("a guest that is ready", guest, () => guest.out.text.includes("ready"));
  await inflate(name, BALLOON_MIB);
  guest.child.stdin.write("\n");
  const { echo } = await echoed(path, bytes);
  const status = await guest.done;
  const sum = md5(bytes);
  const same = { functions: "0x29c0 0x1049 0x1044 0x1045 0x1053 0x2918 ", random: "64", "nobody-cared": "0" };
  const faults = compare(name, guest, { ...same, shared: sum, "from-host": sum, ...expected });
  if (md5(echo) !== sum) faults.push(`${name}: the guest echoes ${echo.length} bytes of ${bytes.length}`);
  if (md5(readFileSync(join(work, "from-guest"))) !== sum) faults.push(`${name}: the shared folder has other bytes`);
  if (status !== 0 || /broke the rules/.test(guest.out.errors)) faults.push(`${name}: ${status}: ${guest.out.errors}`);
  return faults;
}

const folder = mkdtempSync(join(tmpdir(), "linux-pci-devices-"));
try {
  const { path: kernel, modulesDirectory } = chooseKernel({});
  const initramfs = join(folder, "initramfs");
  const files = { "bin/vsock": buildVsock(folder) };
  writeFileSync(initramfs, buildInitramfs({ script: SCRIPT, modules: MODULES, modulesDirectory, files }));
  const about = { kernel, initramfs, bytes: randomBytes(MIB) };
  const noMsi = ["--append", "console=ttyS0 loglevel=4 pci=nomsi"];
  const faults = [
    ...(await withDevices("msix", folder, about, { vectors: "13", lines: "0" })),
    ...(await withDevices("lines", folder, about, { vectors: "0", lines: "4" }, ...noMsi)),
  ];
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
