/** What accounting costs: run() of the binding with the exit ledger and without. */
import { fileURLToPath } from "node:url";
import type { Bench } from "../bench.js";

const PROGRAM = fileURLToPath(new URL("ledger-cost.js", import.meta.url));
const STRETCHES = { full: 1000, quick: 300 };

export const ledger: Bench = {
  name: "ledger",
  summary: "nanoseconds that the exit ledger adds to an exit",
  runs: { full: 9, quick: 3 },
  cases({ quick, programs }) {
    const stretches = quick ? STRETCHES.quick : STRETCHES.full;
    return [
      {
        name: "accounting of one exit",
        unit: "ns",
        async ours() {
          const { stdout } = await programs.run([process.execPath, PROGRAM, String(stretches)]);
          const { withNs, withoutNs } = JSON.parse(stdout) as { withNs: number; withoutNs: number };
          return withNs - withoutNs;
        },
      },
    ];
  },
};
