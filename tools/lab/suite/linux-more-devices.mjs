/**
 * Debian's Linux with a balloon: it gives memory back to the host when asked, says what it has left, and has it all again. Over
 * vsock each side reaches the other, and 4 MiB go each way.
 * Exit status: 0 when all is as it should be.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { buildInitramfs, chooseKernel } from "../dist/index.js";
import { endAll, start, until } from "./programs.mjs";
import { buildVsock, echoed, md5, STREAM_BYTES, serveGuest } from "./vsock.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const NAME = "more-devices";
const MIB = 2 ** 20;
const MEMORY_MIB = 384;
const BALLOON_MIB = 192;
const FILLED_MIB = 160;
const SETTLE_MS = 60_000;

/** Touches memory, so that the host has to have it, and lets it go again. */
const SCRIPT = `
mkdir /filled
mount -t tmpfs -o size=${FILLED_MIB + 16}m tmpfs /filled
dd if=/dev/zero of=/filled/all bs=1M count=${FILLED_MIB} 2>/dev/null
echo "fact filled yes"
read line
rm /filled/all
echo "fact freed yes"
read line
dd if=/dev/zero of=/filled/all bs=1M count=${FILLED_MIB} 2>/dev/null
echo "fact filled-again $(stat -c %s /filled/all)"
rm /filled/all
read line
vsock listen 1234 &
echo "fact from-host $(vsock connect 4321 | md5sum | cut -d' ' -f1)"
wait
echo "fact refused $(vsock connect 4322 2>&1)"
`;

async function vsockTest(guest, path) {
  const [down, up] = [randomBytes(STREAM_BYTES), randomBytes(STREAM_BYTES)];
  serveGuest(path, down);
  guest.child.stdin.write("\n");
  const { line, echo } = await echoed(path, up);
  await guest.done;
  const faults = [];
  if (!/^OK \d+$/.test(line)) faults.push(`the host is answered ${line}`);
  if (md5(echo) !== md5(up)) faults.push(`the guest echoes ${echo.length} bytes of ${up.length}`);
  const fromHost = /fact from-host (\S+)/.exec(guest.out.text)?.[1];
  if (fromHost !== md5(down)) faults.push(`the guest has read ${fromHost}`);
  const refused = /fact refused (.*?)\r?\n/.exec(guest.out.text)?.[1];
  if (!/reset|refused/i.test(refused)) faults.push(`a port of nobody's gives ${refused}`);
  console.log("vsock", JSON.stringify({ line, echo: echo.length, fromHost, refused }));
  return faults;
}

const vmm = (...args) => {
  const { stdout, stderr, status } = spawnSync("node", [VMM, ...args], { encoding: "utf8" });
  if (status !== 0) throw new Error(`vmm ${args.join(" ")}: ${stderr}`);
  return stdout;
};
const balloon = (...size) => JSON.parse(vmm("balloon", NAME, ...size, "--json"));

/** What the host has given for the guest's RAM: the blocks of its memfd. */
function hostMib(pid) {
  const folder = `/proc/${pid}/fd`;
  const fds = readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(join(folder, fd)).includes("tools-kvm-ram");
    } catch {
      return false; // closed meanwhile
    }
  });
  const files = new Map(fds.map((fd) => [statSync(join(folder, fd)).ino, statSync(join(folder, fd)).blocks]));
  return [...files.values()].reduce((sum, blocks) => sum + (blocks * 512) / MIB, 0);
}

async function settled(what, ask) {
  for (let end = Date.now() + SETTLE_MS; ; await sleep(200)) {
    const { isThere, shown } = ask();
    if (isThere) return shown;
    if (Date.now() > end) throw new Error(`${what}: it stays at ${JSON.stringify(shown)}`);
  }
}

const actual = (mib) => () => {
  const shown = balloon();
  return { isThere: shown.actualBytes === mib * MIB, shown };
};

async function balloonTest(guest) {
  const faults = [];
  const has = (text) => () => guest.out.text.includes(text);
  await until("memory that is full", guest, has("fact filled yes"));
  const pid = JSON.parse(vmm("ps", "--json")).find(({ name }) => name === NAME).pid;
  const full = hostMib(pid);
  guest.child.stdin.write("\n");
  await until("memory that is free", guest, has("fact freed yes"));
  // Free page reporting, unasked.
  const reported = await settled("free pages that are reported", () => {
    const shown = hostMib(pid);
    return { isThere: shown < full - FILLED_MIB / 2, shown };
  });
  const before = balloon();
  balloon(`${BALLOON_MIB}M`);
  const { stats } = await settled("the balloon", actual(BALLOON_MIB));
  const inflated = hostMib(pid);
  console.log("balloon", JSON.stringify({ full, reported, inflated, before, stats }));
  if (inflated > MEMORY_MIB - BALLOON_MIB)
    faults.push(`${inflated} MiB of the host's with the balloon at ${BALLOON_MIB}`);
  if (!(before.stats.freeBytes - stats.freeBytes > (BALLOON_MIB / 2) * MIB))
    faults.push("the guest's free memory has not shrunk");
  if (!(before.stats.totalBytes > (MEMORY_MIB / 2) * MIB))
    faults.push(`the guest has ${before.stats.totalBytes} bytes in all`);
  balloon("0");
  await settled("the balloon without anything", actual(0));
  guest.child.stdin.write("\n");
  await until("memory that is full again", guest, has(`fact filled-again ${FILLED_MIB * MIB}`));
  const again = hostMib(pid);
  console.log("balloon", JSON.stringify({ again }));
  if (again < FILLED_MIB) faults.push(`${again} MiB of the host's with ${FILLED_MIB} in use`);
  return faults;
}

const folder = mkdtempSync(join(tmpdir(), "linux-more-devices-"));
try {
  const { path: kernel, modulesDirectory } = chooseKernel({});
  const path = join(folder, "guest.sock");
  const initramfs = join(folder, "initramfs");
  writeFileSync(
    initramfs,
    buildInitramfs({
      script: SCRIPT,
      modules: ["virtio_mmio", "virtio_balloon", "vmw_vsock_virtio_transport"],
      modulesDirectory,
      files: { "bin/vsock": buildVsock(folder) },
    }),
  );
  const guest = start("node", [
    ...[VMM, "run", "--name", NAME, "--kernel", kernel, "--initrd", initramfs, "--append", "console=ttyS0 loglevel=4"],
    ...["--memory", `${MEMORY_MIB}M`, "--balloon", "--vsock", `cid=3,uds=${path}`],
  ]);
  const faults = [...(await balloonTest(guest)), ...(await vsockTest(guest, path))];
  const status = await guest.done;
  if (status !== 0) faults.push(`status ${status}: ${guest.out.errors}`);
  if (/broke the rules/.test(guest.out.errors)) faults.push(guest.out.errors);
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  if (faults.length > 0) console.log(guest.out.text.slice(-1500), guest.out.errors);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
