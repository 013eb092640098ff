/** The commands beside `run`: ps, stop, attach, inspect, doctor, and help. */
import { existsSync, statSync, writeFileSync } from "node:fs";
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { DeviceDump, MachineStatus } from "../control/actions.js";
import { PM1 } from "../devices/acpi-pm/acpi-pm.js";
import { kvmKind } from "../machine/host.js";
import { events, POWER_OFF, powerButtonGuest } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

/** Waits until a machine's guest listens to its power button. */
async function listening(name: string): Promise<void> {
  await vi.waitFor(
    async () => {
      const { stdout } = await scratch.run(["inspect", name, "acpi-pm", "--json"]);
      const [device] = JSON.parse(stdout) as DeviceDump[];
      expect((device!.state.enable as number) & PM1.PWRBTN).not.toBe(0);
    },
    { timeout: HANG_MS },
  );
}

describe("help", () => {
  it("lists every command, with examples and exit codes, and ends with 0", async () => {
    const { status, stdout, stderr } = await scratch.run(["--help"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    for (const command of ["run", "ps", "stop", "attach", "inspect", "doctor"]) {
      expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
    }
    expect(stdout).toContain("Examples:");
    expect(stdout).toContain("Exit codes:");
  });

  it("of run has every option, examples and the keys of the terminal", async () => {
    const { status, stdout } = await scratch.run(["run", "--help"]);
    expect(status).toBe(0);
    for (const option of ["kernel", "initrd", "append", "cpus", "memory", "name", "serial", "irqchip", "json"]) {
      expect(stdout).toContain(`--${option}`);
    }
    expect(stdout).toMatch(/Ctrl-A x .*Ctrl-A c /);
    expect(stdout).toContain("Examples:\n  vmm run");
  });

  it("is what a bare vmm prints, with exit code 2", async () => {
    expect(await scratch.run([])).toMatchObject({ status: 2, stdout: expect.stringContaining("Usage: vmm") });
  });

  it("has the package's version", async () => {
    expect((await scratch.run(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("with no machine", () => {
  it("vmm ps says how to start one, and [] as JSON", async () => {
    const env = scratch.env({ XDG_RUNTIME_DIR: scratch.path("empty") });
    expect((await scratch.run(["ps"], { env })).stdout).toBe("no machine is running; `vmm run` starts one\n");
    expect((await scratch.run(["ps", "--json"], { env })).stdout).toBe("[]\n");
  });

  it.each(["stop", "attach", "inspect"])("vmm %s NAME says so in one line, exit code 1", async (command) => {
    const env = scratch.env({ XDG_RUNTIME_DIR: scratch.path("empty") });
    expect(await scratch.run([command, "nobody"], { env })).toMatchObject({
      status: 1,
      stdout: "",
      stderr: "vmm: no machine named nobody is running\n",
    });
  });

  it("a name that is a path reaches and removes nothing", async () => {
    const outside = scratch.path("outside.sock");
    writeFileSync(outside, "");
    expect((await scratch.run(["stop", "../outside"])).status).toBe(1);
    expect(existsSync(outside)).toBe(true);
  });
});

describe.skipIf(!hasKvm)(`running machines${NEEDS_KVM}`, { concurrent: true }, () => {
  it("are listed by vmm ps, for people and as JSON", async () => {
    const [a] = await Promise.all([
      scratch.machine("list-a", ["--cpus", "2"]),
      scratch.machine("list-b", ["--memory", "64M"]),
    ]);
    const { stdout, stderr } = await scratch.run(["ps"]);
    expect(stdout, stderr).toMatch(/^NAME +PID +STATE +CPUS +MEMORY +UP +VIEWERS +KERNEL$/m);
    expect(stdout).toMatch(new RegExp(`^list-a +${a!.pid} +running +2 +128 MiB +\\d+ s +0 +embedded guest$`, "m"));
    const json = JSON.parse((await scratch.run(["ps", "--json"])).stdout) as MachineStatus[];
    expect(json.find(({ name }) => name === "list-b")).toMatchObject({ phase: "running", memoryBytes: 2 ** 26 });
    expect((await scratch.run(["stop", "list-a", "list-b"])).status).toBe(0);
  });

  it("are not those that were killed, when a wrong name is answered with a list", async () => {
    const dead = await scratch.machine("killed-before");
    dead.signal("SIGKILL");
    await dead.ended;
    const { stderr } = await scratch.run(["inspect", "nobody-else"]);
    expect(stderr).toContain("no machine named nobody-else is running");
    expect(stderr).not.toContain("killed-before");
    expect(existsSync(`${scratch.sockets}/killed-before.sock`)).toBe(false);
  });

  it("are ended by vmm stop, several at once; a name that is none is named, with those there are", async () => {
    const machines = await Promise.all(["stop-a", "stop-b", "stop-c"].map((name) => scratch.machine(name)));
    const { status, stderr } = await scratch.run(["stop", "stop-a", "nobody", "stop-b"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^vmm: no machine named nobody is running; there are .*stop-c.*\n$/);
    const [a, b, c] = machines;
    expect((await a!.ended).status).toBe(0);
    expect((await b!.ended).status).toBe(0);
    expect(existsSync(`${scratch.sockets}/stop-a.sock`)).toBe(false);
    expect(await scratch.run(["stop", "stop-c"])).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect((await c!.ended).status).toBe(0);
  });

  it("are asked by their power button first, when their guest listens to it", async () => {
    const kernel = scratch.file("listens.elf", powerButtonGuest(POWER_OFF));
    const machine = scratch.start(["run", "--name", "listens", "--kernel", kernel, "--json", "--serial", "null"]);
    await listening("listens");
    expect(await scratch.run(["stop", "listens"])).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(events((await machine.ended).stdout).at(-1)).toMatchObject({ why: "poweroff", status: 0 });
  });

  it("are stopped all the same when nothing comes of it, and at once with --now", async () => {
    const kernel = scratch.file("defiant.elf", powerButtonGuest([0xeb, 0xfe])); // jmp to itself
    const machine = scratch.start(["run", "--name", "defiant", "--kernel", kernel, "--json", "--serial", "null"]);
    await listening("defiant");
    const { status, stderr } = await scratch.run(["stop", "--grace", "0.3", "defiant"]);
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: "vmm: defiant has not switched off within 0.3 s: stopping it\n",
    });
    expect(events((await machine.ended).stdout).at(-1)).toMatchObject({ why: "stopped", status: 0 });

    const second = scratch.start(["run", "--name", "defiant", "--kernel", kernel, "--serial", "null"]);
    await listening("defiant");
    expect(await scratch.run(["stop", "--now", "defiant"])).toMatchObject({ status: 0, stderr: "" });
    expect((await second.ended).status).toBe(0);
    expect((await scratch.run(["stop", "--grace", "soon", "defiant"])).stderr).toBe(
      "vmm: --grace soon: a number of seconds\n",
    );
  });

  it("that do not answer do not hold up vmm ps, and are named", async () => {
    const frozen = await scratch.machine("frozen");
    const well = await scratch.machine("well");
    frozen.signal("SIGSTOP");
    const { status, stdout, stderr } = await scratch.run(["ps"]);
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: "vmm: frozen does not answer; it may be stopped, or hang\n",
    });
    expect(stdout).toMatch(/^well +/m);
    frozen.signal("SIGCONT");
    expect((await scratch.run(["ps"])).stdout).toMatch(/^frozen +/m);
    await scratch.run(["stop", "frozen", "well"]);
    await Promise.all([frozen.ended, well.ended]);
  });
});

describe.skipIf(!hasKvm)(`vmm attach${NEEDS_KVM}`, { concurrent: true }, () => {
  it("shows two viewers the same, the past included, and lets both type", async () => {
    const machine = await scratch.machine("shared");
    machine.type("echo before\r");
    await machine.until(/before\r\nbefore\r\nkvm> /);
    const first = scratch.start(["attach", "shared"], { keepsInput: true });
    const second = scratch.start(["attach", "shared"], { keepsInput: true });
    await Promise.all([first, second].map((viewer) => viewer.until("before\r\nkvm> ")));
    first.type("echo from the first\r");
    await Promise.all([machine, first, second].map((each) => each.until(/the first\r\nfrom the first\r\nkvm> /)));
    second.type("echo from the second\r");
    await Promise.all([machine, first, second].map((each) => each.until(/the second\r\nfrom the second\r\nkvm> /)));
    expect((await scratch.run(["ps"])).stdout).toMatch(/^shared .* 2 +embedded guest$/m);

    first.signal("SIGTERM");
    expect((await first.ended).status).toBe(0);
    machine.type("echo without the first\r");
    await second.until(/\r\nwithout the first\r\nkvm> /);
    second.type("poweroff 2\r");
    expect((await machine.ended).status).toBe(5);
    expect(await second.ended).toMatchObject({ status: 0, stdout: machine.stdout, stderr: "" });
  });

  it("ends when its reader goes away, and the machine runs on", async () => {
    const machine = await scratch.machine("head");
    const viewer = scratch.start(["attach", "head"], { keepsInput: true, unread: true });
    viewer.child.stdout!.once("data", () => {
      viewer.child.stdout!.destroy();
      machine.type("help\r");
    });
    await machine.until("poweroff");
    machine.type("help\r");
    expect(await viewer.ended).toMatchObject({ status: 0, stderr: "" });
    machine.type("poweroff\r");
    expect((await machine.ended).status).toBe(0);
  });
});

describe.skipIf(!hasKvm)(`vmm balloon${NEEDS_KVM}`, { concurrent: true }, () => {
  it("sets what the guest is to give back, for a driver that comes later as well", async () => {
    await scratch.machine("inflated", ["--balloon", "16M"]);
    expect(await scratch.run(["balloon", "inflated"])).toMatchObject({
      status: 0,
      stdout: "given back 0 B, asked for 16 MiB\n",
    });
    const { stdout } = await scratch.run(["balloon", "inflated", "64M", "--json"]);
    expect(JSON.parse(stdout)).toEqual({ targetBytes: 2 ** 26, actualBytes: 0 });
    await scratch.ask("inflated", "reset");
    const machines = JSON.parse((await scratch.run(["ps", "--json"])).stdout) as MachineStatus[];
    const { balloon } = machines.find(({ name }) => name === "inflated")!;
    expect(balloon).toEqual({ targetBytes: 2 ** 26, actualBytes: 0 });
    expect(await scratch.run(["balloon", "inflated", "128M"])).toMatchObject({
      status: 1,
      stderr: "vmm: inflated: a guest cannot give back all of its memory\n",
    });
    await scratch.run(["stop", "inflated"]);
  });

  it("says so when there is none", async () => {
    await scratch.machine("without-balloon");
    expect(await scratch.run(["balloon", "without-balloon"])).toMatchObject({
      status: 1,
      stderr: "vmm: without-balloon: this machine has no balloon; vmm run --balloon gives it one\n",
    });
    await scratch.run(["stop", "without-balloon"]);
  });
});

describe.skipIf(!hasKvm)(`vmm run --vsock${NEEDS_KVM}`, { concurrent: true }, () => {
  it("has its socket while the machine runs, for this user alone", async () => {
    const path = scratch.path("guest.sock");
    const machine = await scratch.machine("with-vsock", ["--vsock", `cid=3,uds=${path}`]);
    await vi.waitFor(() => expect(statSync(path).mode & 0o777).toBe(0o600), { timeout: HANG_MS });
    await scratch.run(["stop", "with-vsock"]);
    expect((await machine.ended).status).toBe(0);
    expect(existsSync(path)).toBe(false);
  });
});

describe.skipIf(!hasKvm)(`vmm inspect${NEEDS_KVM}`, { concurrent: true }, () => {
  it("shows device registers of a machine that runs on, live", async () => {
    const machine = await scratch.machine("looked-at");
    const { status, stdout } = await scratch.run(["inspect", "looked-at"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^serial16550 \(pio 0x3f8-0x3ff, irq 4 low\)\n {2}ier 1$/m);
    expect(stdout).toMatch(/^exerciser \(mmio 0xfeb00000-0xfeb00fff\)$/m);
    const count = async (): Promise<unknown> => {
      const json = (await scratch.run(["inspect", "looked-at", "exerciser", "--json"])).stdout;
      return (JSON.parse(json) as DeviceDump[])[0]!.state.coalescedCount;
    };
    expect(await count()).toBe(0);
    machine.type("exits coalesced 5\r");
    await machine.until("us each)");
    expect(await count()).toBe(5);
    const none = await scratch.run(["inspect", "looked-at", "floppy"]);
    expect(none).toMatchObject({ status: 1, stdout: "" });
    expect(none.stderr).toMatch(/^vmm: looked-at has no device named floppy; it has .*serial16550.*\n$/);
    machine.type("poweroff\r");
    expect((await machine.ended).status).toBe(0);
  });
});

describe.skipIf(!hasKvm)(`vmm doctor${NEEDS_KVM}`, { concurrent: true }, () => {
  interface Finding {
    what: string;
    verdict: string;
    detail: string;
    advice: string;
  }
  const find = (findings: Finding[], what: RegExp) => findings.find((finding) => what.test(finding.what));

  it("says what this host can do, as JSON and as text of the same findings", async () => {
    const { status, stdout } = await scratch.run(["doctor", "--json"]);
    expect(status).toBe(0);
    const findings = JSON.parse(stdout) as Finding[];
    for (const what of [/^\/dev\/kvm$/, /^API version$/, /^irqfd$/, /^64-bit long mode$/, /^speed$/]) {
      expect(find(findings, what)).toMatchObject({ verdict: "ok" });
    }
    expect(findings.every(({ verdict, advice }) => verdict === "ok" || advice !== "")).toBe(true);
    const text = (await scratch.run(["doctor"])).stdout;
    for (const { what } of findings) expect(text).toContain(what);
    expect(text.trimEnd().split("\n").at(-1)).toMatch(/amiss|not as they should be/);
  });

  it.skipIf(kvmKind() !== "pvm")("says what kvm-pvm gets wrong, and what that means (needs kvm-pvm)", async () => {
    const findings = JSON.parse((await scratch.run(["doctor", "--json"])).stdout) as Finding[];
    for (const what of [/32-bit paging/, /popcnt/, /cmpxchg16b/, /CPUID.*CPL3/, /int n.*64-bit/, /paravirtual/]) {
      expect(find(findings, what)).toMatchObject({ verdict: "wrong", advice: expect.stringMatching(/\w+ \w+/) });
    }
  });
});
