import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    pool: "forks",
    include: ["*.test.mjs"],
    testTimeout: 30_000,
    reporters: ["default", "./vitest-reporter.mjs"],
  },
});
