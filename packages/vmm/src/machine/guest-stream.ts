/** The machine's owner's end of a stream with the guest: a terminal's, or a port's. */
import { EAGAIN, type UnixSocket, watch } from "@tools-kvm/kvm-binding";
import { InputQueue } from "./input-queue.js";

export interface StreamUser {
  /** Bytes of the guest's. False holds further ones back until `release`. */
  onOutput(bytes: Uint8Array): boolean;
  /** Called after `receive` has said false: more may come. */
  onInputTaken(): void;
}

/** What the socket has no room for is offered again: soon, and ever later while the guest takes nothing. */
const RETRY_MS = { FIRST: 1, LAST: 32 } as const;
/** Whoever sends input is asked to wait while this much is on its way. */
const BACKLOG_BYTES = 4 * 1024;
const READ_BYTES = 64 * 1024;

export class GuestStream {
  readonly #socket: UnixSocket;
  readonly #input = new InputQueue();
  #user: StreamUser | undefined;
  #watch: { close(): void } | undefined;
  /** `receive` has said false. */
  #isFull = false;
  #flowsFreely = false;
  #isClosed = false;
  #retryMs: number = RETRY_MS.FIRST;
  #timer: NodeJS.Timeout | undefined;

  /** The socket is its owner's to close, after this is. */
  constructor(socket: UnixSocket) {
    this.#socket = socket;
  }

  /** Until there is a user the guest's bytes stay where they are. */
  connect(user: StreamUser): void {
    this.#user = user;
    this.release();
  }

  /** Bytes for the guest. False when a lot waits already: hold back what is not sent yet until `onInputTaken`. */
  receive(bytes: Uint8Array): boolean {
    if (this.#isClosed) return true;
    this.#input.push(bytes);
    if (this.#timer === undefined) this.#offer();
    this.#isFull ||= this.#input.length >= BACKLOG_BYTES;
    return !this.#isFull;
  }

  #offer(): void {
    const taken = this.#input.offerPieces((piece) => this.#send(piece));
    if (this.#isFull && this.#input.length < BACKLOG_BYTES) {
      this.#isFull = false;
      this.#user?.onInputTaken();
    }
    if (this.#input.length === 0) return;
    this.#retryMs = taken > 0 ? RETRY_MS.FIRST : Math.min(2 * this.#retryMs, RETRY_MS.LAST);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#offer();
    }, this.#retryMs);
  }

  /** Bytes that were taken. When nobody is at the other end any more, all of them. */
  #send(piece: Uint8Array): number {
    try {
      return Math.max(0, this.#socket.send(piece));
    } catch {
      return piece.length;
    }
  }

  /** The user can take more again. */
  release(): void {
    if (this.#isClosed || this.#user === undefined) return;
    this.#watch ??= watch(this.#socket, () => this.#read());
  }

  #read(): void {
    const bytes = new Uint8Array(READ_BYTES);
    const length = this.#receive(bytes);
    if (length === -EAGAIN) return;
    const hasRoom = length > 0 && this.#user!.onOutput(bytes.subarray(0, length));
    if (length === 0 || (!hasRoom && !this.#flowsFreely)) this.#hold();
  }

  #receive(into: Uint8Array): number {
    try {
      return this.#socket.receive(into);
    } catch {
      return 0;
    }
  }

  #hold(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }

  /** From here on the guest's bytes come whether or not there is room for them: there will not be many more. */
  flow(): void {
    this.#flowsFreely = true;
    this.release();
  }

  /** Hands on what has come up to now; then nothing more. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#hold();
    clearTimeout(this.#timer);
    const bytes = new Uint8Array(READ_BYTES);
    for (let length = 1; this.#user !== undefined && length > 0; ) {
      length = this.#receive(bytes);
      if (length > 0) this.#user.onOutput(bytes.slice(0, length));
    }
  }
}
