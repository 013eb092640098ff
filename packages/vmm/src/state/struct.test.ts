import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteFifo, bytes, defineStruct, doubles, f64, fifo, i32, u8, u16, u32, words } from "./struct.js";

const fields = {
  flag: u8,
  status: u16,
  signed: i32,
  queue: fifo(4),
  time: f64,
  counter: u32,
  memory: bytes(3),
  table: words(2),
  starts: doubles(2),
};
const type = defineStruct(fields);
const bind = (buffer: ArrayBufferLike = new SharedArrayBuffer(type.sizeBytes)) => type.bind(buffer, 0);

describe("a struct", () => {
  it("lays each field at its natural alignment, in the order of declaration", () => {
    const { sizeBytes, alignBytes } = defineStruct({ a: u8, b: u32, c: u8, d: f64 });
    expect({ sizeBytes, alignBytes }).toEqual({ sizeBytes: 24, alignBytes: 8 });
  });

  it("is the same for everyone who binds it over the same bytes", () => {
    const buffer = new SharedArrayBuffer(type.sizeBytes);
    const [one, other] = [bind(buffer), bind(buffer)];
    one.status = 0x1234;
    one.time = 1.5;
    one.memory[2] = 7;
    one.queue.push(9);
    expect([other.status, other.time, other.memory[2], other.queue.shift()]).toEqual([0x1234, 1.5, 7, 9]);
    expect(one.queue.length).toBe(0);
  });

  it("cuts a value to its field's width", () => {
    const struct = bind();
    struct.flag = 0x1ff;
    struct.status = -1;
    struct.counter = 2 ** 32 + 5;
    struct.signed = 0xffff_ffff;
    expect([struct.flag, struct.status, struct.counter, struct.signed]).toEqual([0xff, 0xffff, 5, -1]);
  });

  it("cannot stand where its alignment forbids", () => {
    expect(() => type.bind(new SharedArrayBuffer(256), 4)).toThrow(RangeError);
  });

  it("leaves its neighbours alone", () => {
    const buffer = new SharedArrayBuffer(type.sizeBytes + 2 * 64);
    const around = new Uint8Array(buffer).fill(0xcc);
    const struct = type.bind(buffer, 64);
    struct.queue.clear();
    Object.assign(struct, { flag: 1, status: 2, signed: 3, time: 4, counter: 5 });
    struct.memory.fill(6);
    struct.table.fill(7);
    struct.starts.fill(8);
    while (struct.queue.push(9));
    expect(around.subarray(0, 64).every((byte) => byte === 0xcc)).toBe(true);
    expect(around.subarray(64 + type.sizeBytes).every((byte) => byte === 0xcc)).toBe(true);
  });

  it("comes back from JSON as it was saved", () => {
    const saved = fc.record({
      flag: fc.nat({ max: 0xff }),
      status: fc.nat({ max: 0xffff }),
      signed: fc.integer(),
      queue: fc.array(fc.nat({ max: 0xff }), { maxLength: 4 }),
      time: fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
      counter: fc.nat({ max: 0xffff_ffff }),
      memory: fc.array(fc.nat({ max: 0xff }), { minLength: 3, maxLength: 3 }),
      table: fc.array(fc.nat({ max: 0xffff_ffff }), { minLength: 2, maxLength: 2 }),
      starts: fc.array(fc.integer(), { minLength: 2, maxLength: 2 }),
    });
    fc.assert(
      fc.property(saved, saved, (before, after) => {
        const struct = bind();
        type.restore(struct, before);
        expect(type.save(struct)).toEqual(before);
        type.restore(struct, JSON.parse(JSON.stringify(after)));
        expect(type.save(struct)).toEqual(after);
      }),
    );
  });
});

describe("a FIFO of bytes", () => {
  it("behaves as an array that refuses what exceeds its capacity", () => {
    const step = fc.oneof(
      fc.nat({ max: 0xff }).map((byte) => ({ kind: "push" as const, byte })),
      fc.constant({ kind: "shift" as const }),
      fc.constant({ kind: "peek" as const }),
      { weight: 1, arbitrary: fc.constant({ kind: "clear" as const }) },
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 50 }), (capacity, steps) => {
        const queue = new ByteFifo(new SharedArrayBuffer(8 + capacity), 0, capacity);
        const model: number[] = [];
        for (const step of steps) {
          if (step.kind === "push") {
            expect(queue.push(step.byte)).toBe(model.length < capacity);
            if (model.length < capacity) model.push(step.byte);
          } else if (step.kind === "shift") expect(queue.shift()).toBe(model.shift() ?? -1);
          else if (step.kind === "peek") expect(queue.peek()).toBe(model[0] ?? -1);
          else {
            queue.clear();
            model.length = 0;
          }
          expect(queue.toArray()).toEqual(model);
          expect(queue.length).toBe(model.length);
        }
      }),
    );
  });
});
