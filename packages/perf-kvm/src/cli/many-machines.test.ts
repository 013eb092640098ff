/** Many vCPU threads at once, and machines that come and go while they are watched: nobody's counts suffer from it. */
import { readdirSync, readFileSync } from "node:fs";
import { hasKvm, NEEDS_KVM, PERF_KVM, type Process, Scratch } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { Report } from "../model/report.js";
import { lookAtHost } from "../sources/host.js";

vi.setConfig({ testTimeout: 60_000 });
const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

const VCPUS = 12;
const EXITS = 500;
const MIB = 2 ** 20;

async function exits(machine: Process): Promise<void> {
  const from = machine.stdout.length;
  machine.type(`exits pio ${EXITS} all\r`);
  await machine.until("kvm> ", from);
}

const lines = (stdout: string): Report[] => {
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Report);
};

/** Bytes of the rings that a process has mapped. */
function ringBytes(pid: number): number {
  const rings = readFileSync(`/proc/${pid}/maps`, "utf8").matchAll(/^(\w+)-(\w+) .*\[perf_event\]$/gm);
  return [...rings].reduce((sum, [, from, to]) => sum + Number.parseInt(to!, 16) - Number.parseInt(from!, 16), 0);
}

const noTracing = lookAtHost().tracepoints === "none";
const why = noTracing ? " (needs tracepoints)" : "";

describe.skipIf(!hasKvm || noTracing)(`many machines${NEEDS_KVM}${why}`, () => {
  it.each(["tracepoints", "ledger"])("are counted exactly by %s while others come and go", async (source) => {
    const options = ["--cpus", String(VCPUS), "--memory", "16M"];
    const [stays, leaves] = await Promise.all(
      ["stays", "leaves"].map((name) => scratch.machine(`${source}-${name}`, options)),
    );
    const top = scratch.start(["top", "--json", "--interval", "0.2", "--source", source]);
    await top.until("\n");
    await Promise.all([exits(stays!), exits(leaves!)]);
    leaves!.type("poweroff\r");
    const comes = await scratch.machine(`${source}-comes`, options);
    await leaves!.ended;
    await top.until(`"name":"${source}-comes","pid":${comes.pid}`);
    // The threads of the last vCPUs are found with the next look.
    const from = top.stdout.length;
    while (top.stdout.length === from) await exits(stays!);
    if (source === "tracepoints") {
      expect(ringBytes(top.pid)).toBeLessThan(128 * MIB);
      expect(readdirSync(`/proc/${top.pid}/fd`).length).toBeLessThan(1000);
    }
    const rounds = stays!.stdout.split("exits pio").length - 1;
    await exits(stays!);
    top.signal("SIGINT");
    const { status, stdout } = await top.ended;
    expect(status).toBe(0);
    // Records of other machines of this host may be lost: as they start, their instructions are too many.
    const { rows } = lines(stdout).at(-1)!;
    const counted = (name: string): number =>
      rows
        .filter(({ machine, detail }) => machine === `${source}-${name}` && detail === "0xe0 out")
        .reduce((sum, { count }) => sum + count, 0);
    expect(counted("stays")).toBe((rounds + 1) * VCPUS * EXITS);
    expect(counted("leaves")).toBe(VCPUS * EXITS);
  });
});
