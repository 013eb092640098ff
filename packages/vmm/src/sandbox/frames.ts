/**
 * The line between vmm and the first process of a sandbox, over a port of a virtio console, and until the guest has its driver over the
 * serial port, beside the kernel's console. A frame is 0x01, a letter, the payload's length in two
 * bytes (little-endian), and the payload. The guest's side is
 * packages/firmware/sandbox-init/line.c.
 */

/** From the guest. */
export const FROM_GUEST = {
  READY: "R",
  OUTPUT: "O",
  ERRORS: "E",
  /** Bytes of input that were passed on: as many more may be sent. */
  CREDIT: "C",
  STATUS: "X",
  /** Why the command could not be run at all. */
  FAILURE: "F",
} as const;

/** To the guest. */
export const TO_GUEST = { INPUT: "I", INPUT_END: "Z", SIZE: "W", SIGNAL: "S" } as const;

/** As many bytes of input are on their way at most. */
export const INPUT_WINDOW_BYTES = 8192;
export const MOST_PAYLOAD_BYTES = 4096;

const MARK = 0x01;
const HEADER_BYTES = 4;

export type GuestLetter = (typeof FROM_GUEST)[keyof typeof FROM_GUEST];
const GUEST_LETTERS = new Set<string>(Object.values(FROM_GUEST));

export interface FrameHandlers {
  onFrame(letter: GuestLetter, payload: Uint8Array): void;
  /** Bytes outside of frames. */
  onConsole(bytes: Uint8Array): void;
}

/** Throws RangeError for a payload that is too long. */
export function encodeFrame(letter: string, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  if (payload.length > MOST_PAYLOAD_BYTES) throw new RangeError(`a payload of ${payload.length} bytes`);
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  frame.set([MARK, letter.charCodeAt(0), payload.length & 0xff, payload.length >> 8]);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Takes frames out of a stream that may be cut anywhere. Whatever comes, it keeps less than one frame. */
export class FrameReader {
  readonly #handlers: FrameHandlers;
  #kept = Buffer.alloc(0);

  constructor(handlers: FrameHandlers) {
    this.#handlers = handlers;
  }

  push(bytes: Uint8Array): void {
    const all = this.#kept.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#kept, bytes]);
    let at = 0;
    while (at < all.length) {
      const mark = all.indexOf(MARK, at);
      const consoleEnd = mark < 0 ? all.length : mark;
      if (consoleEnd > at) this.#handlers.onConsole(all.subarray(at, consoleEnd));
      at = consoleEnd;
      const taken = this.#take(all, at);
      if (taken === 0) break;
      at += taken;
    }
    this.#kept = all.subarray(at);
  }

  /** How many bytes the frame at `at` took; 0 when it is not all there. */
  #take(all: Buffer, at: number): number {
    if (all.length - at < HEADER_BYTES) return 0;
    const letter = String.fromCharCode(all[at + 1]!);
    const length = all.readUInt16LE(at + 2);
    if (!GUEST_LETTERS.has(letter) || length > MOST_PAYLOAD_BYTES) {
      this.#handlers.onConsole(all.subarray(at, at + 1));
      return 1;
    }
    const end = at + HEADER_BYTES + length;
    if (end > all.length) return 0;
    this.#handlers.onFrame(letter as GuestLetter, all.subarray(at + HEADER_BYTES, end));
    return HEADER_BYTES + length;
  }
}
