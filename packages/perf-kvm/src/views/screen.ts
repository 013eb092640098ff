/**
 * A terminal screen that is redrawn in place: only what has changed since the last frame is written, so that nothing
 * flickers. Escape sequences: ECMA-48, and the xterm's alternate screen.
 */
const ALTERNATE_SCREEN = "\x1b[?1049h\x1b[?25l";
const NORMAL_SCREEN = "\x1b[?25h\x1b[?1049l";
const CLEAR = "\x1b[2J";
const INVERSE = "\x1b[7m";
const PLAIN = "\x1b[0m";

const moveTo = (row: number, column: number): string => `\x1b[${row + 1};${column + 1}H`;

export class Screen {
  readonly #write: (text: string) => void;
  #columns: number;
  #rows: number;
  #shown: string[] = [];
  #marked = -1;

  constructor(columns: number, rows: number, write: (text: string) => void) {
    this.#columns = columns;
    this.#rows = rows;
    this.#write = write;
  }

  get columns(): number {
    return this.#columns;
  }

  get rows(): number {
    return this.#rows;
  }

  open(): void {
    this.#write(ALTERNATE_SCREEN + CLEAR);
    this.#shown = [];
  }

  close(): void {
    this.#write(NORMAL_SCREEN);
  }

  resize(columns: number, rows: number): void {
    this.#columns = columns;
    this.#rows = rows;
    this.#shown = [];
    this.#marked = -1;
    this.#write(CLEAR);
  }

  /** Shows these lines from the top, the `marked` one in inverse video; what does not fit is cut. Returns what it wrote. */
  draw(lines: readonly string[], marked = -1): string {
    let output = "";
    for (let row = 0; row < this.#rows; row++) {
      const line = (lines[row] ?? "").slice(0, this.#columns).padEnd(this.#columns);
      const wasMarked = row === this.#marked;
      if (row === marked) {
        if (!wasMarked || line !== this.#shown[row]) output += moveTo(row, 0) + INVERSE + line + PLAIN;
      } else output += difference(wasMarked ? "" : (this.#shown[row] ?? ""), line, row);
      this.#shown[row] = line;
    }
    this.#marked = marked;
    if (output !== "") this.#write(output);
    return output;
  }
}

/** The shortest run that turns one line into the other; unchanged ends are left alone. */
function difference(before: string, after: string, row: number): string {
  if (before === after) return "";
  let start = 0;
  while (start < before.length && before[start] === after[start]) start++;
  let end = after.length;
  if (before.length === after.length) while (end > start && before[end - 1] === after[end - 1]) end--;
  return moveTo(row, start) + after.slice(start, end);
}
