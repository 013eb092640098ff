/** `perf-kvm list` beside real machines: ours, and QEMU's where it is there. */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { hasKvm, NEEDS_KVM, PERF_KVM, Scratch } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { Inventory, ListedMachine } from "../discover/inventory.js";
import { vcpuDescriptorsOf } from "../discover/machines.js";
import { matchVcpus, threadsOf } from "../discover/vcpu-threads.js";

vi.setConfig({ testTimeout: 60_000 });
const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

const QEMU = "/usr/bin/qemu-system-x86_64";
const hasQemu = readdirSync("/usr/bin").includes("qemu-system-x86_64");
const NEEDS_QEMU = hasQemu ? "" : " (needs QEMU: apt-get install -y qemu-system-x86)";

async function inventory(): Promise<Inventory> {
  const { status, stdout, stderr } = await scratch.run(["list", "--json"]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return JSON.parse(stdout) as Inventory;
}

const named = ({ machines }: Inventory, name: string): ListedMachine | undefined =>
  machines.find((machine) => machine.name === name);

/** Until `look` gives something. */
async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe.skipIf(!hasKvm)(`perf-kvm list${NEEDS_KVM}`, { concurrent: true }, () => {
  it("shows a running vmm: its name, memory, vCPUs with their threads, and that all can be seen", async () => {
    const { pid } = await scratch.machine("listed", ["--cpus", "3", "--memory", "64M"]);
    const machine = named(await inventory(), "listed")!;
    expect(machine).toMatchObject({
      pid,
      vmm: "vmm",
      memoryBytes: 64 * 2 ** 20,
      ledger: { ok: true },
      stats: { ok: true },
    });
    expect(machine.vcpus.map(({ id }) => id)).toEqual([0, 1, 2]);
    const tids = readdirSync(`/proc/${pid}/task`).map(Number);
    for (const { tid } of machine.vcpus) expect(tids).toContain(tid);
    expect(new Set(machine.vcpus.map(({ tid }) => tid)).size).toBe(3);
    expect(machine.residentBytes).toBeGreaterThan(2 ** 20);
    expect(machine.threads).toBe(tids.length);
    const { stdout } = await scratch.run(["list"]);
    expect(stdout).toMatch(/^ *PID {2}NAME .*VCPU THREADS\n/);
    expect(stdout).toMatch(new RegExp(`^ *${pid} {2}listed +vmm +3 +64 MiB .* 0[-:]`, "m"));
    expect(stdout).toMatch(/^[\n -~]*$/);
  });

  it("finds the same threads without the machine's word, by the ioctl they are in", async () => {
    const { pid } = await scratch.machine("halted", ["--cpus", "2"]);
    const { vcpus } = named(await inventory(), "halted")!;
    // All vCPUs wait for something to do: in KVM_RUN, once they have settled there.
    const found = await eventually(async () => {
      const matched = matchVcpus(pid, vcpuDescriptorsOf(pid), threadsOf(pid), new Map());
      return matched.every(({ tid }) => tid !== null) ? matched : undefined;
    });
    expect(found.map(({ id, tid }) => ({ id, tid }))).toEqual(vcpus.map(({ id, tid }) => ({ id, tid })));
  });

  it.skipIf(!hasQemu)(`shows QEMU's machines, with the threads that it names${NEEDS_QEMU}`, async () => {
    const args = ["-accel", "kvm", "-display", "none", "-nodefaults", "-S", "-smp", "3", "-m", "96"];
    const child = spawn(QEMU, [...args, "-name", "guest=other,debug-threads=on"], { stdio: "ignore" });
    const ended = new Promise<undefined>((resolve) => child.once("close", () => resolve(undefined)));
    try {
      const machine = await eventually(async () => {
        expect(child.exitCode, "QEMU ended").toBeNull();
        const found = named(await inventory(), "other");
        return found?.vcpus.length === 3 && found.vcpus.every(({ thread }) => thread !== null) ? found : undefined;
      });
      expect(machine).toMatchObject({ pid: child.pid, vmm: "QEMU", memoryBytes: 96 * 2 ** 20 });
      expect(machine.vcpus.map(({ thread }) => thread)).toEqual(["CPU 0/KVM", "CPU 1/KVM", "CPU 2/KVM"]);
      expect(machine.ledger).toEqual({ ok: false, detail: "this VMM keeps none" });
      expect(machine.stats.ok).toBe(false);
    } finally {
      child.kill("SIGKILL");
      await ended;
    }
  });

  const isRoot = process.getuid?.() === 0;
  it.skipIf(!isRoot)(`says without root what it cannot see${isRoot ? "" : " (needs root)"}`, async () => {
    const { pid } = await scratch.machine("foreign");
    const by = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
    const { status, stdout } = await scratch.run(["list", "--json"], { by });
    expect(status).toBe(0);
    const { machines, notes } = JSON.parse(stdout) as Inventory;
    expect(machines.filter((machine) => machine.pid === pid)).toEqual([]);
    expect(notes[0]).toMatch(/^VMs of other users .*; run it as root$/);
  });
});
