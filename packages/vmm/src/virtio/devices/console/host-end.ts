/** The host's end of a port: a socket that is there from the start, or one client after the other of a listening one. */
import { rmSync } from "node:fs";
import { EAGAIN, POLLIN, POLLOUT, POLLPRI, Poller, type UnixListener, type UnixSocket } from "@tools-kvm/kvm-binding";

/** Where the other end comes from. */
export type HostSource = { readonly socket: UnixSocket } | { readonly listener: UnixListener; readonly path: string };

/** Hang-ups are told without being asked for; no unix socket has urgent data. */
const END_ONLY = POLLPRI;

export class HostEnd {
  readonly listener: UnixListener | undefined;
  readonly #path: string | undefined;
  #socket: UnixSocket | undefined;
  /** What the guest has sent and the socket has not taken. */
  #pending: Uint8Array | undefined;
  /** Something may be there to be read. */
  #readable = false;
  #readEnded = false;
  #hungUp = false;
  readonly #onLeave: (socket: UnixSocket) => void;

  /** @param onLeave called before a socket is closed, so that nobody polls it any more */
  constructor(source: HostSource, onLeave: (socket: UnixSocket) => void) {
    this.#onLeave = onLeave;
    if ("listener" in source) {
      this.listener = source.listener;
      this.#path = source.path;
    } else this.#socket = source.socket;
  }

  /** Who is connected. */
  get socket(): UnixSocket | undefined {
    return this.#socket;
  }

  /** The guest may send: what it sends is taken, or there is nobody who wants it. */
  get takesMore(): boolean {
    return this.#pending === undefined;
  }

  get isReadable(): boolean {
    return this.#readable && this.#socket !== undefined;
  }

  /** Poll events of the socket that there is a use for; 0 when even its end has to wait until the guest has taken what came before. */
  get interest(): number {
    if (this.#socket === undefined) return 0;
    const write = this.#pending === undefined ? 0 : POLLOUT;
    if (this.#hungUp) return 0;
    return write | (this.#readable || this.#readEnded ? END_ONLY : POLLIN);
  }

  /** The next client, if there is one. */
  accept(): void {
    this.#socket = this.listener?.accept() ?? undefined;
    this.#readable = false;
    this.#readEnded = false;
    this.#hungUp = false;
  }

  /** What a poll has said of the socket. */
  hear(events: { readonly in: boolean; readonly out: boolean; readonly end: boolean }): void {
    if (events.out) this.flush();
    if (events.in || events.end) this.#readable = true;
    if (!events.end) return;
    this.#hungUp = true;
    this.#pending = undefined;
    if (this.#readEnded) this.disconnect();
  }

  /** Bytes of the guest's, of which what does not go out at once is copied. Only while it `takesMore`. */
  send(pieces: readonly Uint8Array[]): void {
    for (const [index, piece] of pieces.entries()) {
      const sent = this.#send(piece);
      if (sent === piece.length) continue;
      // What was sent is not needed any more; nor is the rest when nobody reads.
      if (sent >= 0) this.#pending = Buffer.concat([piece.subarray(sent), ...pieces.slice(index + 1)]);
      return;
    }
  }

  flush(): void {
    if (this.#pending === undefined) return;
    const sent = this.#send(this.#pending);
    this.#pending = sent < 0 || sent === this.#pending.length ? undefined : this.#pending.subarray(sent);
  }

  /** Bytes that were sent; -1 when nobody reads any more. */
  #send(bytes: Uint8Array): number {
    if (bytes.length === 0) return 0;
    if (this.#socket === undefined) return -1;
    try {
      return Math.max(0, this.#socket.send(bytes));
    } catch {
      // What was sent before the reader went is there to be read, and then the end.
      this.#readable = true;
      return -1;
    }
  }

  /** Bytes for the guest; 0 when there are none now. */
  receive(into: Uint8Array): number {
    if (this.#socket === undefined || this.#readEnded) return 0;
    let got = 0;
    try {
      got = this.#socket.receive(into);
    } catch {
      this.#hungUp = true;
    }
    if (got > 0) return got;
    this.#readable = false;
    if (got === -EAGAIN) return 0;
    this.#readEnded = true;
    // One that has only said that it sends no more may still read.
    if (this.#hungUp) this.disconnect();
    return 0;
  }

  disconnect(): void {
    if (this.#socket === undefined) return;
    this.#onLeave(this.#socket);
    this.#socket.close();
    this.#socket = undefined;
    this.#pending = undefined;
  }

  /** Whoever reads may take `graceMs` for the last that the guest has sent. */
  close(graceMs: number): void {
    if (this.#pending !== undefined && this.#socket !== undefined) {
      using poller = new Poller();
      poller.add(this.#socket, 0, POLLOUT);
      const end = performance.now() + graceMs;
      for (let left = graceMs; this.#pending !== undefined && left > 0; left = end - performance.now())
        if (poller.wait(Math.ceil(left)) > 0) this.flush();
    }
    this.disconnect();
    this.listener?.close();
    if (this.#path !== undefined) rmSync(this.#path, { force: true });
  }
}
