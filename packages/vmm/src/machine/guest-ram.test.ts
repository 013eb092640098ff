/** Views of guest RAM: the right bytes, however often and in whatever order they are asked for. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { GuestRam } from "./guest-ram.js";

const MIB = 2 ** 20;
const SIZE = 4 * MIB;

it("are of the bytes that were asked for, and of RAM alone", () => {
  const ram = GuestRam.create(SIZE);
  const base = ram.regions[0]!.memory.bytes;
  // Few places, so that the same are asked for again with other lengths.
  const place = fc.record({ gpa: fc.nat(64).map((n) => n * 65_520), length: fc.integer({ min: 1, max: 5000 }) });
  fc.assert(
    fc.property(fc.array(place, { maxLength: 200 }), (places) => {
      for (const { gpa, length } of places) {
        const views: Uint8Array[] = [];
        const isRam = gpa + length <= SIZE;
        expect(ram.views(gpa, length, views)).toBe(isRam);
        const found = views.map((view) => [view.byteOffset - base.byteOffset, view.length]);
        expect(found).toEqual(isRam ? [[gpa, length]] : []);
      }
    }),
  );
  for (const gpa of [Number.NaN, -16, SIZE, 2 ** 40, 2 ** 52]) expect(ram.views(gpa, 16, [])).toBe(false);
  ram.close();
});
