import fc from "fast-check";
import { expect, it } from "vitest";
import { TextBuffer } from "./text-buffer.js";

function text(write: (out: TextBuffer) => void): string {
  const out = new TextBuffer(64);
  write(out);
  return Buffer.from(out.take()).toString("latin1");
}

it("writes whole numbers as String() does, up to 2^53", () => {
  for (const value of [0, 9, 10, 99, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 10 ** 15]) {
    expect(text((out) => out.decimal(value))).toBe(String(value));
  }
  fc.assert(fc.property(fc.maxSafeNat(), (value) => text((out) => out.decimal(value)) === String(value)));
});

it("writes 64 bits in hexadecimal, without zeros in front", () => {
  const u32 = fc.oneof(fc.nat({ max: 0xffff_ffff }), fc.constantFrom(0, 1, 15, 16, 0x8000_0000, 0xffff_ffff));
  fc.assert(
    fc.property(u32, u32, (low, high) => {
      const value = (BigInt(high) << 32n) | BigInt(low);
      expect(text((out) => out.hex(low, high))).toBe(value.toString(16));
    }),
  );
});

it("fills with zeros", () => {
  fc.assert(
    fc.property(fc.nat({ max: 999_999_999 }), (value) => {
      expect(text((out) => out.padded(value, 9))).toBe(String(value).padStart(9, "0"));
    }),
  );
});
