/** What runs now, on stderr: one line rewritten on a terminal, one line a case elsewhere. */
export class Progress {
  readonly #stream: NodeJS.WriteStream;
  #lastCase: string | undefined;

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
  }

  round(caseName: string, round: number, rounds: number): void {
    if (this.#stream.isTTY) this.#stream.write(`\r\x1b[K${caseName}: run ${round + 1} of ${rounds}`);
    else if (caseName !== this.#lastCase) this.#stream.write(`${caseName}: ${rounds} runs\n`);
    this.#lastCase = caseName;
  }

  clear(): void {
    if (this.#stream.isTTY) this.#stream.write("\r\x1b[K");
  }
}
