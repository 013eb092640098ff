/** `vmm unit-test` with images of our own that speak kvm-unit-tests' protocol. */
import { mkdirSync } from "node:fs";
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { TestResult } from "../unit-test/result.js";
import { codeGuest } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

/** mov al, code; out 0xf4, al. */
const exitWith = (code: number) => [0xb0, code, 0xe6, 0xf4, 0xf4];
/** mov dx, 0x3f8, and each byte sent. */
const print = (text: string) => [
  0x66,
  0xba,
  0xf8,
  0x03,
  ...[...Buffer.from(text)].flatMap((byte) => [0xb0, byte, 0xee]),
];
/** Ends with the number of CPUs that fw_cfg names (key 5), less the one that there always is. */
const CPUS_LESS_ONE = [
  ...[0x66, 0xba, 0x10, 0x05, 0x66, 0xb8, 0x05, 0x00, 0x66, 0xef], // mov dx, 0x510; mov ax, 5; out dx, ax
  ...[0x42, 0xec, 0xfe, 0xc8, 0xe6, 0xf4, 0xf4], // inc edx; in al, dx; dec al; out 0xf4, al
];
/** Passes when the first module begins with "NR": the environment. */
const HAS_ENVIRONMENT = [
  ...[0x8b, 0x43, 0x18, 0x8b, 0x00], // mov eax, [ebx + 24]; mov eax, [eax]: mods_addr, its first module's start
  ...[0x66, 0x81, 0x38, 0x4e, 0x52], // cmp word [eax], "NR"
  ...[0x0f, 0x95, 0xc0, 0xe6, 0xf4, 0xf4], // setne al; out 0xf4, al
];
const FOREVER = [0xeb, 0xfe];

mkdirSync(`${scratch.folder}/x86`, { recursive: true });
for (const [name, code] of Object.entries({
  pass: exitWith(0),
  fail: [...print("FAIL: two and two\n"), ...exitWith(1)],
  skips: exitWith(38),
  abort: exitWith(63),
  cpus: CPUS_LESS_ONE,
  env: HAS_ENVIRONMENT,
  hang: [...print("here I stay\n"), ...FOREVER],
  stuck: FOREVER,
})) {
  scratch.file(`x86/${name}.flat`, codeGuest(code));
}
scratch.file(
  "x86/unittests.cfg",
  ["pass", "fail", "skips", "abort", "cpus", "env"].map((name) => `[${name}]\nfile = ${name}.flat\n`).join("\n") +
    `
[cpus-2]
file = cpus.flat
smp = 2
[missing]
file = missing.flat
[odd]
file = pass.flat
extra_params = -device edu
[hang]
file = hang.flat
timeout = 4
groups = nodefault slow
`,
);

const unitTest = (...args: string[]) => scratch.run(["unit-test", ...args]);

describe.skipIf(!hasKvm)(`vmm unit-test${NEEDS_KVM}`, { concurrent: true }, () => {
  it("runs a folder's tests, several at once, and prints one line of KTAP for each in their order", async () => {
    const { status, stdout, stderr } = await unitTest(scratch.folder, "--jobs", "3");
    expect({ status, stderr }).toEqual({ status: 1, stderr: "" });
    expect(stdout.replace(/\S+missing.flat/, "missing.flat").split("\n")).toEqual([
      "KTAP version 1",
      "1..9",
      "ok 1 pass",
      "# FAIL: two and two",
      "not ok 2 fail the test reported failures",
      "ok 3 skips # SKIP the test skipped itself",
      "not ok 4 abort the test called abort()",
      "ok 5 cpus",
      "ok 6 env",
      "not ok 7 cpus-2 the test reported failures",
      "ok 8 missing # SKIP missing.flat is not there: not built?",
      "ok 9 odd # SKIP needs QEMU's -device edu",
      "# Totals: pass:3 fail:3 xfail:0 xpass:0 skip:3 error:0",
      "",
    ]);
  });

  it("ends a test that takes too long, and shows what it said", async () => {
    const { status, stdout } = await unitTest(scratch.folder, "--group", "slow");
    expect(status).toBe(1);
    expect(stdout).toContain("# here I stay\nnot ok 1 hang timeout: it had 4 s\n");
  });

  it("ends with 0 when all passed, and 4 when all were skipped", async () => {
    expect((await unitTest(scratch.folder, "--filter", "^(pass|env)$")).status).toBe(0);
    expect((await unitTest(scratch.folder, "--filter", "skips|odd")).status).toBe(4);
  });

  it("takes images by themselves, and says what came of them as JSON", async () => {
    const images = ["cpus", "pass"].map((name) => `${scratch.folder}/x86/${name}.flat`);
    const { status, stdout } = await unitTest(...images, "--json", "--cpus", "1");
    expect(status).toBe(0);
    expect(JSON.parse(stdout) as TestResult[]).toMatchObject([
      { name: "cpus", verdict: "pass" },
      { name: "pass", verdict: "pass", reason: "" },
    ]);
  });

  it("lists tests without running them", async () => {
    const { status, stdout } = await unitTest(scratch.folder, "--list", "--filter", "^p|odd");
    expect({ status, stdout }).toEqual({ status: 0, stdout: "pass\nodd # SKIP needs QEMU's -device edu\n" });
  });

  it("leaves no machine behind when it is interrupted", async () => {
    const run = scratch.start(["unit-test", `${scratch.folder}/x86/stuck.flat`]);
    await run.until("1..1");
    await vi.waitFor(async () => expect((await scratch.run(["ps"])).stdout).toContain("stuck.flat"), {
      timeout: HANG_MS,
    });
    run.signal("SIGINT");
    const { status, stdout } = await run.ended;
    expect(status).toBe(130);
    expect(stdout).toContain("not ok 1 stuck interrupted");
    expect((await scratch.run(["ps"])).stdout).not.toContain("stuck.flat");
  });

  it.each([
    [["nowhere"], "vmm: nowhere: no such file or folder\n"],
    [["."], /^vmm: \S*unittests.cfg: no such file or folder; --config names another list of tests\n$/],
    [["package.json", "--filter", "("], "vmm: --filter (: not a regular expression\n"],
    [
      ["package.json", "--filter", "none"],
      "vmm: no test is left to run; --list shows what there is without --filter\n",
    ],
    [["package.json", "--jobs", "0"], "vmm: --jobs 0: a number above 0\n"],
  ])("refuses %j in one line", async (args, message) => {
    const { status, stderr } = await unitTest(...args);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });
});
