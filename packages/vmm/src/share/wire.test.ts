import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decode, encode, HEADER_BYTES, type Message, R, RLERROR, T } from "./messages.js";
import { qid, Reader, text, u8, u16, u32, u64 } from "./wire.js";

const anyU64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const anyQid = fc.record({ type: fc.integer({ min: 0, max: 255 }), version: fc.nat(2 ** 32 - 1), path: anyU64 });
const anyText = fc.uint8Array({ maxLength: 300 });
const valuesOf = new Map<unknown, fc.Arbitrary<unknown>>([
  [u8, fc.integer({ min: 0, max: 255 })],
  [u16, fc.integer({ min: 0, max: 65_535 })],
  [u32, fc.nat(2 ** 32 - 1)],
  [u64, anyU64],
  [text, anyText],
  [qid, anyQid],
]);

const messages: [string, Message][] = [
  ...Object.entries(T).map(([name, message]): [string, Message] => [`T${name}`, message]),
  ...Object.entries(R).map(([name, message]): [string, Message] => [`R${name}`, message]),
  ["Rlerror", RLERROR],
];

/** Any values that such a message may have; a list is the one kind of field that is made for its message. */
function anyValues([name, { fields }]: [string, Message]): fc.Arbitrary<Record<string, unknown>> {
  const listed: fc.Arbitrary<unknown> = name === "Twalk" ? anyText : anyQid;
  return fc.record(
    Object.fromEntries(
      Object.entries(fields).map(([field, kind]) => [field, valuesOf.get(kind) ?? fc.array(listed, { maxLength: 16 })]),
    ),
  );
}

const anyMessage = fc
  .constantFrom(...messages)
  .chain((named) => fc.record({ message: fc.constant(named[1]), values: anyValues(named) }));

describe("a message", () => {
  it("is read as it was written, whatever its fields", () => {
    fc.assert(
      fc.property(anyMessage, fc.nat(0xffff), ({ message, values }, tag) => {
        const bytes = new Uint8Array(16_384);
        const length = encode(message, tag, values as never, bytes);
        const header = new Reader(bytes);
        const payload = message.hasPayload ? (values.count as number) : 0;
        expect([header.u32(), header.u8(), header.u16()]).toEqual([(length + payload) >>> 0, message.type, tag]);
        expect(decode(message, bytes.subarray(HEADER_BYTES, length))).toEqual(values);
      }),
      { numRuns: 500 },
    );
  });

  it("that ends before its fields, or after them, is EBADMSG", () => {
    fc.assert(
      fc.property(anyMessage, fc.double({ min: 0, max: 0.999, noNaN: true }), ({ message, values }, part) => {
        const bytes = new Uint8Array(16_384);
        const length = encode(message, 1, values as never, bytes);
        const cut = HEADER_BYTES + Math.floor((length - HEADER_BYTES) * part);
        if (cut < length) expect(() => decode(message, bytes.subarray(HEADER_BYTES, cut))).toThrow(/EBADMSG/);
        if (!message.hasPayload) {
          expect(() => decode(message, bytes.subarray(HEADER_BYTES, length + 1))).toThrow(/EBADMSG/);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("that does not fit is EMSGSIZE", () => {
    const values = { target: new Uint8Array(100) };
    expect(() => encode(R.readlink, 1, values, new Uint8Array(100))).toThrow(/EMSGSIZE/);
    expect(() => encode(R.readlink, 1, { target: new Uint8Array(65_536) }, new Uint8Array(70_000))).toThrow(/EMSGSIZE/);
    const walk = new Uint8Array(1000);
    const names = Array.from({ length: 17 }, () => new Uint8Array(1));
    const length = encode(T.walk, 1, { fid: 0, newfid: 1, names }, walk);
    expect(() => decode(T.walk, walk.subarray(HEADER_BYTES, length))).toThrow(/EBADMSG/);
  });

  it("has a type of its own, an answer's one above its request's", () => {
    const types = messages.map(([, { type }]) => type);
    expect(new Set(types).size).toBe(types.length);
    for (const name of Object.keys(T) as (keyof typeof T)[]) expect(R[name].type).toBe(T[name].type + 1);
  });
});

it("a Twalk is on the wire what Linux sends", () => {
  const bytes = new Uint8Array(64);
  const names = [Buffer.from("usr"), Buffer.from("bin")];
  const length = encode(T.walk, 0x0102, { fid: 0x11, newfid: 0x22, names }, bytes);
  expect(Buffer.from(bytes.subarray(0, length)).toString("hex")).toBe(
    "1b0000006e0201" + "11000000" + "22000000" + "0200" + "0300757372" + "030062696e",
  );
});
