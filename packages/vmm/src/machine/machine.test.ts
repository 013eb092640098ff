/** A machine as a library, on this host's KVM. Its Workers are built files, so it comes from `dist`. */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire, syncBuiltinESMExports } from "node:module";
import type { Worker } from "node:worker_threads";
import { embeddedGuestPath } from "@tools-kvm/firmware";
import { hasKvm, NEEDS_KVM } from "tools-testing";
import { afterEach, describe, expect, it } from "vitest";
import { codeGuest } from "../cli/testing.js";
import type * as Library from "../index.js";

/** Every Worker that machines of this file have started. */
const workers: Worker[] = [];
const threads = createRequire(import.meta.url)("node:worker_threads") as { Worker: typeof Worker };
threads.Worker = class extends threads.Worker {
  constructor(...args: ConstructorParameters<typeof Worker>) {
    super(...args);
    workers.push(this);
  }
};
syncBuiltinESMExports();

const { Machine, parseKernel } = (await import(new URL("../../dist/index.js", import.meta.url).href)) as typeof Library;
type Machine = Library.Machine;

const made: Machine[] = [];
afterEach(async () => {
  for (const machine of made.splice(0)) {
    await machine.stop();
    machine.ledger[Symbol.dispose]();
  }
});

interface Made {
  machine: Machine;
  output(): string;
  /** Resolves when the guest has said `text` after its first `from` characters. */
  until(text: string, from?: number): Promise<void>;
}

function make({ cpus = 1, memoryBytes = 2 ** 26 }: { cpus?: number; memoryBytes?: number } = {}): Made {
  let output = "";
  let onOutput = (): void => {};
  const machine = new Machine({
    spec: { name: "library", cpus, memoryBytes, irqchip: "kernel", testDevices: true },
    onOutput(_name, bytes) {
      output += Buffer.from(bytes).toString("latin1");
      onOutput();
      return true;
    },
  });
  made.push(machine);
  return {
    machine,
    output: () => output,
    until: (text, from = 0) =>
      new Promise((resolve, reject) => {
        onOutput = () => output.slice(from).includes(text) && resolve();
        void machine.ended.then((end) => reject(new Error(`ended before ${text}: ${JSON.stringify(end)}\n${output}`)));
        onOutput();
      }),
  };
}

const image = hasKvm ? parseKernel(readFileSync(embeddedGuestPath()), "guest.elf") : undefined;
const boot = (run: string) => ({ image: image!, commandLine: `quiet run=${run}`, modules: [] });
const type = (machine: Machine, text: string) => machine.receive(Buffer.from(text));
const exitsOf = (machine: Machine): number =>
  machine.ledger.snapshot().vcpus.reduce((sum, { slots }) => sum + slots.reduce((all, { count }) => all + count, 0), 0);
const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const openFds = () => readdirSync("/proc/self/fd").length;

describe.skipIf(!hasKvm)(`a machine's life${NEEDS_KVM}`, () => {
  it("is from start to power-off", async () => {
    const { machine, output } = make();
    expect(machine.phase).toBe("starting");
    machine.start(boot("echo alive; poweroff"));
    expect(machine.phase).toBe("running");
    expect(await machine.ended).toEqual({ why: "poweroff", status: 0 });
    expect(machine.phase).toBe("ended");
    expect(output()).toBe("alive\r\n");
  });

  it("can end before it begins; a start after that does nothing", async () => {
    const { machine } = make();
    await machine.stop();
    machine.start(boot("poweroff"));
    expect(await machine.ended).toEqual({ why: "stopped", status: 0 });
  });

  it("begins once", async () => {
    const { machine } = make();
    machine.start(boot("spin 1000000"));
    expect(() => machine.start(boot("poweroff"))).toThrow("a machine is started once");
  });

  it("ends with what the kernel lacks when it does not fit, and nobody waits for ever", async () => {
    const { machine } = make({ memoryBytes: 2 ** 21 });
    const modules = [{ bytes: new Uint8Array(2 ** 21), commandLine: "" }];
    expect(() => machine.start({ ...boot("poweroff"), modules })).toThrow(/2 MiB of memory/);
    expect(await machine.ended).toMatchObject({ why: "failed", status: 1 });
    await machine.stop();
  });

  it("stands still while it is paused: not one exit, on any vCPU", async () => {
    const { machine, until } = make({ cpus: 4 });
    machine.start(boot("smp; exits pio 100000000 all"));
    await until("smp: 4 CPUs");
    while (exitsOf(machine) < 5_000) await delay(5);
    await machine.pause();
    const before = exitsOf(machine);
    await delay(100);
    expect(exitsOf(machine)).toBe(before);
    machine.resume();
    while (exitsOf(machine) === before) await delay(5);
  });

  it("is looked into while it runs, by many at once, and a pause in between stays", async () => {
    const { machine } = make({ cpus: 2 });
    machine.start(boot("spin 1000000"));
    const look = () => machine.withPaused(({ vcpus }) => vcpus.map((vcpu) => vcpu.getRegs().rip));
    const looks = [look(), look(), machine.pause().then(() => []), look()];
    for (const rips of await Promise.all(looks)) expect(rips.length === 0 || rips.length === 2).toBe(true);
    expect(machine.phase).toBe("paused");
    const before = exitsOf(machine);
    await look();
    await delay(50);
    expect(exitsOf(machine)).toBe(before);
    machine.resume();
    expect(machine.phase).toBe("running");
  });

  it("begins again after a reset, from any state", async () => {
    const { machine, output, until } = make({ cpus: 2 });
    machine.start(boot("echo boot"));
    await until("kvm> ");
    for (const before of [() => {}, () => machine.pause(), () => type(machine, "exits pio 100000000\r")]) {
      await before();
      const seen = output().length;
      await machine.reset();
      expect(machine.phase).toBe("running");
      await until("kvm> ", seen);
    }
    expect(output().match(/boot\r\n/g)).toHaveLength(4);
  });

  it("survives pause, resume, reset and looks in any order at the same time, and then still works", async () => {
    const { machine, output, until } = make({ cpus: 3 });
    machine.start(boot("echo ready"));
    const actions = [
      () => machine.pause(),
      async () => machine.resume(),
      () => machine.reset(),
      () => machine.withPaused(() => {}).catch(() => {}),
    ];
    // A fixed sequence that looks random: a linear congruential generator.
    let seed = 12345;
    for (let round = 0; round < 12; round++) {
      await Promise.all(
        Array.from({ length: 5 }, () => {
          seed = (seed * 1103515245 + 12345) % 2 ** 31;
          return actions[(seed >> 16) % actions.length]!();
        }),
      );
    }
    machine.resume();
    const seen = output().length;
    await machine.reset();
    await until("kvm> ", seen);
    type(machine, "poweroff 1\r");
    expect(await machine.ended).toEqual({ why: "exit", status: 3 });
  });

  it("ends when it is stopped during a reset, a pause, or another stop, and every promise settles", async () => {
    for (const during of ["reset", "pause", "stop"] as const) {
      const { machine } = make({ cpus: 2 });
      machine.start(boot("exits pio 100000000"));
      const first = machine[during]();
      const second = machine.stop();
      await Promise.all([first, second, machine.stop()]);
      expect(await machine.ended).toEqual({ why: "stopped", status: 0 });
    }
  });

  it("ends with eight vCPUs that never leave the guest by themselves", async () => {
    const { machine, until } = make({ cpus: 8 });
    machine.start(boot("smp; exits pio-user 1 all; exits cpuid 1000000000 all"));
    await until("exits: pio-user");
    await delay(50);
    await machine.pause();
    machine.resume();
    await machine.stop();
    expect(await machine.ended).toEqual({ why: "stopped", status: 0 });
  });

  it("ends as crashed when the guest triple-faults, whatever the other vCPUs do", async () => {
    const { machine } = make({ cpus: 3 });
    machine.start(boot("smp; fault triple"));
    const end = await machine.ended;
    expect(end).toMatchObject({ why: "crashed", status: 1, report: { vcpu: 0 } });
  });
});

describe.skipIf(!hasKvm)(`a machine whose vCPU's thread fails${NEEDS_KVM}`, () => {
  it("ends as failed when the thread dies while the guest runs", async () => {
    const { machine, until } = make({ cpus: 3 });
    machine.start(boot("smp; echo ready; exits pio 100000000"));
    await until("ready");
    void workers.at(-2)!.terminate();
    // A thread in KVM_RUN notices when it is brought out.
    const pause = machine.pause();
    expect(await machine.ended).toEqual({ why: "failed", status: 1, message: "vCPU 1: its thread has ended" });
    await pause;
  });

  it("ends as failed when the thread dies before the start, which then does nothing", async () => {
    const { machine } = make({ cpus: 2 });
    void workers.at(-1)!.terminate();
    expect(await machine.ended).toMatchObject({ why: "failed", message: "vCPU 1: its thread has ended" });
    machine.start(boot("poweroff"));
    expect(machine.phase).toBe("ended");
  });

  it("ends as failed, and says why, when the thread throws", async () => {
    const { machine } = make({ cpus: 2 });
    // What it is handed is no vCPU.
    workers.at(-1)!.postMessage({ vm: -1, vcpu: -1 });
    const end = await machine.ended;
    expect(end).toMatchObject({ why: "failed", status: 1, message: expect.stringMatching(/^vCPU 1: /) });
  });
});

describe.skipIf(!hasKvm)(`input${NEEDS_KVM}`, () => {
  it("waits until the guest has set its serial port up, again after each reset", async () => {
    const { machine, output, until } = make();
    type(machine, "echo early\r");
    machine.start(boot("spin 20"));
    await until("\r\nearly\r\nkvm> ");
    const seen = output().length;
    const reset = machine.reset();
    type(machine, "echo again\r");
    await reset;
    await until("\r\nagain\r\nkvm> ", seen);
  });

  it("reaches a guest that only polls and never sets its serial port up, once it has sent something", async () => {
    const { machine, until } = make();
    // mov dx, 0x3f8; mov al, '?'; out dx, al; mov dx, 0x3fd; 1: in al, dx; test al, 1; jz 1b
    // mov dx, 0x3f8; in al, dx; out dx, al; hlt
    const poll = [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x3f, 0xee, 0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb];
    const echo = [0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xf4];
    type(machine, "!");
    machine.start({ image: parseKernel(codeGuest([...poll, ...echo]), "poll"), commandLine: "", modules: [] });
    await until("?!");
  });
});

describe.skipIf(!hasKvm)(`thirty machines${NEEDS_KVM}`, () => {
  it("leave no descriptor behind", async () => {
    const life = async (): Promise<void> => {
      const { machine } = make();
      machine.start(boot("poweroff"));
      await machine.ended;
      made.pop();
      machine.ledger[Symbol.dispose]();
    };
    await life();
    await delay(100);
    const before = openFds();
    for (let i = 0; i < 30; i++) await life();
    // A Worker's own descriptors go with its thread, a moment after it was told to end.
    for (let tries = 0; openFds() > before && tries < 200; tries++) await delay(25);
    expect(openFds()).toBeLessThanOrEqual(before);
  });
});
