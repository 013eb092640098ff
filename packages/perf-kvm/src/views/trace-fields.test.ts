import fc from "fast-check";
import { expect, it } from "vitest";
import { formatText, rawOf } from "../testing.js";
import { TextBuffer } from "./text-buffer.js";
import { TraceFields } from "./trace-fields.js";

function print(fields: TraceFields, raw: Uint8Array): string {
  const out = new TextBuffer();
  fields.print(out, new DataView(raw.buffer, raw.byteOffset, raw.length), 0, raw.length);
  return Buffer.from(out.take()).toString("latin1");
}

const field = (declaration: string, offset: number, size: number, signed = 0): string =>
  `\tfield:${declaration};\toffset:${offset};\tsize:${size};\tsigned:${signed};`;

it("prints KVM's events with names of reasons, addresses in hexadecimal", () => {
  const exit = new TraceFields("kvm_exit", formatText("kvm_exit", 1));
  const raw = rawOf("kvm_exit", { exit_reason: 0x7b, guest_rip: 0xffff_ffff_8100_0000n, isa: 2, info1: 16 });
  expect(print(exit, raw)).toBe(" exit_reason=IOIO guest_rip=0xffffffff81000000 isa=2 info1=0x10 info2=0x0");
  const pio = new TraceFields("kvm_pio", formatText("kvm_pio", 1));
  expect(print(pio, rawOf("kvm_pio", { rw: 1, port: 0x3f8, size: 1 }))).toBe(" rw=1 port=0x3f8 size=1");
});

it("prints texts, also those that lie elsewhere in the record, without what would steer a terminal", () => {
  const text = [
    "name: x",
    "ID: 1",
    field("char comm[8]", 8, 8),
    field("__data_loc char[] file", 16, 4),
    field("int n", 20, 4, 1),
  ];
  const fields = new TraceFields("x", text.join("\n"));
  const raw = new Uint8Array(32);
  raw.set(Buffer.from("a\x1b[2J\nb"), 8);
  new DataView(raw.buffer).setUint32(16, (3 << 16) | 24, true);
  new DataView(raw.buffer).setInt32(20, -7, true);
  raw.set(Buffer.from("/x\0"), 24);
  expect(print(fields, raw)).toBe(" comm=a?[2J?b file=/x n=-7");
});

it("never reads beyond the record, whatever format and data say", () => {
  const line = fc
    .tuple(
      fc.constantFrom("u8 a", "int b", "u64 c", "char d[4]", "__data_loc char[] e", "__data_loc u8[] f", "s64 g"),
      fc.nat(70),
      fc.constantFrom(0, 1, 2, 4, 8, 3),
    )
    .map(([declaration, offset, size]) => field(declaration, offset, size, declaration.startsWith("s64") ? 1 : 0));
  fc.assert(
    fc.property(fc.array(line, { maxLength: 6 }), fc.uint8Array({ maxLength: 64 }), (lines, raw) => {
      print(new TraceFields("x", lines.join("\n")), raw);
    }),
    { numRuns: 3000 },
  );
});

it("ends a line that a format would make endless", () => {
  const lines = Array.from({ length: 5000 }, (_, index) => field(`char a${index}[64]`, 0, 64));
  const out = new TextBuffer(1);
  const raw = new DataView(new Uint8Array(64).fill(97).buffer);
  new TraceFields("x", lines.join("\n")).print(out, raw, 0, 64);
  expect(out.take().length).toBeLessThan(2 ** 16);
});
