import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    pool: "forks",
    include: ["src/**/*.test.ts"],
    testTimeout: 180_000,
    reporters: ["default", "../setup/vitest-reporter.mjs"],
  },
});
