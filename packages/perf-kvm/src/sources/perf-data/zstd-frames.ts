/**
 * Looks over a Zstandard stream before it is decoded: a frame's window is memory that the decoder takes at once (RFC 8878,
 * section 3.1.1.1), so that a file could ask for gigabytes. Only headers are looked at.
 */
const MAGIC = 0xfd2f_b528;
const SKIPPABLE_MAGIC = 0x184d_2a50;
/** perf's highest level uses 2^27. */
const LARGEST_WINDOW_BYTES = 2 ** 27;
const FRAME_HEADER_BYTES = { SMALLEST: 6, LARGEST: 18 } as const;
const BLOCK_HEADER_BYTES = 3;
const RLE_BLOCK = 1;
const CHECKSUM_BYTES = 4;

export class ZstdFrames {
  /** Header bytes of which the rest is to come. */
  #head: number[] = [];
  #skip = 0;
  #inFrame = false;
  #hasChecksum = false;

  /** Goes through the next bytes of the stream. Throws Error. */
  check(data: Uint8Array): void {
    for (let at = 0; at < data.length; ) {
      if (this.#skip > 0) {
        const here = Math.min(this.#skip, data.length - at);
        this.#skip -= here;
        at += here;
        continue;
      }
      this.#head.push(data[at++]!);
      if (this.#inFrame) this.#block();
      else this.#frame();
    }
  }

  #block(): void {
    if (this.#head.length < BLOCK_HEADER_BYTES) return;
    const header = this.#head[0]! | (this.#head[1]! << 8) | (this.#head[2]! << 16);
    this.#head = [];
    const isLast = (header & 1) !== 0;
    this.#skip = ((header >> 1) & 3) === RLE_BLOCK ? 1 : header >> 3;
    if (!isLast) return;
    this.#inFrame = false;
    if (this.#hasChecksum) this.#skip += CHECKSUM_BYTES;
  }

  #frame(): void {
    const head = this.#head;
    if (head.length < FRAME_HEADER_BYTES.SMALLEST) return;
    const magic = (head[0]! | (head[1]! << 8) | (head[2]! << 16) | (head[3]! << 24)) >>> 0;
    if ((magic & 0xffff_fff0) >>> 0 === SKIPPABLE_MAGIC)
      throw new Error("a skippable frame, which perf does not write");
    if (magic !== MAGIC) throw new Error("no Zstandard frame");
    const descriptor = head[4]!;
    const isSingleSegment = (descriptor & 0x20) !== 0;
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
    const sizeFlag = descriptor >> 6;
    const contentBytes = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeFlag;
    if (head.length < 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + contentBytes) return;
    const windowBytes = isSingleSegment ? contentSize(head.slice(5 + dictionaryBytes), sizeFlag) : windowSize(head[5]!);
    if (windowBytes > LARGEST_WINDOW_BYTES) throw new Error(`a window of ${windowBytes} bytes`);
    this.#hasChecksum = (descriptor & 4) !== 0;
    this.#inFrame = true;
    this.#head = [];
  }
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function contentSize(bytes: readonly number[], flag: number): number {
  const length = flag === 0 ? 1 : 1 << flag;
  const size = bytes.slice(0, length).reduce((sum, byte, index) => sum + byte * 2 ** (8 * index), 0);
  return flag === 1 ? size + 256 : size;
}
