/** Where an export goes: text gathered into large pieces, so that a million short lines are few writes. */

const PIECE_CHARACTERS = 64 * 1024;

export type Write = (bytes: Uint8Array) => void;

export class TextOutput {
  readonly #write: Write;
  #parts: string[] = [];
  #length = 0;

  constructor(write: Write) {
    this.#write = write;
  }

  text(text: string): void {
    this.#parts.push(text);
    this.#length += text.length;
    if (this.#length >= PIECE_CHARACTERS) this.flush();
  }

  /** To be called at the end. */
  flush(): void {
    if (this.#length > 0) this.#write(Buffer.from(this.#parts.join(""), "utf8"));
    this.#parts = [];
    this.#length = 0;
  }
}
