import { readFileSync } from "node:fs";
import { defineConfig, type Options } from "tsup";
import { bundle } from "../../tsup.base.js";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };

// The three builds share dist/, so the build script empties it and none of them does.
const common = { define: { __VERSION__: JSON.stringify(version) }, clean: false } satisfies Options;

// The command and a vCPU's thread carry this tree's packages with them: a file takes Node a millisecond to find and
// load, and most of the binding's exports are constants of which they use a few (docs/performance.md).
const carry = { ...common, noExternal: [/^@tools-kvm\//], dts: false } satisfies Options;

export default defineConfig([
  bundle({ entry: { index: "src/index.ts" }, ...common }),
  bundle({ entry: { cli: "src/cli/main.ts" }, ...carry }),
  bundle({ entry: { "vcpu-worker": "src/machine/vcpu-worker.ts" }, ...carry, splitting: false }),
  bundle({ entry: { "io-worker": "src/machine/io-worker.ts" }, ...carry, splitting: false }),
]);
