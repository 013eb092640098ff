/** `vmm run --console` and `--port`, with guests of a few bytes: Linux has them in the lab (tools/lab/suite/linux-console.mjs). */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { UnixListener } from "@tools-kvm/kvm-binding";
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, Terminal, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { codeGuest, events, POWER_OFF } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

const TEXT = "hvc0 is here\n";
/** Where the first device on MMIO takes characters of an emergency: its configuration space begins at 0x100. */
const EMERGENCY_WRITE = [0x08, 0x01, 0x80, 0xfe];
/** mov dword [EMERGENCY_WRITE], letter */
const SAY = [...TEXT].flatMap((letter) => [0xc7, 0x05, ...EMERGENCY_WRITE, letter.charCodeAt(0), 0, 0, 0]);
/** 1: hlt; jmp 1b */
const STAY = [0xf4, 0xeb, 0xfd];

const says = scratch.file("says.elf", codeGuest([...SAY, ...POWER_OFF]));
const stays = scratch.file("stays.elf", codeGuest([...SAY, ...STAY]));

const isThere = (name: string): Promise<boolean> =>
  scratch.ask(name, "status").then(
    () => true,
    () => false,
  );

/** What the console's configuration space says: columns and rows. */
async function size(name: string): Promise<number[]> {
  const devices = (await scratch.ask(name, "devices")) as { name: string; state: { config: unknown } }[];
  const { config } = devices.find((device) => device.name === "virtio-console0")!.state;
  const bytes = Buffer.from(Object.values(config as Record<string, number>));
  return [bytes.readUInt16LE(0), bytes.readUInt16LE(2)];
}

describe.skipIf(!hasKvm)(`the console${NEEDS_KVM}`, { concurrent: true }, () => {
  it("is on standard output, and the serial port then nowhere", async () => {
    const outcome = await scratch.run(["run", "--kernel", says, "--console", "stdio"]);
    expect(outcome).toMatchObject({ status: 0, stdout: TEXT, stderr: "" });
  });

  it("goes into a file, beside a serial port on standard output", async () => {
    const file = scratch.file("console.log", "of an earlier machine, and longer");
    const outcome = await scratch.run(["run", "--kernel", says, "--console", `file:${file}`]);
    expect(outcome).toMatchObject({ status: 0, stdout: "" });
    expect(readFileSync(file, "latin1")).toBe(TEXT);
  });

  it("is what --json reports", async () => {
    const { stdout } = await scratch.run(["run", "--kernel", says, "--console", "stdio", "--json"]);
    const output = events(stdout).filter(({ event }) => event === "output");
    expect(output.map(({ text }) => text).join("")).toBe(TEXT);
  });

  it("is what vmm attach joins, whose terminal says how large it is", async () => {
    const machine = scratch.start(["run", "--name", "con", "--kernel", stays, "--console", "null", "--serial", "null"]);
    await vi.waitFor(async () => expect(await isThere("con")).toBe(true), HANG_MS);
    expect(await size("con")).toEqual([0, 0]);
    const terminal = new Terminal();
    try {
      const attached = terminal.start(scratch, ["attach", "con"]);
      await terminal.until(TEXT);
      await vi.waitFor(async () => expect(await size("con")).toEqual([80, 24]), HANG_MS);
      terminal.type("\x01x");
      await attached.ended;
    } finally {
      terminal.close();
    }
    await scratch.run(["stop", "--now", "con"]);
    expect((await machine.ended).status).toBe(0);
  });

  it("is as large as the terminal that it is on", async () => {
    const terminal = new Terminal();
    try {
      const machine = terminal.start(scratch, ["run", "--name", "sized", "--kernel", stays, "--console", "stdio"]);
      await terminal.until(TEXT);
      await vi.waitFor(async () => expect(await size("sized")).toEqual([80, 24]), HANG_MS);
      terminal.type("\x01x");
      expect((await machine.ended).status).toBe(0);
      expect(terminal.isCooked).toBe(true);
    } finally {
      terminal.close();
    }
  });

  it("has viewers on a socket of its own, which a machine that was killed has left and this one takes away", async () => {
    const path = scratch.path("con.sock");
    UnixListener.listen(path).close();
    const machine = scratch.start(["run", "--name", "seen", "--kernel", stays, "--console", `socket:${path}`]);
    await vi.waitFor(async () => expect(await isThere("seen")).toBe(true), HANG_MS);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const viewer = connect(path);
    const seen: Buffer[] = [];
    viewer.on("data", (bytes) => seen.push(bytes));
    const left = new Promise((resolve) => viewer.once("close", resolve));
    await vi.waitFor(() => expect(Buffer.concat(seen).toString()).toBe(TEXT), HANG_MS);
    await scratch.run(["stop", "--now", "seen"]);
    await left;
    expect((await machine.ended).status).toBe(0);
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  });
});

describe.skipIf(!hasKvm)(`ports${NEEDS_KVM}`, { concurrent: true }, () => {
  it("are sockets for this user alone, files and ptys", async () => {
    const [socket, file] = [scratch.path("port.sock"), scratch.path("port.log")];
    writeFileSync(file, "of an earlier machine");
    const ports = [`agent=socket:${socket}`, `log=file:${file}`, "tty=pty"].flatMap((port) => ["--port", port]);
    const machine = scratch.start(["run", "--name", "ports", "--kernel", stays, "--serial", "null", ...ports]);
    await machine.until(/port tty on \S+\n/);
    await vi.waitFor(() => expect(statSync(socket, { throwIfNoEntry: false })?.mode).toBeDefined(), HANG_MS);
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(statSync(/port tty on (\S+)\n/.exec(machine.stderr)![1]!).isCharacterDevice()).toBe(true);
    expect(readFileSync(file, "latin1")).toBe("");
    await scratch.run(["stop", "--now", "ports"]);
    expect((await machine.ended).status).toBe(0);
    expect(statSync(socket, { throwIfNoEntry: false })).toBeUndefined();
  });
});
