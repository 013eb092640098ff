import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { hasKvm } from "./testing.js";

const child = fileURLToPath(new URL("../test/fuzz-child.mjs", import.meta.url));

// A new seed every time; a failure names its own. FUZZ_SEED and FUZZ_CALLS repeat or lengthen a run.
const seed = process.env.FUZZ_SEED ?? String(Date.now() % 2 ** 31);
const calls = process.env.FUZZ_CALLS ?? "1500";
const scope = hasKvm ? "" : " (without /dev/kvm: KVM handles are left out)";

it(
  `throws KvmError or TypeError, and never crashes, whatever every native entry point and public method is given${scope}`,
  () => {
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, ["--expose-gc", child, seed, calls], {
      encoding: "utf8",
    });
    expect({ status, signal }, `FUZZ_SEED=${seed} FUZZ_CALLS=${calls}: ${stderr.slice(0, 3000)}`).toEqual({
      status: 0,
      signal: null,
    });
    const outcome = JSON.parse(stdout) as Record<string, number>;
    expect(outcome.entryPoints).toBeGreaterThan(70);
    for (const kind of ["returned", "KvmError", "TypeError"]) expect(outcome[kind], kind).toBeGreaterThan(0);
  },
  Math.max(60_000, Number(calls) * 20),
);
