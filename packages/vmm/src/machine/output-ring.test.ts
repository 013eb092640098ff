import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OutputRing, RING_HEADER_BYTES } from "./output-ring.js";

const SIZE = 16;
const ring = () => new OutputRing(new SharedArrayBuffer(RING_HEADER_BYTES + SIZE), 0, SIZE);

describe("an output ring", () => {
  it("loses nothing and keeps the order, whatever the rhythm of writing and reading", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constant("take" as const), fc.nat(255))), (steps) => {
        const it = ring();
        const sent: number[] = [];
        const got: number[] = [];
        for (const step of steps) {
          if (step === "take") got.push(...(it.take() ?? []));
          else if (it.push(step)) sent.push(step);
        }
        got.push(...(it.take() ?? []));
        expect(got).toEqual(sent);
      }),
    );
  });

  it("refuses a byte when full, and says once that it had to", () => {
    const it = ring();
    for (let i = 0; i < SIZE; i++) expect(it.push(i)).toBe(true);
    expect(it.push(0)).toBe(false);
    expect(it.ready()).toBe(false);
    expect(it.take()).toHaveLength(SIZE);
    expect(it.takeRefused()).toBe(true);
    expect(it.takeRefused()).toBe(false);
    expect(it.push(0)).toBe(true);
  });

  it("asks for the reader to be woken once, and only when it sleeps", () => {
    const it = ring();
    it.push(1);
    expect(it.mustWake()).toBe(false);
    it.take();
    expect(it.take()).toBeUndefined();
    it.push(2);
    expect(it.mustWake()).toBe(true);
    it.push(3);
    expect(it.mustWake()).toBe(false);
  });
});
