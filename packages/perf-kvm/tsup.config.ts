import { readFileSync } from "node:fs";
import { defineConfig } from "tsup";
import { bundle } from "../../tsup.base.js";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };

export default defineConfig(
  bundle({
    entry: { index: "src/index.ts", cli: "src/cli/main.ts" },
    define: { __VERSION__: JSON.stringify(version) },
    dts: { entry: { index: "src/index.ts" } },
  }),
);
