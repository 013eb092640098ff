import { readFileSync } from "node:fs";
import { defineConfig, type Options } from "tsup";
import { bundle } from "../../tsup.base.js";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };

// The builds share dist/, so the build script empties it and none of them does.
const common = { define: { __VERSION__: JSON.stringify(version) }, clean: false } satisfies Options;

// The command and each subcommand carry this tree's packages in one file: Node takes a millisecond to find and load
// another, and a subcommand does not wait for what only others use (docs/performance.md).
const carry = { ...common, noExternal: [/^@tools-kvm\//], dts: false, splitting: false } satisfies Options;
const main = readFileSync("src/cli/main.ts", "utf8");
const subcommands = [...main.matchAll(/import\("\.\/([\w-]+)\.js"\)/g)].map(([, name]) => name!);

export default defineConfig([
  bundle({ entry: { index: "src/index.ts" }, ...common }),
  bundle({ entry: { cli: "src/cli/main.ts" }, ...carry, external: subcommands.map((name) => `./${name}.js`) }),
  ...subcommands.map((name) => bundle({ entry: { [name]: `src/cli/${name}.ts` }, ...carry })),
]);
