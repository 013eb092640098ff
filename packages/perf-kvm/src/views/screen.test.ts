import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Screen } from "./screen.js";

/** What a terminal makes of the escape sequences that a Screen uses. */
class Glass {
  readonly #cells: string[][];
  written = 0;

  constructor(columns: number, rows: number) {
    this.#cells = Array.from({ length: rows }, () => Array.from({ length: columns }, () => " "));
  }

  write = (text: string): void => {
    let [row, column] = [0, 0];
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what this is about
    for (const [token, y, x] of text.matchAll(/\x1b\[(\d+);(\d+)H|\x1b\[[?\d]*[a-zA-Z]|[^\x1b]/g)) {
      if (y !== undefined) [row, column] = [Number(y) - 1, Number(x) - 1];
      else if (token === "\x1b[2J") for (const line of this.#cells) line.fill(" ");
      else if (!token.startsWith("\x1b")) {
        this.#cells[row]![column++] = token;
        this.written++;
      }
    }
  };

  get lines(): string[] {
    return this.#cells.map((line) => line.join(""));
  }
}

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
