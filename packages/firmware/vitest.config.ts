import { defineConfig } from "vitest/config";

export default defineConfig({
  // Forks, so that a crash in native code fails its own file and not the run.
  test: { pool: "forks", include: ["src/**/*.test.ts"], testTimeout: 30_000 },
});
