/**
 * Debian's Linux with its console on virtio: a shell on hvc0, as large as the terminal it is on, and ports that carry 1 MiB to a
 * program of the host's and back, into a file, and to a reader that takes nothing and goes away. On MMIO and on PCI.
 * Exit status: 0 when all is as it should be.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Pty, watch } from "@tools-kvm/kvm-binding";
import { buildInitramfs, chooseKernel } from "../dist/index.js";
import { endAll, until } from "./programs.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const MIB = 2 ** 20;
const CONNECT_MS = 30_000;

/** The kernel has no console before the module is there, so the shell looks for its own. */
const SCRIPT = `
exec </dev/hvc0 >/dev/hvc0 2>&1
port() { for each in /sys/class/virtio-ports/*; do [ "$(cat $each/name)" = "$1" ] && echo /dev/\${each##*/}; done; }
echo "fact shell $(tty) $(cat /sys/class/tty/console/active)"
sleep 1
echo "fact size $(stty size)"
read line
echo "fact resized $(stty size) $line"
exec 3<>$(port org.example.data)
head -c ${MIB} <&3 >/tmp/got
echo "fact got $(md5sum </tmp/got | cut -d' ' -f1)"
cat /tmp/got >&3
cat /tmp/got >$(port log)
echo "fact logged yes"
dd if=/dev/zero of=$(port stuck) bs=64k count=64 2>/dev/null &
sleep 1
echo "fact alive with-a-reader-that-does-not-read"
read line
echo "fact alive after-it-has-gone"
kill $!
`;

const md5 = (bytes) => createHash("md5").update(bytes).digest("hex");

/** A program on a terminal of its own, which it controls. */
function onTerminal(command, args) {
  const pty = Pty.open();
  const resize = (columns, rows) => spawnSync("stty", ["-F", pty.path, "cols", `${columns}`, "rows", `${rows}`]);
  spawnSync("stty", ["-F", pty.path, "sane"]);
  resize(80, 24);
  const out = { text: "", errors: "" };
  const bytes = Buffer.alloc(65_536);
  const seen = watch(pty, () => {
    out.text += bytes.toString("latin1", 0, readSync(pty.fd, bytes)).replaceAll("\r", "");
  });
  const fd = openSync(pty.path, "r+");
  const child = spawn("setsid", ["-cw", command, ...args], { stdio: [fd, fd, fd] });
  closeSync(fd);
  const done = new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  const close = () => {
    seen.close();
    pty.close();
  };
  return { child, out, done, resize, close, type: (keys) => writeSync(pty.fd, keys) };
}

/** The socket of a port: it is there as soon as the machine is. */
async function connected(path) {
  for (let end = Date.now() + CONNECT_MS; ; await sleep(100)) {
    const socket = connect({ path, allowHalfOpen: true });
    const result = await new Promise((resolve) => socket.once("connect", resolve).once("error", resolve));
    if (result === undefined) return socket;
    if (Date.now() > end) throw result;
  }
}

/** Sends all, and returns as much as comes back. */
async function exchanged(socket, bytes) {
  const pieces = [];
  let length = 0;
  socket.write(bytes);
  for await (const piece of socket) {
    pieces.push(piece);
    length += piece.length;
    if (length >= bytes.length) break;
  }
  return Buffer.concat(pieces);
}

async function consoleTest(folder, kernel, initramfs, bus) {
  const paths = Object.fromEntries(["data", "stuck", "log"].map((name) => [name, join(folder, `${bus}-${name}`)]));
  const name = `console-${bus}`;
  const guest = onTerminal("node", [
    ...[VMM, "run", "--name", name, "--kernel", kernel, "--initrd", initramfs, "--memory", "384M", "--bus", bus],
    ...["--console", "stdio", "--port", `org.example.data=socket:${paths.data}`, "--port", `log=file:${paths.log}`],
    ...["--port", `stuck=socket:${paths.stuck}`, "--no-reboot"],
  ]);
  const fact = (what) => new RegExp(`^fact ${what} (.*)$`, "m").exec(guest.out.text)?.[1];
  const known = (what) => until(what, guest, () => fact(what) !== undefined);
  try {
    const stuck = await connected(paths.stuck);
    stuck.pause();
    await known("size");
    const attached = spawnSync("node", [VMM, "attach", name], { input: "", encoding: "utf8", timeout: 10_000 });
    guest.resize(132, 43);
    await sleep(500);
    guest.type("typed\r");
    await known("resized");
    const sent = randomBytes(MIB);
    const start = performance.now();
    const back = await exchanged(await connected(paths.data), sent);
    const ms = performance.now() - start;
    await known("alive");
    stuck.destroy();
    await sleep(300);
    guest.type("\r");
    const status = await guest.done;
    const expected = {
      shell: ["/dev/hvc0 hvc0", fact("shell")],
      size: ["24 80", fact("size")],
      resized: ["43 132 typed", fact("resized")],
      attached: [true, attached.stdout.includes("fact size")],
      got: [md5(sent), fact("got")],
      back: [md5(sent), md5(back)],
      log: [md5(sent), md5(readFileSync(paths.log))],
      alive: [true, guest.out.text.includes("fact alive after-it-has-gone")],
      status: [0, status],
      rules: [false, /broke the rules/.test(guest.out.text)],
    };
    console.log(
      bus,
      JSON.stringify({ ms: Math.round(ms), back: back.length, size: fact("size"), resized: fact("resized") }),
    );
    const faults = Object.entries(expected).filter(([, [wanted, seen]]) => wanted !== seen);
    if (faults.length > 0) console.log(guest.out.text.slice(-2000), attached);
    return faults.map(([what, [wanted, seen]]) => `${bus}: ${what}: ${seen}, not ${wanted}`);
  } finally {
    if (guest.child.exitCode === null) execFileSync("node", [VMM, "stop", "--now", name]);
    guest.close();
  }
}

const folder = mkdtempSync(join(tmpdir(), "linux-console-"));
try {
  const { path: kernel, modulesDirectory } = chooseKernel({});
  const initramfs = join(folder, "initramfs");
  const modules = ["virtio_mmio", "virtio_pci", "virtio_console"];
  writeFileSync(initramfs, buildInitramfs({ script: SCRIPT, modules, modulesDirectory }));
  const faults = [];
  for (const bus of ["mmio", "pci"]) faults.push(...(await consoleTest(folder, kernel, initramfs, bus)));
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
