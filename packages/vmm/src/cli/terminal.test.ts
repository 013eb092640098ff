/** `vmm run` on a terminal: a real pseudo-terminal, looked at from its other side. */
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { watch } from "@tools-kvm/kvm-binding";
import { HANG_MS, hasKvm, NEEDS_KVM, type Outcome, Scratch, Terminal, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

const terminals: Terminal[] = [];
afterAll(() => {
  for (const terminal of terminals) terminal.close();
});

const CTRL_A = "\x01";

function openTerminal(): Terminal {
  const terminal = new Terminal();
  terminals.push(terminal);
  return terminal;
}

/** A machine at its prompt on a terminal of its own. */
async function session(name: string, ...args: string[]) {
  const terminal = openTerminal();
  const before = terminal.settings();
  const vmm = terminal.start(scratch, ["run", "--name", name, "--append", "quiet", ...args]);
  await terminal.until("kvm> ");
  /** Types a line to the monitor and returns what it prints. */
  const monitor = async (line: string, prompt = "(vmm) "): Promise<string> => {
    const from = terminal.length;
    terminal.type(`${line}\r`);
    await terminal.until(new RegExp(`^${line}\n[\\s\\S]*${prompt.replace(/[()]/g, "\\$&")}$`), from);
    return terminal.text(from).slice(line.length + 1, -prompt.length);
  };
  const openMonitor = async (): Promise<void> => {
    const from = terminal.length;
    terminal.type(`${CTRL_A}c`);
    await terminal.until(/\(vmm\) $/, from);
  };
  const restored = async (): Promise<Outcome> => {
    const outcome = await vmm.ended;
    expect(terminal.settings()).toBe(before);
    return outcome;
  };
  return { terminal, vmm, monitor, openMonitor, restored };
}

describe.skipIf(!hasKvm)(`the terminal${NEEDS_KVM}`, { concurrent: true }, () => {
  it("is raw while the machine runs, and as it was when the guest has powered off", async () => {
    const { terminal, restored } = await session("off");
    expect(terminal.isCooked).toBe(false);
    terminal.type("poweroff 3\r");
    expect((await restored()).status).toBe(7);
    expect(terminal.isCooked).toBe(true);
  });

  it("is as it was after Ctrl-A x, which ends the machine with 0", async () => {
    const { terminal, restored } = await session("x");
    terminal.type(`${CTRL_A}x`);
    expect((await restored()).status).toBe(0);
    await terminal.until(/vmm: x stopped/);
  });

  it.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
    ["SIGINT", 130],
  ] as const)("is as it was after %s", async (signal, status) => {
    const { vmm, restored } = await session(signal);
    vmm.signal(signal);
    expect((await restored()).status).toBe(status);
  });

  it("is as it was after a crash", async () => {
    const { terminal, restored } = await session("crashed");
    terminal.type("fault triple\r");
    expect((await restored()).status).toBe(1);
    await terminal.until(/triple fault/);
  });

  it("sends Ctrl-C to the guest, and Ctrl-A when it is typed twice", async () => {
    const { terminal, restored } = await session("keys");
    terminal.type("\x03echo alive\r");
    await terminal.until("\nalive\nkvm> ");
    // The guest's line editor takes Ctrl-A as "to the beginning of the line".
    const from = terminal.length;
    terminal.type(`cho begun${CTRL_A}${CTRL_A}e\r`);
    await terminal.until("\nbegun\nkvm> ", from);
    terminal.type("poweroff\r");
    expect((await restored()).status).toBe(0);
  });

  it("says with Ctrl-A h which keys there are", async () => {
    const { terminal, restored } = await session("help");
    terminal.type(`${CTRL_A}h`);
    await terminal.until("Ctrl-A x ends the machine, Ctrl-A c opens the monitor");
    terminal.type(`${CTRL_A}x`);
    await restored();
  });
});

describe.skipIf(!hasKvm)(`the monitor${NEEDS_KVM}`, { concurrent: true }, () => {
  it("lists its commands, and says of another that there is none", async () => {
    const { terminal, monitor, openMonitor, restored } = await session("commands");
    await openMonitor();
    const help = await monitor("help");
    for (const name of ["help", "pause", "resume", "regs", "exits", "devices", "reset", "quit"]) {
      expect(help).toMatch(new RegExp(`^${name} `, "m"));
    }
    expect(await monitor("dance now")).toBe("no command dance now; help lists them\n");
    terminal.type(`${CTRL_A}${CTRL_A}`);
    const from = terminal.length;
    terminal.type("\r");
    await terminal.until("kvm> ", from);
    terminal.type("poweroff\r");
    expect((await restored()).status).toBe(0);
  });

  it("shows registers, exits and devices of the machine, which goes on", async () => {
    const { terminal, monitor, openMonitor, restored } = await session("look", "--cpus", "2");
    await openMonitor();
    expect(await monitor("regs")).toMatch(/^vCPU 0\nrip +[0-9a-f]{16} +rflags [\s\S]*vCPU 1\nrip /);
    expect(await monitor("exits")).toMatch(/^EXIT +DEVICE[\s\S]*serial16550 +0x3f8 +write/);
    expect(await monitor("devices")).toMatch(/^serial16550 \(pio 0x3f8-0x3ff, irq 4 low\)\n {2}ier 1/);
    terminal.type("\rpoweroff 1\r");
    expect((await restored()).status).toBe(3);
  });

  it("pauses the guest, which says nothing meanwhile, and lets it go on", async () => {
    const { terminal, monitor, restored } = await session("pause");
    const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const lines = Array.from({ length: 30 }, (_, i) => `echo ${"o".repeat(60)} ${i}`);
    terminal.type(`${lines.join("\r")}\r${CTRL_A}cpause\r`);
    await terminal.until("paused; resume lets it go on\n(vmm) ");
    // What the guest had said before comes out still.
    await delay(100);
    expect(terminal.text()).not.toContain(`\n${"o".repeat(60)} 29\n`);
    const from = terminal.length;
    await delay(200);
    expect(terminal.text(from)).toBe("");
    // Standing still, it shows the same registers twice.
    expect(await monitor("regs")).toBe(await monitor("regs"));
    expect(await monitor("pause")).toMatch(/cannot pause a machine that is paused/);
    terminal.type("resume\r\r");
    await terminal.until(`\n${"o".repeat(60)} 29\nkvm> `);
    expect(terminal.text(from)).toContain("running\n");
    terminal.type("poweroff 2\r");
    expect((await restored()).status).toBe(5);
  });

  it("boots the machine again with reset", async () => {
    const { terminal, openMonitor, restored } = await session("reset");
    await openMonitor();
    const from = terminal.length;
    terminal.type("reset\r");
    await terminal.until(/booting again[\s\S]*kvm> /, from);
    terminal.type("\rpoweroff 4\r");
    expect((await restored()).status).toBe(9);
  });

  it("ends the machine with quit, and leaves no prompt behind", async () => {
    const { terminal, openMonitor, restored } = await session("quit");
    await openMonitor();
    const from = terminal.length;
    terminal.type("quit\r");
    expect((await restored()).status).toBe(0);
    await terminal.until("vmm: quit stopped\n", from);
    expect(terminal.text(from)).not.toContain("(vmm)");
  });
});

describe.skipIf(!hasKvm)(`vmm attach on a terminal${NEEDS_KVM}`, { concurrent: true }, () => {
  it("is raw, leaves with Ctrl-A x, is as it was afterwards, and the machine runs on", async () => {
    const machine = await scratch.machine("joined");
    const terminal = openTerminal();
    const before = terminal.settings();
    const viewer = terminal.start(scratch, ["attach", "joined"]);
    await terminal.until("kvm> ");
    expect(terminal.isCooked).toBe(false);
    terminal.type("echo hello\r");
    await terminal.until("\nhello\nkvm> ");
    terminal.type(`${CTRL_A}x`);
    expect((await viewer.ended).status).toBe(0);
    expect(terminal.settings()).toBe(before);
    await terminal.until("vmm: left joined");
    machine.type("poweroff\r");
    expect((await machine.ended).status).toBe(0);
  });
});

describe.skipIf(!hasKvm)(`a serial port on a pty${NEEDS_KVM}`, { concurrent: true }, () => {
  it("is announced on stderr, and whoever opens it talks to the guest", async () => {
    const machine = scratch.start(["run", "--name", "pty", "--serial", "pty", "--append", "quiet"]);
    await machine.until(/serial port on \S+\n/);
    const path = /serial port on (\S+)\n/.exec(machine.stderr)![1]!;
    const fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    let seen = "";
    const bytes = Buffer.alloc(4096);
    const until = (text: string): Promise<void> =>
      new Promise((resolve) => {
        const watching = watch({ fd }, () => {
          seen += bytes.toString("latin1", 0, readSync(fd, bytes));
          if (!seen.includes(text)) return;
          watching.close();
          resolve();
        });
      });
    await until("kvm> ");
    writeSync(fd, "echo by pty\r");
    await until("\r\nby pty\r\nkvm> ");
    writeSync(fd, "poweroff 7\r");
    const { status, stdout, stderr } = await machine.ended;
    closeSync(fd);
    expect({ status, stdout, stderr }).toEqual({ status: 15, stdout: "", stderr: `vmm: serial port on ${path}\n` });
  });
});
