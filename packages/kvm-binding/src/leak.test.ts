import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { hasKvm } from "./testing.js";

const child = fileURLToPath(new URL("../test/leak-child.mjs", import.meta.url));

it(`leaves no descriptor and no mapping behind when thousands of handles are dropped unclosed${hasKvm ? "" : " (without /dev/kvm: KVM handles are left out)"}`, () => {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ["--expose-gc", child, process.env.LEAK_ROUNDS ?? "4"],
    { encoding: "utf8" },
  );
  expect({ status, signal }, stderr.slice(0, 3000)).toEqual({ status: 0, signal: null });
  const left = JSON.parse(stdout) as Record<string, number>;
  expect(Object.keys(left).length).toBeGreaterThan(10);
  for (const [kind, count] of Object.entries(left)) expect(count, kind).toBe(0);
}, 60_000);
