import { defineConfig } from "tsup";
import { bundle } from "../../tsup.base.js";

// The programs that a bench starts, once a run, are entries of their own.
export default defineConfig(
  bundle({
    entry: {
      cli: "src/cli.ts",
      "exits-ours": "src/benches/exits-ours.ts",
      "start-further": "src/benches/start-further.ts",
      "ledger-cost": "src/benches/ledger-cost.ts",
    },
    dts: false,
  }),
);
