import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** How every package's tests run. A package's own vitest.config.ts exports this, or merges something into it. */
export default defineConfig({
  test: {
    // Forks, so that a crash in native code fails its own file and not the run.
    pool: "forks",
    include: ["src/**/*.test.ts"],
    testTimeout: 30_000,
    // Says which tests were skipped, and why: `npm test` repeats that at its end.
    reporters: ["default", fileURLToPath(new URL("tools/setup/vitest-reporter.mjs", import.meta.url))],
  },
});
