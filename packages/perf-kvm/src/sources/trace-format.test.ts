import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatText } from "../testing.js";
import { kvmTraceFormat, parseTraceFormat, TraceFormatError, tracefs } from "./trace-format.js";

const readable = tracefs() !== undefined && kvmTraceFormat("kvm_exit") !== undefined;

describe("a trace format", () => {
  it("has a name, an id, and where each field is", () => {
    const { name, id, fields } = parseTraceFormat(formatText("kvm_exit", 103));
    expect({ name, id }).toEqual({ name: "kvm_exit", id: 103 });
    expect(fields.get("info1")).toEqual({ name: "info1", offset: 32, sizeBytes: 8 });
    expect(fields.get("common_pid")).toEqual({ name: "common_pid", offset: 4, sizeBytes: 4 });
  });

  it("has the name of an array without its length", () => {
    const text = "name: x\nID: 1\nformat:\n\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n";
    expect(parseTraceFormat(text).fields.get("comm")).toEqual({ name: "comm", offset: 8, sizeBytes: 16 });
  });

  it.each(["", "name: x\n", "ID: 3\n", "hello"])("is refused when it is none: %j", (text) => {
    expect(() => parseTraceFormat(text)).toThrow(TraceFormatError);
  });

  it("is parsed or refused, whatever the text, and its numbers are numbers", () => {
    const part = fc.oneof(
      fc.string(),
      fc.constantFrom("name: x\n", "ID: 7\n", "\tfield:", ";\toffset:", ";\tsize:", "a[", "]", "12", "\n"),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
        let format: ReturnType<typeof parseTraceFormat>;
        try {
          format = parseTraceFormat(parts.join(""));
        } catch (error) {
          expect(error).toBeInstanceOf(TraceFormatError);
          return;
        }
        for (const { offset, sizeBytes } of format.fields.values()) {
          expect(Number.isInteger(offset) && Number.isInteger(sizeBytes)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("takes no longer for a long line without an end", () => {
    const text = `name: x\nID: 1\n\tfield:${"a".repeat(2_000_000)}`;
    expect(parseTraceFormat(text).fields.size).toBe(0);
  });

  it.skipIf(!readable)(`of this kernel is understood${readable ? "" : " (needs a readable tracefs)"}`, () => {
    const exit = kvmTraceFormat("kvm_exit")!;
    expect(exit.id).toBeGreaterThan(0);
    for (const field of ["exit_reason", "isa", "info1"]) expect(exit.fields.has(field), field).toBe(true);
    expect(kvmTraceFormat("no_such_event")).toBeUndefined();
  });
});
