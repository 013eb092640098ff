/** What accounting costs: run() of the binding with the exit ledger and without. */
import { fileURLToPath } from "node:url";
import type { Bench } from "../bench.js";

const PROGRAM = fileURLToPath(new URL("ledger-cost.js", import.meta.url));
const STRETCHES = { full: 1000, quick: 300 };

const CASES = [
  ["KVM_RUN that returns at once", "immediateNs"],
  ["exits of a guest, pio", "pioNs"],
] as const;

export const ledger: Bench = {
  name: "ledger",
  summary: "nanoseconds that the exit ledger adds to an exit",
  runs: { full: 9, quick: 3 },
  cases({ quick, programs }) {
    const command = [process.execPath, PROGRAM, String(quick ? STRETCHES.quick : STRETCHES.full)];
    return CASES.map(([name, field]) => ({
      name,
      unit: "ns",
      ours: async () => (JSON.parse((await programs.run(command)).stdout) as Record<typeof field, number>)[field],
    }));
  },
};
