/**
 * Memory that machines take beyond their guests' RAM, while each guest waits at its prompt. What a further machine
 * costs is what it adds to all of them together (smaps.ts).
 */
import { EMBEDDED_GUEST_PROMPT } from "@tools-kvm/firmware";
import { type Bench, type BenchContext, BenchError, type Case } from "../bench.js";
import { missingQemu, qemuRun, vmmRun } from "../commands.js";
import type { Running } from "../programs.js";
import { footprint, togetherBytes } from "../smaps.js";

/** How a machine is started, and how its guest's RAM is called in smaps. */
interface Contender {
  readonly command: readonly string[];
  readonly ramMapping: string;
}

const ours = (cpus: number): Contender => ({
  command: vmmRun("--cpus", String(cpus)),
  ramMapping: "tools-kvm-ram",
});
const qemu = (cpus: number): Contender => ({
  command: qemuRun("microvm,isa-serial=on", "-smp", String(cpus)),
  ramMapping: "memfd:memory-backend-memfd",
});

const CASES: readonly (readonly [name: string, machines: number, cpus: number])[] = [
  ["first machine, 1 vCPU", 1, 1],
  ["second machine, 1 vCPU", 2, 1],
  ["third machine, 1 vCPU", 3, 1],
  ["first machine, 2 vCPUs", 1, 2],
  ["first machine, 4 vCPUs", 1, 4],
];

export const memory: Bench = {
  name: "memory",
  summary: "memory beyond guest RAM with the guest at its prompt, first machine and further ones, against QEMU",
  runs: { full: 7, quick: 1 },
  cases: (context) => CASES.map(([name, machines, cpus]) => memoryCase(name, machines, cpus, context)),
};

function memoryCase(name: string, machines: number, cpus: number, context: BenchContext): Case {
  const measure = (contender: Contender) => async () => (await costOfLast(contender, machines, context)) / 1e6;
  const peer = missingQemu() ?? { name: "qemu-system-x86_64 -M microvm -enable-kvm", measure: measure(qemu(cpus)) };
  return { name, unit: "MB", ours: measure(ours(cpus)), peer };
}

/** Bytes that the last of `machines` machines adds to the others, all at their prompts. */
async function costOfLast(contender: Contender, machines: number, { programs }: BenchContext): Promise<number> {
  const started: Running[] = [];
  const total = (): number => togetherBytes(started.map(({ pid }) => footprint(pid!, contender.ramMapping)));
  try {
    let before = 0;
    for (let machine = 0; machine < machines; machine++) {
      before = total();
      const running = programs.start(contender.command);
      started.push(running);
      await prompt(running);
    }
    return total() - before;
  } finally {
    await Promise.all(started.map((running) => programs.stop(running)));
  }
}

const PROMPT_TIMEOUT_MS = 20_000;
/** What a machine does after its guest's prompt: garbage collections, idle threads. */
const SETTLE_MS = 300;

async function prompt(running: Running): Promise<void> {
  let text = "";
  let said = "";
  running.stderr.on("data", (bytes) => {
    said += bytes;
  });
  await new Promise<void>((resolve, reject) => {
    const fail = (): void => reject(new BenchError(`no prompt from ${running.spawnargs.join(" ")}: ${said}${text}`));
    const timeout = setTimeout(fail, PROMPT_TIMEOUT_MS);
    running.once("error", fail).once("close", fail);
    running.stdout.on("data", (bytes) => {
      text += bytes;
      if (!text.endsWith(EMBEDDED_GUEST_PROMPT)) return;
      clearTimeout(timeout);
      running.off("error", fail).off("close", fail);
      resolve();
    });
  });
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}
