import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checksumOf } from "../../bytes.js";
import {
  AmlError,
  arg,
  buffer,
  eisaId,
  field,
  integer,
  interrupt,
  ioPorts,
  irqNoFlags,
  local,
  memory32Fixed,
  method,
  nameSegment,
  nameString,
  ONES,
  packageOf,
  pkgInteger,
  pkgLength,
  resourceTemplate,
  scope,
  string,
  uuid,
} from "./index.js";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Reads a PkgLength as section 20.2.4 describes it. */
function readPkgLength(bytes: Uint8Array): number {
  const [lead, ...following] = bytes;
  expect(following).toHaveLength(lead! >> 6);
  if (following.length === 0) return lead!;
  return following.reduce((value, byte, index) => value + byte * 2 ** (4 + 8 * index), lead! & 0x0f);
}

describe("a PkgLength", () => {
  it.each([
    [0, "01"],
    [62, "3f"],
    [63, "4104"],
    [4093, "4fff"],
    [4094, "810001"],
    [2 ** 20 - 4, "8fffff"],
    [2 ** 20 - 3, "c1000001"],
    [2 ** 28 - 5, "cfffffff"],
  ])("of %i bytes of content is %s, its own included", (contentBytes, encoded) => {
    expect(hex(pkgLength(contentBytes))).toBe(encoded);
  });

  it("reads back as what was encoded, at every border and between", () => {
    const borders = [6, 12, 20, 28].flatMap((bits) => [-6, -5, -4, -3, -2, -1, 0, 1].map((d) => 2 ** bits + d));
    const lengths = fc.oneof(fc.constantFrom(...borders), fc.nat({ max: 5000 }), fc.nat({ max: 2 ** 28 - 5 }));
    fc.assert(
      fc.property(lengths, (length) => {
        if (length < 2 ** 28) expect(readPkgLength(pkgInteger(length))).toBe(length);
        if (length > 2 ** 28 - 5) return;
        const encoded = pkgLength(length);
        expect(readPkgLength(encoded)).toBe(length + encoded.length);
      }),
      { examples: borders.map((length) => [length]) },
    );
  });

  it("is refused where 28 bits do not hold it", () => {
    expect(() => pkgLength(2 ** 28 - 4)).toThrow(AmlError);
    expect(() => pkgInteger(2 ** 28)).toThrow(AmlError);
    expect(() => pkgInteger(-1)).toThrow(AmlError);
    expect(() => pkgInteger(1.5)).toThrow(AmlError);
  });
});

describe("a name", () => {
  it.each([
    ["\\", "5c00"],
    ["^", "5e00"],
    ["A", "415f5f5f"],
    ["_SB", "5f53425f"],
    ["\\_SB", "5c5f53425f"],
    ["^^COM1", "5e5e434f4d31"],
    ["\\_SB.PCI0", "5c2e5f53425f50434930"],
    ["_SB.PCI0.COM1", "2f035f53425f50434930434f4d31"],
  ])("%s becomes %s", (path, encoded) => {
    expect(hex(nameString(path))).toBe(encoded);
  });

  it.each([
    "",
    "a",
    "1A",
    "ABCDE",
    "A.",
    ".A",
    "A..B",
    "A\\B",
    "A^",
    "\\^A",
    "^\\A",
    "A B",
    "Ä",
    "A\n",
    "\n",
    "\u0131",
  ])("%j is refused", (path) => {
    expect(() => nameString(path)).toThrow(AmlError);
  });

  it("has at most 255 segments", () => {
    const path = (segments: number) => new Array(segments).fill("AB").join(".");
    expect(nameString(path(255))).toHaveLength(2 + 4 * 255);
    expect(() => nameString(path(256))).toThrow(/256 segments/);
  });

  const [first, later] = ["ABCDEFGHIJKLMNOPQRSTUVWXYZ_", "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"];
  const letters = (set: string, maxLength: number) => fc.string({ unit: fc.constantFrom(...set), maxLength });
  const segment = fc.tuple(fc.constantFrom(...first), letters(later, 3)).map((parts) => parts.join(""));
  const prefix = fc.oneof(fc.constant("\\"), letters("^", 8));

  it("reads back as what was encoded", () => {
    fc.assert(
      fc.property(prefix, fc.array(segment, { minLength: 1, maxLength: 255 }), (prefix, segments) => {
        const text = Buffer.from(nameString(prefix + segments.join("."))).toString("latin1");
        expect(text.startsWith(prefix)).toBe(true);
        const path = text.slice(prefix.length);
        const skipped = segments.length === 1 ? 0 : segments.length === 2 ? 1 : 2;
        if (skipped === 1) expect(path[0]).toBe(".");
        if (skipped === 2) expect([path[0], path.charCodeAt(1)]).toEqual(["/", segments.length]);
        expect(path.slice(skipped)).toBe(segments.map((segment) => segment.padEnd(4, "_")).join(""));
      }),
    );
  });

  it("is a name or an AmlError, whatever the text", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), letters("\\^._A0a", 12)), (text) => {
        try {
          expect(nameString(text).length).toBeGreaterThan(0);
        } catch (error) {
          if (!(error instanceof AmlError)) throw error;
        }
      }),
    );
    expect(() => nameSegment("A.B")).toThrow(AmlError);
  });
});

describe("an integer", () => {
  it.each([
    [0, "00"],
    [1, "01"],
    [2, "0a02"],
    [0xff, "0aff"],
    [0x100, "0b0001"],
    [0xffff, "0bffff"],
    [0x1_0000, "0c00000100"],
    [0xffff_ffff, "0cffffffff"],
    [2 ** 32, "0e0000000001000000"],
    [ONES - 1n, "0efeffffffffffffff"],
    [ONES, "ff"],
  ])("%s is %s", (value, encoded) => {
    expect(hex(integer(value))).toBe(encoded);
  });

  it("reads back as what was encoded", () => {
    const sizes: Record<number, number> = { 10: 1, 11: 2, 12: 4, 14: 8 };
    fc.assert(
      fc.property(fc.bigInt({ min: 2n, max: ONES - 3n }), fc.nat({ max: 63 }), (any, shift) => {
        const value = (any >> BigInt(shift)) | 2n;
        const [prefix, ...bytes] = integer(value);
        expect(bytes).toHaveLength(sizes[prefix!]!);
        expect(bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)).toBe(value);
      }),
    );
  });

  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -1n, ONES + 1n])("%s is refused", (value) => {
    expect(() => integer(value)).toThrow(AmlError);
  });
});

describe("a data object", () => {
  it("of text is ASCII and its end", () => {
    expect(hex(string("ACPI0007"))).toBe("0d414350493030303700");
    for (const text of ["\0", "é", "\x80"]) expect(() => string(text)).toThrow(AmlError);
  });

  it("of bytes has their number before them", () => {
    expect(hex(buffer(Uint8Array.of(7, 8, 9)))).toBe("11060a03070809");
    expect(hex(buffer(new Uint8Array(0)))).toBe("110200");
  });

  it("of others has their number, at most 255", () => {
    expect(hex(packageOf(integer(0), packageOf(), integer(0x10)))).toBe("12080300120200" + "0a10");
    const zeros = (count: number) => new Array<Uint8Array>(count).fill(integer(0));
    expect(packageOf(...zeros(255))).toHaveLength(1 + 2 + 1 + 255);
    expect(() => packageOf(...zeros(256))).toThrow(/256 elements/);
  });

  it("stands for an EISA id in the order of its letters", () => {
    expect(hex(eisaId("PNP0501"))).toBe("0c41d00501");
    expect(hex(eisaId("PNP0A08"))).toBe("0c41d00a08");
    expect(hex(eisaId("ABC01EF"))).toBe("0c044301ef");
    for (const text of ["pnp0501", "PNP050", "PNP05010", "PNP050G", "ACPI0007", "PNP0a08"])
      expect(() => eisaId(text)).toThrow(AmlError);
  });

  it("stands for a UUID with its first three groups turned round", () => {
    expect(hex(uuid("33DB4D5B-1FF7-401C-9657-7441C03DD766"))).toBe(
      "1113" + "0a10" + "5b4ddb33f71f1c4096577441c03dd766",
    );
    expect(() => uuid("33DB4D5B1FF7401C96577441C03DD766")).toThrow(AmlError);
  });
});

describe("a resource template", () => {
  it("ends in a tag that makes its bytes add up to zero", () => {
    const descriptors = fc.oneof(
      fc.nat({ max: 15 }).map(irqNoFlags),
      fc.tuple(fc.nat({ max: 0xffff }), fc.nat({ max: 0xff })).map(([base, sizeBytes]) => ioPorts(base, sizeBytes)),
      fc.nat().map((gsi) => interrupt({ gsi, trigger: "edge" })),
      fc.tuple(fc.nat(), fc.nat()).map(([base, sizeBytes]) => memory32Fixed(base, sizeBytes)),
    );
    fc.assert(
      fc.property(fc.array(descriptors), (list) => {
        const sizeBytes = list.reduce((sum, { length }) => sum + length, 2);
        const bytes = resourceTemplate(...list).slice(-sizeBytes);
        expect(checksumOf(bytes)).toBe(0);
        expect(bytes.at(-2)).toBe(0x79);
      }),
    );
  });

  it("has the bytes of section 6.4", () => {
    expect(hex(irqNoFlags(4))).toBe("221000");
    expect(hex(ioPorts(0x3f8, 8))).toBe("4701f803f8030108");
    expect(hex(memory32Fixed(0xfea0_0000, 0x200))).toBe("86090001" + "0000a0fe" + "00020000");
    expect(hex(interrupt({ gsi: 5, trigger: "level" }))).toBe("8906000101" + "05000000");
    expect(hex(interrupt({ gsi: 5, trigger: "edge", polarity: "low", shared: true }))).toBe("8906000f01" + "05000000");
  });

  it("is refused for an interrupt or a port that does not exist", () => {
    expect(() => irqNoFlags(16)).toThrow(AmlError);
    expect(() => ioPorts(0x1_0000, 1)).toThrow(RangeError);
    expect(() => memory32Fixed(2 ** 32, 1)).toThrow(RangeError);
    expect(() => interrupt({ gsi: -1, trigger: "edge" })).toThrow(RangeError);
  });
});

describe("what no AML can say is refused:", () => {
  it.each<[string, () => unknown]>([
    ["a method with eight arguments", () => method("FOO", { args: 8 })],
    ["a sync level of 16", () => method("FOO", { serialized: true, syncLevel: 16 })],
    ["an eighth argument", () => arg(7)],
    ["a ninth local", () => local(8)],
    ["a field without bits", () => field("REG", { access: "ByteAcc" }, [{ name: "FOO", bits: 0 }])],
    ["a field with a path", () => field("REG", { access: "ByteAcc" }, [{ name: "\\FOO", bits: 1 }])],
    ["a scope without a name", () => scope("")],
  ])("%s", (_what, build) => {
    expect(build).toThrow(AmlError);
  });
});
