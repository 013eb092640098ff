import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError, parseConfig } from "./config.js";
import { cpuCount, type Planned, planTest, type TestHost } from "./plan.js";
import { judge, ktapHeader, ktapLine, ktapTotals, type TestResult } from "./result.js";
import { shellWords } from "./words.js";

const host: TestHost = { maxSmp: 4, maxCpus: 64, arch: "x86_64", groups: [], readFile: () => undefined };

function plan(keys: string, more: Partial<TestHost> = {}): Planned | undefined {
  return planTest(parseConfig(`[t]\nfile = t.flat\n${keys}`)[0]!, { ...host, ...more });
}

const CONFIG = `
# Define your new unittest following the convention:
[apic-split]
file = apic.flat
smp = 2
extra_params = -cpu max,+x2apic,+tsc-deadline -machine kernel_irqchip=split
arch = x86_64
groups = apic
timeout = 30

[realmode]
file=realmode.flat
[late]
file = late.flat
qemu_params = """-append 'a b'
  -m 2048"""
`;

describe("a list of tests", () => {
  it("has a section a test, whatever the spaces, comments and long quotes", () => {
    const tests = parseConfig(CONFIG);
    expect(tests.map(({ name, file, line }) => [name, file, line])).toEqual([
      ["apic-split", "apic.flat", 3],
      ["realmode", "realmode.flat", 11],
      ["late", "late.flat", 13],
    ]);
    expect(tests[0]).toMatchObject({ smp: "2", arch: "x86_64", groups: ["apic"], timeout: "30" });
    expect(planTest(tests[2]!, host)).toMatchObject({ commandLine: "a b", memory: "2048" });
  });

  it.each([
    ["what", 1, /not understood: what/],
    ["file = x.flat", 1, /file stands before the first \[test\]/],
    ["\n[t]\nsmp = 2", 2, /\[t\] names no file/],
    ['[t]\nfile = """x', 2, /""" without an end/],
  ])("that is none is refused with its line: %j", (text, line, message) => {
    expect(() => parseConfig(text)).toThrow(message);
    expect(() => parseConfig(text)).toThrow(expect.objectContaining({ line }));
  });

  it("of any text is understood or refused", () => {
    const piece = fc.oneof(
      fc.constantFrom("[t]\n", "file = a.flat\n", 'x = """', '"""', "\n", "smp=$MAX_SMP", "'", "#"),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        try {
          for (const entry of parseConfig(pieces.join(""))) planTest(entry, host);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
        }
      }),
    );
  });
});

describe("a test becomes a machine", () => {
  it("with its CPUs, memory, command line and interrupt controllers", () => {
    expect(
      plan(
        "smp = 2\nextra_params = -cpu max -m 1G -machine kernel_irqchip=split -append 'one \"two\" three'\ntimeout = 7",
      ),
    ).toEqual({
      name: "t",
      file: "t.flat",
      cpus: 2,
      memory: "1G",
      commandLine: 'one "two" three',
      irqchip: "split",
      timeoutS: 7,
    });
    expect(plan("test_args = \"a 'b c'\"\nqemu_params = -cpu host -no-reboot -net none")).toMatchObject({
      commandLine: "a 'b c'",
      irqchip: "kernel",
    });
  });

  it.each([
    ["3", 3],
    ["$MAX_SMP", 4],
    ["$(($MAX_SMP > 2 ? 2 : $MAX_SMP))", 2],
    ["$(($MAX_SMP>80?80:$MAX_SMP))", 4],
    ["0", undefined],
    ["many", undefined],
  ])("with %s CPUs where the host has four", (text, cpus) => expect(cpuCount(text, 4)).toBe(cpus));

  it.each([
    ["arch = i386", /is for i386/],
    ["accel = tcg", /accelerator tcg/],
    ["smp = 65", /needs 65 CPUs, and this host's KVM gives 64/],
    ["smp = many", /smp = many is not understood/],
    ["extra_params = -cpu qemu64,+umip", /needs QEMU's -cpu qemu64,\+umip/],
    ["extra_params = -device pci-testdev", /needs QEMU's -device pci-testdev/],
    ["extra_params = -machine pit=off", /needs QEMU's -machine pit=off/],
    ["extra_params = -append", /needs QEMU's -append/],
    ["extra_params = -append 'a", /a quote without an end/],
    ["check = /sys/module/kvm_intel/parameters/ept=Y", /needs \/sys.*ept to be Y, and it does not exist/],
  ])("or is skipped with a reason: %s", (keys, reason) => {
    expect(plan(keys)).toEqual({ name: "t", skip: expect.stringMatching(reason) });
  });

  it("when what it checks on the host is so", () => {
    const readFile = (path: string) => (path === "/proc/sys/kernel/nmi_watchdog" ? "0\n" : undefined);
    expect(plan("check = /proc/sys/kernel/nmi_watchdog=0", { readFile })).toMatchObject({ cpus: 1 });
    expect(plan("check = /proc/sys/kernel/nmi_watchdog=1", { readFile })).toMatchObject({ skip: /to be 1, not 0/ });
  });

  it("only when its group is wanted; those marked nodefault only then", () => {
    expect(plan("groups = nodefault slow")).toBeUndefined();
    expect(plan("groups = nodefault slow", { groups: ["slow"] })).toBeDefined();
    expect(plan("groups = fast", { groups: ["slow"] })).toBeUndefined();
  });
});

describe("words", () => {
  it("are split where a shell splits them", () => {
    expect(shellWords(` a 'b c' "d \\" e"f \\ g '' "" `)).toEqual(["a", "b c", 'd " ef', " g", "", ""]);
    expect(shellWords("a 'b")).toBeUndefined();
  });
  it("come back from their quoted form", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (words) => {
        const quoted = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
        expect(shellWords(quoted)).toEqual(words);
      }),
    );
  });
});

describe("a result", () => {
  it.each([
    [1, "pass"],
    [3, "fail"],
    [77, "skip"],
    [127, "fail"],
    [9, "fail"],
  ])("of status %d is a %s", (status, verdict) => expect(judge({ why: "exit", status }).verdict).toBe(verdict));

  it("is a failure when the machine ended in any other way, status 1 or not", () => {
    expect(judge({ why: "crashed", status: 1 })).toEqual({ verdict: "fail", reason: "the machine ended by crashed" });
    expect(judge({ why: "poweroff", status: 0 }).verdict).toBe("fail");
  });

  it("is a line of KTAP, a failure's after its last words", () => {
    const result = (more: Partial<TestResult>): TestResult => ({
      name: "t",
      verdict: "pass",
      reason: "",
      durationMs: 1,
      output: "",
      ...more,
    });
    const results = [
      result({}),
      result({ verdict: "skip", reason: "no\nway" }),
      result({ verdict: "fail", reason: "status 9", output: "a\nb\n" }),
    ];
    expect([ktapHeader(3), ...results.map((each, i) => ktapLine(i, each)), ktapTotals(results)].join("")).toBe(
      "KTAP version 1\n1..3\nok 1 t\nok 2 t # SKIP no way\n# a\n# b\nnot ok 3 t status 9\n# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0\n",
    );
  });
});
