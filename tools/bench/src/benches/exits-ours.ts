/**
 * Our side of the `exits` bench, a program of its own as the peer is: a machine with its real vCPU Workers, devices and
 * exit ledger. It prints what each vCPU's ledger says of the measured address, one JSON object a vCPU:
 * `{"exits":N,"ns":N}`, the time from the first entry into the guest to the end of the last write's handler.
 *
 *   node exits-ours.js COUNT BUS:ADDRESS [BUS:ADDRESS]
 */
import { type KernelImage, Machine } from "@tools-kvm/vmm";
import { ENTRY, pairGuest, singleGuest, type Target, TRAMPOLINE } from "./exits-guest.js";

const MEMORY_BYTES = 4 << 20;

function targetOf(text: string): Target {
  const [bus, address] = text.split(":");
  return { bus: bus as Target["bus"], address: Number(address) };
}

function kernel(targets: readonly Target[], count: number): KernelImage {
  const [first, second] = targets;
  const segment = (gpa: number, bytes: Uint8Array) => ({ gpa, bytes, memorySizeBytes: bytes.length });
  const about = { path: "exits", file: new Uint8Array(0), protocol: "pvh", entry: ENTRY } as const;
  if (second === undefined) return { ...about, segments: [segment(ENTRY, singleGuest(first!, count))] };
  const { main, trampoline } = pairGuest([first!, second], count);
  return { ...about, segments: [segment(TRAMPOLINE, trampoline), segment(ENTRY, main)] };
}

const [countText, ...targetTexts] = process.argv.slice(2);
const count = Number(countText);
const targets = targetTexts.map(targetOf);

const machine = new Machine({
  spec: { name: "bench", cpus: targets.length, memoryBytes: MEMORY_BYTES, irqchip: "kernel", testDevices: true },
  onOutput: () => true,
});
machine.start({ image: kernel(targets, count), commandLine: "", modules: [] });
const end = await machine.ended;
if (end.why !== "exit") throw new Error(`the guest ended with ${JSON.stringify(end)}`);
for (const { id, slots } of machine.ledger.snapshot().vcpus) {
  // Every other exit of this vCPU comes once: the slot with the writes is the one with the most.
  const { count: exits, kernelNs, handlerNs } = slots.reduce((a, b) => (b.count > a.count ? b : a));
  if (exits !== count) throw new Error(`vCPU ${id} counted ${exits} exits, not ${count}`);
  process.stdout.write(`${JSON.stringify({ exits, ns: kernelNs + handlerNs })}\n`);
}
