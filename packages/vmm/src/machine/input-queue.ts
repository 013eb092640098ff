/** Bytes for the guest that it has not taken yet, in the pieces in which they came. */
export class InputQueue {
  readonly #pieces: Uint8Array[] = [];
  /** How much of the first piece has gone. */
  #taken = 0;
  #length = 0;

  /** Bytes that wait. */
  get length(): number {
    return this.#length;
  }

  /** The piece is kept, not copied. */
  push(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#pieces.push(piece);
    this.#length += piece.length;
  }

  /** Offers one byte after the other until `take` refuses one. Returns how many were taken. */
  offer(take: (byte: number) => boolean): number {
    const before = this.#length;
    while (this.#length > 0 && take(this.#pieces[0]![this.#taken]!)) {
      this.#taken++;
      this.#length--;
      if (this.#taken === this.#pieces[0]!.length) {
        this.#pieces.shift();
        this.#taken = 0;
      }
    }
    return before - this.#length;
  }

  /** Offers what there is piece by piece until `take`, which says how many bytes it took, leaves some. Returns how many were taken. */
  offerPieces(take: (piece: Uint8Array) => number): number {
    const before = this.#length;
    while (this.#length > 0) {
      const piece = this.#pieces[0]!.subarray(this.#taken);
      const taken = take(piece);
      this.#taken += taken;
      this.#length -= taken;
      if (taken < piece.length) break;
      this.#pieces.shift();
      this.#taken = 0;
    }
    return before - this.#length;
  }
}
