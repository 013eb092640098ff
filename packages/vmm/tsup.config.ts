import { readFileSync } from "node:fs";
import { defineConfig } from "tsup";
import { bundle } from "../../tsup.base.js";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };

// The worker is an entry of its own: a vCPU's thread loads nothing that its loop does not need.
export default defineConfig(
  bundle({
    entry: { index: "src/index.ts", cli: "src/cli/main.ts", "vcpu-worker": "src/machine/vcpu-worker.ts" },
    define: { __VERSION__: JSON.stringify(version) },
    dts: { entry: { index: "src/index.ts" } },
  }),
);
