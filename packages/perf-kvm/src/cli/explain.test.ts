import { PERF_KVM, Scratch } from "tools-testing";
import { afterAll, describe, expect, it } from "vitest";

const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

describe("perf-kvm explain", () => {
  it("says what an exit means, why it happens, what to try, and by what", async () => {
    const { status, stdout, stderr } = await scratch.run(["explain", "SVM_EXIT_NPF"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^NPF {2}SVM \(AMD\) exit code 0x400\n/);
    expect(stdout).toMatch(/Usual causes\n {2}- .*What to try\n {2}- .*Source: AMD APM volume 2, 15\.25/s);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
  });

  it("shows all that a number or a name may be", async () => {
    const { stdout } = await scratch.run(["explain", "12"]);
    expect(stdout).toMatch(/^HLT {2}VMX.*^CR12_READ {2}SVM.*^EXCEPTION_12 {2}PVM.*^TPR_ACCESS {2}KVM/ms);
  });

  it("lists all, for a program with tabs between the fields", async () => {
    const { status, stdout } = await scratch.run(["explain"]);
    expect(status).toBe(0);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split("\t"));
    expect(lines.length).toBeGreaterThan(300);
    for (const fields of lines) expect(fields).toHaveLength(4);
    expect(lines.find(([, , name]) => name === "EPT_VIOLATION")!.slice(0, 2)).toEqual(["vmx", "48"]);
  });

  it("gives JSON", async () => {
    const { stdout } = await scratch.run(["explain", "cpuid", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject([
      { kind: "vmx", name: "CPUID", codes: [10] },
      { kind: "svm", name: "CPUID", codes: [0x72] },
    ]);
  });

  it.each([
    ["EPT_VIOLATOIN", "explain EPT_VIOLATOIN: no exit has this name; the nearest are EPT_VIOLATION"],
    ["4660", "explain 4660: no exit has the number 4660 (0x1234)"],
    ["\x1b[2Jxyzzy", "explain ?[2Jxyzzy: no exit has this name; `perf-kvm explain` lists all"],
  ])("refuses %j in one line, with status 2", async (text, words) => {
    const { status, stdout, stderr } = await scratch.run(["explain", text]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^perf-kvm: [^\n]+\n$/);
    expect(stderr).toContain(words);
  });
});
