/** `vmm run` as its users meet it: processes, on this host's KVM. */
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { LEDGER_MEMFD_NAME, StatsFd } from "@tools-kvm/kvm-binding";
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { buildBzImage, PRINT_COMMAND_LINE } from "../boot/linux/testing.js";
import type { DeviceDump, ExitRow } from "../control/actions.js";
import { codeGuest, commands, events, exitCount, FLOOD_TEXT, floodGuest, guestBy, POWER_OFF } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

/** `vmm run` of the embedded guest with a list of commands. */
const guest = (list: string[], ...args: string[]) => scratch.run(["run", "--append", commands(...list), ...args]);

describe.skipIf(!hasKvm)(`a guest${NEEDS_KVM}`, { concurrent: true }, () => {
  it.each([
    ["one CPU", "kernel", 1],
    ["four CPUs", "kernel", 4],
    ["one CPU and the split irqchip", "split", 1],
    ["four CPUs and the split irqchip", "split", 4],
  ])("passes its self-test with %s", async (_, irqchip, cpus) => {
    const { status, stdout, stderr } = await guest(["selftest", "poweroff"], "--irqchip", irqchip, "--cpus", `${cpus}`);
    expect(stdout).toContain("selftest: PASS");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it.each(["multiboot", "PVH"] as const)("is booted by %s when that is what it speaks", async (protocol) => {
    const kernel = scratch.file(`${protocol}.elf`, guestBy(protocol));
    const { stdout, status } = await scratch.run(["run", "--kernel", kernel, "--append", "run=selftest; poweroff"]);
    expect(stdout).toContain(`started by ${protocol}, 128 MiB of memory, 1 CPU`);
    expect(stdout).toContain("selftest: PASS");
    expect(status).toBe(0);
  });

  it("is booted by Linux's protocol, with the console on its command line unless told otherwise", async () => {
    const kernel = scratch.file("bzImage", buildBzImage({ code: PRINT_COMMAND_LINE }));
    const [silent, told] = await Promise.all(
      [[], ["--append", "quiet root=/dev/vda"]].map((args) => scratch.run(["run", "--kernel", kernel, ...args])),
    );
    expect(silent).toMatchObject({ status: 0, stdout: "console=ttyS0", stderr: "" });
    expect(told).toMatchObject({ status: 0, stdout: "quiet root=/dev/vda", stderr: "" });
  });

  it("that says it has panicked ends with status 1 and one line", async () => {
    const kernel = scratch.file("panics.elf", codeGuest([0x66, 0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, 0xf4])); // out 0x505, 1
    const { status, stderr } = await scratch.run(["run", "--kernel", kernel, "--name", "panics"]);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: "vmm: panics: the guest's kernel panicked; its console says why\n",
    });
  });

  it("finds the memory and the CPUs it was given", async () => {
    const args = ["run", "--memory", "64M", "--cpus", "12", "--append", "run=smp; poweroff"];
    const { stdout, stderr } = await scratch.run(args);
    expect(stderr).toBe("");
    expect(stdout).toContain("64 MiB of memory, 12 CPUs");
    for (const id of [0, 5, 11]) expect(stdout).toContain(`hello from the CPU with APIC id ${id}`);
  });

  it("finds memory above 4 GiB too", async () => {
    const { stdout } = await guest(["mem", "poweroff"], "--memory", "3584M");
    expect(stdout).toMatch(/000100000000-00011fffffff +524288 KiB usable/);
  });

  it.each(["multiboot", "PVH"] as const)(
    "that starts by %s finds its modules and its command line",
    async (protocol) => {
      // It sends what stands at a module's address: the last address of the first module's first bytes is enough.
      const kernel = scratch.file(`modules-${protocol}.elf`, guestBy(protocol));
      const module = scratch.file("module", "MODULE CONTENT");
      const args = [
        "--kernel",
        kernel,
        "--initrd",
        module,
        "--initrd",
        module,
        "--append",
        "quiet run=echo arrived; poweroff 3",
      ];
      const { stdout, status } = await scratch.run(["run", ...args]);
      expect(stdout).toBe("arrived\r\n");
      expect(status).toBe(7);
    },
  );

  it("reads a module where multiboot says it is", async () => {
    const kernel = scratch.file("reader.elf", moduleReader);
    const module = scratch.file("text", "in the module\n");
    const { stdout, status } = await scratch.run(["run", "--kernel", kernel, "--initrd", module]);
    expect({ stdout, status }).toEqual({ stdout: "in the module\n", status: 0 });
  });

  it("boots again when it resets, as often as it does", async () => {
    const machine = await scratch.machine("twice");
    for (let boots = 0; boots < 2; boots++) {
      const seen = machine.stdout.length;
      machine.type("reboot\r");
      await machine.until(/reboot\r\n(.*\r\n)*kvm> /, seen - 1);
    }
    machine.type("poweroff 9\r");
    expect(await machine.ended).toMatchObject({ status: 19, stderr: "" });
  });

  it("ends when it resets with --no-reboot", async () => {
    const { status, stdout } = await guest(["reboot"], "--no-reboot", "--json");
    expect(events(stdout).at(-1)).toMatchObject({ event: "ended", why: "reset", status: 0 });
    expect(status).toBe(0);
  });

  it.each([
    ["poweroff", 0],
    ["poweroff 3", 7],
    ["poweroff 5", 11],
    ["poweroff 127", 255],
  ])("that says %s ends with %i", async (command, status) => {
    expect(await guest([command])).toMatchObject({ status, stderr: "" });
  });
});

/** Multiboot 0.6.96, 3.3: EBX + 24 is the first module's entry. Sends its 14 bytes to the serial port. */
const moduleReader = codeGuest([
  ...[0x8b, 0x73, 0x18], // mov esi, [ebx + 24]
  ...[0x8b, 0x36], // mov esi, [esi]
  ...[0xb9, 0x0e, 0x00, 0x00, 0x00], // mov ecx, 14
  ...[0x66, 0xba, 0xf8, 0x03, 0xf3, 0x6e], // mov dx, 0x3f8; rep outsb
  ...POWER_OFF,
]);

describe.skipIf(!hasKvm)(`exits are counted exactly${NEEDS_KVM}`, { concurrent: true }, () => {
  const N = 777;
  it.each([
    ["pio", { reason: "IO", device: "testdev-latch", direction: "write" }],
    ["pio-user", { reason: "IO", device: "testdev-latch", direction: "write" }],
    ["mmio", { reason: "MMIO", device: "exerciser", direction: "read" }],
    ["msr", { reason: "X86_RDMSR" }],
  ] as const)("for %s, by the ledger", async (kind, row) => {
    const { stdout } = await guest([`exits ${kind} ${N}`, "poweroff"], "--json");
    expect(exitCount(stdout, row)).toBe(N);
  });

  it("for two CPUs at once", async () => {
    const { stdout } = await guest([`exits pio ${N} all`, "poweroff"], "--json", "--cpus", "2");
    expect(exitCount(stdout, { device: "testdev-latch", direction: "write" })).toBe(2 * N);
  });

  it("for coalesced writes, which reach the device without an exit each", async () => {
    const machine = await scratch.machine("coalesced");
    machine.type(`exits coalesced ${N}\r`);
    await machine.until("us each)");
    const { stdout } = await scratch.run(["inspect", "coalesced", "exerciser", "--json"]);
    expect((JSON.parse(stdout) as DeviceDump[])[0]!.state).toMatchObject({ coalescedCount: N });
    // The ring holds fewer than all of them, so some came as exits; but not many.
    const rows = (await scratch.ask("coalesced", "exits")) as ExitRow[];
    const writes = rows.filter(({ device, direction }) => device === "exerciser" && direction === "write");
    expect(writes.reduce((sum, { count }) => sum + count, 0)).toBeLessThan(N / 10);
    machine.type("poweroff\r");
    await machine.ended;
  });

  it("for ioeventfd, where none reaches the device and the eventfd has them all", async () => {
    const machine = await scratch.machine("doorbell");
    machine.type(`exits ioeventfd ${N}\r`);
    await machine.until("us each)");
    const { stdout } = await scratch.run(["inspect", "doorbell", "exerciser", "--json"]);
    expect((JSON.parse(stdout) as DeviceDump[])[0]!.state).toMatchObject({ ioeventfdCount: 0 });
    const counts = readdirSync(`/proc/${machine.pid}/fdinfo`).map(
      (fd) => /^eventfd-count:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${machine.pid}/fdinfo/${fd}`, "utf8"))?.[1],
    );
    expect(counts.map((count) => Number.parseInt(count ?? "0", 16))).toContain(N);
    machine.type("poweroff\r");
    await machine.ended;
  });

  it("for hlt and cpuid, which never come here: KVM's own counters move, the ledger's do not", async () => {
    const machine = await scratch.machine("silent");
    const [owner] = StatsFd.find(machine.pid).filter((stats) => stats.owner === "vcpu");
    using stats = StatsFd.take(machine.pid, owner!.fd);
    const halts = (): number => {
      stats.read();
      return stats.value("halt_exits")!;
    };
    const before = halts();
    machine.type("exits hlt 200\r");
    await machine.until("us each)");
    expect(halts() - before).toBeGreaterThanOrEqual(200);
    machine.type("exits cpuid 200\r");
    await machine.until(/cpuid 200 in/);
    const rows = (await scratch.ask("silent", "exits")) as ExitRow[];
    expect(new Set(rows.map(({ reason }) => reason))).toEqual(new Set(["IO"]));
    machine.type("poweroff\r");
    await machine.ended;
  });
});

describe.skipIf(!hasKvm)(`what the profiler takes from a running machine${NEEDS_KVM}`, { concurrent: true }, () => {
  it("is there under /proc: the ledger's memfd, and the statistics of the VM and of each vCPU", async () => {
    const machine = await scratch.machine("seen", ["--cpus", "3"]);
    const fds = readdirSync(`/proc/${machine.pid}/fd`).map((fd) => readlinkSync(`/proc/${machine.pid}/fd/${fd}`));
    expect(fds.filter((fd) => fd.startsWith(`/memfd:${LEDGER_MEMFD_NAME}`))).toHaveLength(1);
    expect(fds.filter((fd) => fd.includes("kvm-vm-stats"))).toHaveLength(1);
    expect(fds.filter((fd) => fd.includes("kvm-vcpu-stats"))).toHaveLength(3);
    machine.signal("SIGTERM");
    await machine.ended;
  });
});

describe.skipIf(!hasKvm)(`the serial port${NEEDS_KVM}`, { concurrent: true }, () => {
  it("goes to a file, which a machine begins anew", async () => {
    const path = scratch.file("console.log", "something older, and longer than what will come");
    const { status, stdout } = await guest(["echo written", "poweroff"], "--serial", `file:${path}`);
    expect({ status, stdout, file: readFileSync(path, "latin1") }).toEqual({
      status: 0,
      stdout: "",
      file: "written\r\n",
    });
  });

  it("goes nowhere with null", async () => {
    expect(await guest(["echo nobody hears", "poweroff 1"], "--serial", "null")).toMatchObject({
      status: 3,
      stdout: "",
      stderr: "",
    });
  });

  it("takes commands from a pipe, and none of them is lost to the guest's start", async () => {
    const { status, stdout } = await scratch.run(["run"], { input: "echo one\necho two\nhelp\npoweroff 4\n" });
    expect(stdout).toMatch(/kvm> echo one\r\none\r\nkvm> echo two\r\ntwo\r\nkvm> help\r\n +help/);
    expect(status).toBe(9);
  });

  it("takes more input than fits anywhere without losing any of it", async () => {
    const lines = Array.from({ length: 160 }, (_, i) => `echo line ${i} ${"x".repeat(40)}`);
    const { stdout, status } = await scratch.run(["run"], { input: `${lines.join("\n")}\npoweroff 2\n` });
    const answers = stdout.split("\r\n").filter((line) => line.startsWith("line "));
    expect(answers).toEqual(lines.map((line) => line.slice("echo ".length)));
    expect(status).toBe(5);
  });

  it("runs on when standard input is at its end", async () => {
    const machine = scratch.start(["run", "--append", commands("spin 200", "poweroff 6")]);
    expect((await machine.ended).status).toBe(13);
  });

  it("loses nothing of 320 KiB that are read slowly", async () => {
    // More than pipe, stream and ring hold together.
    const blocks = 20 * 2 ** 10;
    const kernel = scratch.file("flood.elf", floodGuest(blocks));
    const machine = scratch.start(["run", "--kernel", kernel], { unread: true });
    let [length, wrong] = [0, 0];
    // Every now and then the reader takes a pause, so that all of them fill up.
    let untilPause = 0;
    const { stdout } = machine.child;
    stdout!.on("data", (chunk: Buffer) => {
      for (const byte of chunk) if (byte !== FLOOD_TEXT.charCodeAt(length++ % FLOOD_TEXT.length)) wrong++;
      untilPause -= chunk.length;
      if (untilPause > 0) return;
      untilPause = 2 ** 17;
      stdout!.pause();
      setTimeout(() => stdout!.resume(), 2_500);
    });
    const { status, stderr } = await machine.ended;
    expect({ status, stderr, length, wrong }).toEqual({ status: 0, stderr: "", length: blocks * 16, wrong: 0 });
  });

  it("loses nothing as events either", async () => {
    const kernel = scratch.file("flood-events.elf", floodGuest(2 ** 11));
    const { stdout } = await scratch.run(["run", "--kernel", kernel, "--json"]);
    const text = events(stdout).flatMap((event) => (event.event === "output" ? [event.text as string] : []));
    expect(text.join("")).toBe(FLOOD_TEXT.repeat(2 ** 11));
  });
});

describe.skipIf(!hasKvm)(`the debug console${NEEDS_KVM}`, { concurrent: true }, () => {
  it("goes to a file of its own, or to stderr", async () => {
    const path = scratch.path("debug.log");
    await guest(["selftest", "poweroff"], "--debug-console", `file:${path}`);
    expect(readFileSync(path, "latin1")).toBe("selftest was here\n");
    const { stderr } = await guest(["selftest", "poweroff"], "--debug-console", "stderr");
    expect(stderr).toBe("selftest was here\n");
  });

  it("takes as much as the guest writes", async () => {
    const path = scratch.path("much.log");
    // mov ecx, 60000; mov dx, 0x402; mov al, 'x'; 1: out dx, al; loop 1b
    const code = [0xb9, 0x60, 0xea, 0x00, 0x00, 0x66, 0xba, 0x02, 0x04, 0xb0, 0x78, 0xee, 0xe2, 0xfd, ...POWER_OFF];
    const kernel = scratch.file("debug.elf", codeGuest(code));
    const { status } = await scratch.run(["run", "--kernel", kernel, "--debug-console", `file:${path}`]);
    expect(status).toBe(0);
    // More than ring and stream hold. (The port cannot make a guest wait, so when this host is busy some may be lost.)
    expect(statSync(path).size).toBeGreaterThan(40_000);
  });
});

describe.skipIf(!hasKvm)(`what is printed beside the guest${NEEDS_KVM}`, { concurrent: true }, () => {
  it("is nothing but JSON with --json: started, output, ended with the exit table", async () => {
    const { stdout, stderr } = await guest(
      ['echo \xe4 "quoted"', "exits pio 10", "poweroff 1"],
      "--json",
      "--name",
      "j",
    );
    const all = events(stdout);
    expect(all[0]).toMatchObject({
      event: "started",
      name: "j",
      kernel: "embedded guest",
      cpus: 1,
      memoryBytes: 2 ** 27,
    });
    expect(all.at(-1)).toMatchObject({ event: "ended", name: "j", why: "exit", status: 3 });
    expect(all.at(-1)!.exits).toContainEqual(
      expect.objectContaining({ device: "testdev-latch", direction: "write", address: 0xe0, count: 10 }),
    );
    expect(all.slice(1, -1).every(({ event }) => event === "output")).toBe(true);
    expect(stderr).toBe("");
  });

  it("is the exit table with --exits, on stderr and within 80 columns", async () => {
    const { stderr } = await guest(["exits pio 2000", "poweroff"], "--exits");
    expect(stderr).toMatch(/^EXIT +DEVICE +AT +COUNT +IN RUN +HANDLER +P99$/m);
    expect(stderr).toMatch(/^IO +testdev-latch +0xe0 +write +2000 /m);
    expect(stderr.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });
});

describe.skipIf(!hasKvm)(`a machine ends${NEEDS_KVM}`, { concurrent: true }, () => {
  const expectNothingLeft = (name: string) => expect(existsSync(`${scratch.sockets}/${name}.sock`)).toBe(false);

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("on %s with %i, and its socket is gone", async (signal, status) => {
    const machine = await scratch.machine(signal);
    expect(existsSync(`${scratch.sockets}/${signal}.sock`)).toBe(true);
    machine.signal(signal);
    expect(await machine.ended).toMatchObject({ status, signal: null, stderr: "" });
    expectNothingLeft(signal);
  });

  it("on a signal while it starts, whenever that comes", async () => {
    await Promise.all(
      [60, 90, 120, 150, 180, 220].map(async (delayMs) => {
        const machine = scratch.start(["run", "--name", `early-${delayMs}`], { keepsInput: true });
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        machine.signal("SIGTERM");
        const { status, signal, stderr } = await machine.ended;
        // Before anything is set up the signal itself ends the process.
        expect([status === 143 || signal === "SIGTERM", stderr]).toEqual([true, ""]);
        expectNothingLeft(`early-${delayMs}`);
      }),
    );
  });

  it("on a signal although nobody reads what the guest says", async () => {
    const kernel = scratch.file("endless.elf", floodGuest(0));
    const machine = scratch.start(["run", "--name", "unread", "--kernel", kernel], { unread: true });
    while (!existsSync(`${scratch.sockets}/unread.sock`)) await new Promise((resolve) => setTimeout(resolve, 10));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await scratch.run(["ps"])).stdout).toMatch(/^unread +\d+ +running/m);
    machine.signal("SIGTERM");
    machine.child.stdout!.resume();
    expect(await machine.ended).toMatchObject({ status: 143, stderr: "" });
  });

  it("without a word when its reader goes away", async () => {
    const kernel = scratch.file("pipe.elf", floodGuest(0));
    const machine = scratch.start(["run", "--name", "pipe", "--kernel", kernel], { unread: true });
    machine.child.stdout!.once("data", () => machine.child.stdout!.destroy());
    expect(await machine.ended).toMatchObject({ status: 129, signal: null, stderr: "" });
    expectNothingLeft("pipe");
  });

  it("and leaves a dead socket when it is killed, which vmm ps removes", async () => {
    const machine = await scratch.machine("killed");
    machine.signal("SIGKILL");
    await machine.ended;
    expect(existsSync(`${scratch.sockets}/killed.sock`)).toBe(true);
    expect((await scratch.run(["ps"])).stdout).not.toContain("killed");
    expectNothingLeft("killed");
  });

  it("and its name can be used again, also over a dead socket", async () => {
    const dead = await scratch.machine("again");
    dead.signal("SIGKILL");
    await dead.ended;
    const machine = await scratch.machine("again");
    machine.type("poweroff\r");
    expect((await machine.ended).status).toBe(0);
  });
});

describe.skipIf(!hasKvm)(`a name${NEEDS_KVM}`, { concurrent: true }, () => {
  it("belongs to one machine: a second is refused, and the first and its log go on", async () => {
    const log = scratch.path("first.log");
    const first = scratch.start(["run", "--name", "one", "--serial", `file:${log}`, "--append", "quiet"], {
      keepsInput: true,
    });
    while (!existsSync(log) || !readFileSync(log, "latin1").includes("kvm> ")) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const second = await scratch.run(["run", "--name", "one", "--serial", `file:${log}`]);
    expect(second).toMatchObject({ status: 2, stdout: "" });
    expect(second.stderr).toMatch(/^vmm: --name one: a machine named one is already running; .*\n$/);
    expect(readFileSync(log, "latin1")).toContain("kvm> ");
    expect((await scratch.run(["stop", "one"])).status).toBe(0);
    expect((await first.ended).status).toBe(0);
  });

  it("has a socket for its owner alone, in a folder for its owner alone", async () => {
    const machine = await scratch.machine("private");
    expect(statSync(`${scratch.sockets}/private.sock`).mode & 0o777).toBe(0o600);
    expect(statSync(scratch.sockets).mode & 0o777).toBe(0o700);
    machine.type("poweroff\r");
    await machine.ended;
  });
});
