import { existsSync, readFileSync } from "node:fs";
import { exitReasonNames } from "@tools-kvm/kvm-binding";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EXIT_REASONS, findReasons, KINDS, nearestNames } from "./catalogue.js";
import type { ExitReason, Kind } from "./reason.js";

const ALL = Object.values(EXIT_REASONS).flat();
const shown = (reasons: readonly ExitReason[]): string[] => reasons.map(({ kind, name }) => `${kind} ${name}`);

/** Where Debian's linux-libc-dev, and where other systems, have the processor's part of the kernel's headers. */
const HEADERS = ["/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"].find((folder) =>
  existsSync(`${folder}/svm.h`),
);
const NEEDS_HEADERS = HEADERS === undefined ? " (needs kernel headers: apt-get install -y linux-libc-dev)" : "";

/** `#define PREFIX_NAME number` of a header, as [PREFIX_NAME, number]. */
function defined(header: string, pattern: RegExp): [name: string, number: number][] {
  const text = readFileSync(`${HEADERS}/${header}`, "utf8");
  return [...text.matchAll(pattern)].map(([, name, number]) => [name!, Number(number)]);
}

const find = (kind: Kind, name: string) => findReasons(name).filter((reason) => reason.kind === kind);

describe("the exit reasons", () => {
  it.each(KINDS)("of %s have one name each, a text that says something, and a source", (kind) => {
    const reasons = EXIT_REASONS[kind];
    const names = reasons.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const first = reasons.map(({ codes }) => codes[0]);
    expect(new Set(first).size).toBe(first.length);
    for (const { name, meaning, causes, tries, source, note, family } of reasons) {
      expect(name).toMatch(/^[A-Z0-9_]{2,32}$/);
      for (const text of [meaning, ...causes, ...tries]) expect(text, name).toMatch(/^\S.*[.?]$/s);
      expect(causes.length * tries.length, name).toBeGreaterThan(0);
      expect(source.length, name).toBeGreaterThan(10);
      expect(family === "" || note !== "", name).toBe(true);
    }
  });

  it("are found by every name and number they have", () => {
    for (const reason of ALL) {
      for (const name of [reason.name, ...reason.aliases])
        expect(shown(findReasons(name))).toContain(shown([reason])[0]);
      for (const code of reason.codes) expect(findReasons(String(code))).toContain(reason);
    }
  });

  it.skipIf(HEADERS === undefined)(`cover the VMX reasons of the kernel's header${NEEDS_HEADERS}`, () => {
    const names = defined("vmx.h", /^#define (EXIT_REASON_\w+)\s+(\d+)$/gm);
    expect(names.length).toBeGreaterThan(60);
    for (const [name, number] of names)
      expect(
        find("vmx", name).map(({ codes }) => codes),
        name,
      ).toEqual([[number]]);
  });

  it.skipIf(HEADERS === undefined)(`cover the SVM codes of the kernel's header${NEEDS_HEADERS}`, () => {
    const names = defined("svm.h", /^#define (SVM_(?:EXIT|VMGEXIT)_\w+)\s+(0x[0-9a-f]+)$/gm).filter(
      ([name]) => !/EXCP_BASE|LAST_EXCP/.test(name),
    );
    expect(names.length).toBeGreaterThan(100);
    for (const [name, number] of names)
      expect(
        find("svm", name).map(({ codes }) => codes),
        name,
      ).toEqual([[number]]);
    expect(shown(findReasons("SVM_EXIT_ERR"))).toEqual(["svm INVALID"]);
  });

  it("cover every reason of linux/kvm.h with a text of its own", () => {
    expect(EXIT_REASONS.userspace).toHaveLength(exitReasonNames.size);
    for (const { name, meaning } of EXIT_REASONS.userspace) expect(meaning, name).not.toMatch(/newer than this text/);
  });
});

describe("finding a reason", () => {
  it.each([
    ["SVM_EXIT_NPF", ["svm NPF"]],
    ["npf", ["svm NPF"]],
    ["EPT_VIOLATION", ["vmx EPT_VIOLATION"]],
    ["ept-violation", ["vmx EPT_VIOLATION"]],
    ["EXIT_REASON_VMOFF", ["vmx VMXOFF"]],
    ["KVM_EXIT_IO", ["userspace IO"]],
    ["io", ["svm IOIO", "userspace IO"]],
    ["KVM_EXIT_HLT", ["userspace HLT"]],
    ["hlt", ["vmx HLT", "svm HLT", "userspace HLT"]],
    ["PF excp", ["svm EXCEPTION_14", "pvm EXCEPTION_14"]],
    ["idle-halt", ["svm IDLE_HLT"]],
    ["SVM_VMGEXIT_PSC", ["svm VMGEXIT_PSC"]],
    ["PVM_EXIT_REASONS_ERETU", ["pvm ERETU"]],
    ["0x400", ["svm NPF"]],
    ["1024", ["svm NPF"]],
    ["48", ["vmx EPT_VIOLATION", "svm DR0_WRITE"]],
    ["0x80000021", ["vmx INVALID_GUEST_STATE"]],
    ["0x80000001", ["svm VMGEXIT_MMIO_READ"]],
    ["-1", ["svm INVALID"]],
    ["0x40000", ["pvm ERETS", "pvm INTERRUPT"]],
    ["0x1234", []],
    ["no such exit", []],
    ["", []],
    ["99999999999", []],
  ])("%j gives %j", (text, expected) => {
    expect(shown(findReasons(text)).sort()).toEqual([...expected].sort());
  });

  it("suggests what is near, nearest first, and nothing when nothing is", () => {
    expect(nearestNames("EPT_VIOLATOIN")[0]).toBe("EPT_VIOLATION");
    expect(nearestNames("KVM_EXIT_MIMO")[0]).toBe("MMIO");
    expect(nearestNames("violation")).toContain("EPT_VIOLATION");
    expect(nearestNames("supercalifragilistic")).toEqual([]);
    expect(nearestNames("")).toEqual([]);
  });

  it("takes any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
        findReasons(text);
        expect(nearestNames(text).length).toBeLessThanOrEqual(4);
      }),
      { numRuns: 300 },
    );
  });
});
