import { defineConfig } from "tsup";
import { bundle } from "../../tsup.base.js";

// A theme runs in a process of its own, and the build assembles what the themes want their guests to do.
export default defineConfig(
  bundle({
    entry: { cli: "src/cli.ts", "theme-process": "src/theme-process.ts", "build-guests": "src/guest/build.ts" },
    dts: false,
  }),
);
