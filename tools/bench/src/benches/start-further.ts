/**
 * What a machine takes that is no process of its own: from its making to its end, in a process that has run one before.
 * The guest is the one of the `start` bench. Prints `{"ms":N}`.
 */
import { readFileSync } from "node:fs";
import { embeddedGuestPath } from "@tools-kvm/firmware";
import { Machine, parseKernel } from "@tools-kvm/vmm";
import { MEMORY_MIB } from "../commands.js";

const image = parseKernel(readFileSync(embeddedGuestPath()), embeddedGuestPath());

async function run(): Promise<number> {
  const startedMs = performance.now();
  const machine = new Machine({
    spec: { name: "bench", cpus: 1, memoryBytes: MEMORY_MIB * 2 ** 20, irqchip: "kernel", testDevices: true },
    onOutput: () => true,
  });
  machine.start({ image, commandLine: "run=poweroff", modules: [] });
  const end = await machine.ended;
  if (end.why !== "poweroff") throw new Error(`the guest ended with ${JSON.stringify(end)}`);
  const elapsedMs = performance.now() - startedMs;
  machine.ledger.close();
  return elapsedMs;
}

await run();
process.stdout.write(`${JSON.stringify({ ms: await run() })}\n`);
