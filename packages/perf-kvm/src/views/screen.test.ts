import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Screen } from "./screen.js";
import { Glass } from "./testing.js";

const line = fc.string({ unit: "grapheme-ascii", maxLength: 30 });
const frames = fc.array(fc.array(line, { maxLength: 8 }), { minLength: 1, maxLength: 8 });

describe("a screen", () => {
  it("shows each frame whole, whatever was there before", () => {
    fc.assert(
      fc.property(frames, fc.integer({ min: 1, max: 25 }), fc.integer({ min: 1, max: 6 }), (all, columns, rows) => {
        const glass = new Glass(columns, rows);
        const screen = new Screen(columns, rows, glass.write);
        screen.open();
        for (const lines of all) {
          screen.draw(lines);
          expect(glass.lines).toEqual(
            Array.from({ length: rows }, (_, row) => (lines[row] ?? "").slice(0, columns).padEnd(columns)),
          );
        }
      }),
    );
  });

  it("has the marked line in inverse video, and no other", () => {
    const marks = fc.array(fc.tuple(fc.array(line, { maxLength: 5 }), fc.integer({ min: -1, max: 4 })), {
      minLength: 1,
    });
    fc.assert(
      fc.property(marks, (all) => {
        const glass = new Glass(12, 5);
        const screen = new Screen(12, 5, glass.write);
        screen.open();
        for (const [lines, marked] of all) {
          screen.draw(lines, marked);
          expect(glass.marked).toEqual(marked === -1 ? [] : [marked]);
          expect(glass.lines).toEqual(
            Array.from({ length: 5 }, (_, row) => (lines[row] ?? "").slice(0, 12).padEnd(12)),
          );
          expect(screen.draw(lines, marked)).toBe("");
        }
      }),
    );
  });

  it("writes nothing for a frame that is the same, and only the run that differs otherwise", () => {
    const glass = new Glass(80, 3);
    const screen = new Screen(80, 3, glass.write);
    screen.open();
    screen.draw(["rate 100 per second", "b"]);
    expect(screen.draw(["rate 100 per second", "b"])).toBe("");
    const before = glass.written;
    screen.draw(["rate 120 per second", "b"]);
    expect(glass.written - before).toBe(1);
  });

  it("is drawn anew after the terminal has changed its size", () => {
    const glass = new Glass(10, 2);
    const screen = new Screen(5, 1, glass.write);
    screen.open();
    screen.draw(["0123456789", "second"]);
    expect(glass.lines).toEqual(["01234     ", "          "]);
    screen.resize(10, 2);
    screen.draw(["0123456789", "second"]);
    expect(glass.lines).toEqual(["0123456789", "second    "]);
  });
});
