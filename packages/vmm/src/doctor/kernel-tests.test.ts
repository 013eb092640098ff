import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { kernelTestsFinding, kernelTestsResultPath } from "./kernel-tests.js";

const folder = mkdtempSync(join(tmpdir(), "kernel-tests-finding-"));
const path = join(folder, "kernel-tests.json");
afterAll(() => rmSync(folder, { recursive: true }));

const KERNEL = "6.12.1-test";
const result = {
  version: 1,
  at: "2026-01-02T03:04:05.678Z",
  kernel: KERNEL,
  kind: "svm",
  passed: 390,
  failed: 0,
  expectedFailures: 7,
  skipped: 1,
  unexpectedFailures: [] as string[],
  unexpectedPasses: [],
};

function findingFor(text: string) {
  writeFileSync(path, text);
  return kernelTestsFinding(path, KERNEL);
}

describe("the last result of the kernel's tests", () => {
  it("is told with its counts, day and kernel", () => {
    expect(findingFor(JSON.stringify(result))).toEqual({
      verdict: "ok",
      detail: "390 passed, 0 failed, 7 failed as expected, 1 skipped on 2026-01-02, kernel 6.12.1-test",
      advice: "",
    });
  });

  it("names tests that failed", () => {
    const failed = { ...result, failed: 2, unexpectedFailures: ["pit/ticks", "mmio/widths"] };
    expect(findingFor(JSON.stringify(failed))).toMatchObject({
      verdict: "wrong",
      advice: "this kernel does not do what it promises: pit/ticks, mmio/widths",
    });
  });

  it("is stale when another kernel runs", () => {
    expect(findingFor(JSON.stringify({ ...result, kernel: "6.11.0" }))).toMatchObject({
      verdict: "missing",
      advice: "stale, this kernel is 6.12.1-test: npm run kernel-tests again",
    });
  });

  it("says how to get one where there is none", () => {
    expect(kernelTestsFinding(join(folder, "absent"), KERNEL)).toMatchObject({
      verdict: "ok",
      detail: expect.stringContaining("npm run kernel-tests"),
    });
  });

  it("waits for no FIFO, reads no device and no folder", () => {
    const fifo = join(folder, "fifo");
    execFileSync("mkfifo", [fifo]);
    for (const odd of [fifo, "/dev/zero", folder])
      expect(kernelTestsFinding(odd, KERNEL)).toMatchObject({ verdict: "wrong" });
  });

  it("survives any text", () => {
    const damaged = fc.record(
      Object.fromEntries(
        Object.entries(result).map(([key, value]) => [
          key,
          fc.oneof(fc.constant(value), fc.jsonValue()) as fc.Arbitrary<unknown>,
        ]),
      ),
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          damaged.map((value) => JSON.stringify(value)),
        ),
        (text) => {
          const finding = findingFor(text);
          expect(finding.verdict === "ok" || finding.advice !== "").toBe(true);
          // No control characters of a file reach the terminal.
          expect(`${finding.detail}${finding.advice}`).toMatch(/^[ -~]*$/);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("lies where XDG_STATE_HOME says, if that is an absolute path", () => {
    expect(kernelTestsResultPath({ XDG_STATE_HOME: "/s" })).toBe("/s/tools-kvm/kernel-tests.json");
    expect(kernelTestsResultPath({ XDG_STATE_HOME: "s" })).toMatch(/\/\.local\/state\/tools-kvm\/kernel-tests\.json$/);
  });
});
