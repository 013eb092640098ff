import { existsSync } from "node:fs";
import { hasKvm, PERF_KVM, Scratch } from "tools-testing";
import { afterAll, describe, expect, it } from "vitest";
import type { Finding } from "../doctor/finding.js";
import { runTrial, TRACEPOINTS } from "../doctor/trial.js";
import { lookAtHost } from "../sources/host.js";

const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

interface Examination {
  readonly works: boolean;
  readonly findings: readonly Finding[];
}

const { tracepoints } = lookAtHost();
const noTracing = tracepoints === "none" || !hasKvm;
const NEEDS_TRACING = noTracing ? " (needs tracepoints and /dev/kvm)" : "";
const isRoot = process.getuid?.() === 0;
const NEEDS_ROOT = isRoot ? "" : " (needs root)";
const NOBODY = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];

describe("perf-kvm doctor", () => {
  it("says of each thing whether it is there, and what mends it", async () => {
    const { status, stdout, stderr } = await scratch.run(["doctor", "--json"]);
    const { works, findings } = JSON.parse(stdout) as Examination;
    expect({ status, stderr }).toEqual({ status: works ? 0 : 1, stderr: "" });
    expect(works).toBe(tracepoints !== "none");
    expect(new Set(findings.map(({ what }) => what)).size).toBe(findings.length);
    for (const { verdict, detail } of findings) {
      expect(["ok", "limited", "missing"]).toContain(verdict);
      expect(detail).not.toBe("");
    }
    const { stdout: text } = await scratch.run(["doctor"]);
    expect(text).toMatch(/^[\n -~]*$/);
    expect(text.trimEnd().split("\n").at(-1)).toMatch(works ? /^perf-kvm top works here\.$/ : /cannot trace/);
    for (const { what } of findings) expect(text).toContain(what);
  });

  it.skipIf(!isRoot)(`says to a user without rights what is missing, with status 1${NEEDS_ROOT}`, async () => {
    const { status, stdout } = await scratch.run(["doctor", "--json"], { by: NOBODY });
    const { works, findings } = JSON.parse(stdout) as Examination;
    expect({ status, works }).toEqual({ status: 1, works: false });
    const found = new Map(findings.map((finding) => [finding.what, finding]));
    expect(found.get("privileges")).toMatchObject({ verdict: "limited", mend: expect.stringContaining("root") });
    expect(found.get("tracefs")).toMatchObject({ verdict: "missing", mend: expect.stringContaining("root") });
  });
});

describe.skipIf(noTracing)(`the trial guest${NEEDS_TRACING}`, () => {
  it("leaves by a port, a device's address and a halt, and the tracepoints notice", () => {
    const { firings, counters, takeRefused } = runTrial();
    expect([...firings.keys()]).toEqual([...TRACEPOINTS]);
    expect(firings.get("kvm_userspace_exit")).toEqual({ state: "fired", count: 3 });
    expect(firings.get("kvm_pio")).toEqual({ state: "fired", count: 1 });
    expect(firings.get("kvm_mmio")).toMatchObject({ state: "fired" });
    expect(counters).toBeGreaterThan(20);
    expect(takeRefused).toBe("");
  });

  const isPvm = existsSync("/sys/module/kvm_pvm");
  it.skipIf(isPvm)(
    `makes kvm_exit fire on a processor's own virtualization${isPvm ? " (needs kvm-amd or kvm-intel)" : ""}`,
    () => {
      const { firings } = runTrial();
      for (const name of ["kvm_exit", "kvm_entry", "kvm_msr"] as const) {
        const firing = firings.get(name);
        expect(firing?.state === "fired" && firing.count, name).toBeGreaterThan(0);
      }
    },
  );
});
