/** A sandbox's line as the host uses it: what the command reads and writes, and how it ended. */
import {
  encodeFrame,
  FROM_GUEST,
  FrameReader,
  type GuestLetter,
  INPUT_WINDOW_BYTES,
  MOST_PAYLOAD_BYTES,
  TO_GUEST,
} from "./frames.js";

export interface SandboxLineHandlers {
  /** For the guest. */
  send(bytes: Uint8Array): void;
  onOutput(bytes: Uint8Array): void;
  onErrors(bytes: Uint8Array): void;
  /** The command has ended. */
  onStatus(status: number): void;
  /** It could not be run. */
  onFailure(message: string): void;
  /** There is room for input, or no room any more. */
  onRoom(hasRoom: boolean): void;
}

/** The last words of a kernel that says more than it should. */
const KEPT_CONSOLE_BYTES = 16 * 1024;

export class SandboxLine {
  readonly #handlers: SandboxLineHandlers;
  readonly #reader: FrameReader;
  readonly #serialReader: FrameReader;
  #console: Buffer = Buffer.alloc(0);
  #isReady = false;
  #credit = INPUT_WINDOW_BYTES;
  #waiting: Uint8Array[] = [];
  #inputEnded = false;
  /** What was sent before anybody listened. */
  #early: Uint8Array[] = [];

  constructor(handlers: SandboxLineHandlers) {
    this.#handlers = handlers;
    const from = {
      onFrame: (letter: GuestLetter, payload: Uint8Array) => this.#take(letter, payload),
      onConsole: (bytes: Uint8Array) => {
        this.#console = Buffer.concat([this.#console, bytes]).subarray(-KEPT_CONSOLE_BYTES);
      },
    };
    this.#reader = new FrameReader(from);
    this.#serialReader = new FrameReader(from);
  }

  /** What the kernel has said on its console: nothing, unless something is wrong. */
  get console(): string {
    return this.#console.toString("latin1");
  }

  /** True once the command runs. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Bytes from the guest's port. */
  push(bytes: Uint8Array): void {
    this.#reader.push(bytes);
  }

  /** Bytes from its serial port. */
  pushSerial(bytes: Uint8Array): void {
    this.#serialReader.push(bytes);
  }

  input(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#waiting.push(bytes);
    this.#sendInput();
  }

  endInput(): void {
    this.#inputEnded = true;
    this.#sendInput();
  }

  resize(columns: number, rows: number): void {
    const size = Buffer.alloc(4);
    size.writeUInt16LE(columns & 0xffff, 0);
    size.writeUInt16LE(rows & 0xffff, 2);
    this.#send(encodeFrame(TO_GUEST.SIZE, size));
  }

  signal(number: number): void {
    this.#send(encodeFrame(TO_GUEST.SIGNAL, Uint8Array.of(number)));
  }

  #send(frame: Uint8Array): void {
    if (this.#isReady) this.#handlers.send(frame);
    else this.#early.push(frame);
  }

  #sendInput(): void {
    while (this.#isReady && this.#credit > 0 && this.#waiting.length > 0) {
      const [first, ...rest] = this.#waiting as [Uint8Array, ...Uint8Array[]];
      const length = Math.min(first.length, this.#credit, MOST_PAYLOAD_BYTES);
      this.#handlers.send(encodeFrame(TO_GUEST.INPUT, first.subarray(0, length)));
      this.#credit -= length;
      this.#waiting = length < first.length ? [first.subarray(length), ...rest] : rest;
    }
    if (this.#waiting.length > 0) this.#handlers.onRoom(false);
    else if (!this.#inputEnded) this.#handlers.onRoom(true);
    else if (this.#isReady) this.#endOnce();
  }

  #endOnce(): void {
    if (this.#credit < 0) return;
    this.#handlers.send(encodeFrame(TO_GUEST.INPUT_END));
    this.#credit = Number.NEGATIVE_INFINITY;
  }

  #take(letter: GuestLetter, payload: Uint8Array): void {
    switch (letter) {
      case FROM_GUEST.READY:
        this.#isReady = true;
        for (const frame of this.#early.splice(0)) this.#handlers.send(frame);
        this.#sendInput();
        break;
      case FROM_GUEST.OUTPUT:
        this.#handlers.onOutput(payload);
        break;
      case FROM_GUEST.ERRORS:
        this.#handlers.onErrors(payload);
        break;
      case FROM_GUEST.CREDIT:
        this.#addCredit(payload);
        break;
      case FROM_GUEST.STATUS:
        this.#handlers.onStatus(payload[0] ?? 0);
        break;
      case FROM_GUEST.FAILURE:
        this.#handlers.onFailure(printable(payload));
        break;
    }
  }

  /** Never more than the window, whatever the guest says. */
  #addCredit(payload: Uint8Array): void {
    if (payload.length !== 2) return;
    this.#credit = Math.min(this.#credit + (payload[0]! | (payload[1]! << 8)), INPUT_WINDOW_BYTES);
    this.#sendInput();
  }
}

/** The guest's words go to a terminal: one line, without control characters. */
function printable(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("latin1")
    .replace(/[^\x20-\x7e]+/g, " ")
    .trim();
}
