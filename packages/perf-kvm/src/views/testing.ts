/** For tests: a terminal that shows what was written to it. */

/** What a terminal makes of the escape sequences that a Screen uses. */
export class Glass {
  readonly #cells: string[][];
  /** Rows with a cell in inverse video. */
  readonly #inverse: boolean[][];
  written = 0;

  constructor(columns: number, rows: number) {
    this.#cells = Array.from({ length: rows }, () => Array.from({ length: columns }, () => " "));
    this.#inverse = this.#cells.map((line) => line.map(() => false));
  }

  write = (text: string): void => {
    let [row, column] = [0, 0];
    let inverse = false;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what this is about
    for (const [token, y, x] of text.matchAll(/\x1b\[(\d+);(\d+)H|\x1b\[[?\d]*[a-zA-Z]|[^\x1b]/g)) {
      if (y !== undefined) [row, column] = [Number(y) - 1, Number(x) - 1];
      else if (token === "\x1b[2J") for (const line of this.#cells) line.fill(" ");
      else if (token === "\x1b[7m" || token === "\x1b[0m") inverse = token === "\x1b[7m";
      else if (!token.startsWith("\x1b")) {
        this.#inverse[row]![column] = inverse;
        this.#cells[row]![column++] = token;
        this.written++;
      }
    }
  };

  /** The rows that are wholly inverse; a row that is so in part is an error. */
  get marked(): number[] {
    return this.#inverse.flatMap((line, row) => {
      if (line.some((cell) => cell) && !line.every((cell) => cell)) throw new Error(`row ${row} is inverse in part`);
      return line[0] ? [row] : [];
    });
  }

  get lines(): string[] {
    return this.#cells.map((line) => line.join(""));
  }
}
