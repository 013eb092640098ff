/** One stream between a socket of the host's and a port of the guest's, with its credit (virtio 1.2, section 5.10.6.3). */
import { EAGAIN, POLLIN, POLLOUT, type UnixSocket } from "@tools-kvm/kvm-binding";
import { OP, type PacketHeader, SHUTDOWN } from "./packet.js";

/** What the guest may send before the host's program has taken any of it. */
export const BUFFER_BYTES = 256 * 1024;
/** The guest hears of room when so much has become free since it heard last. */
const UPDATE_BYTES = BUFFER_BYTES / 4;

export type ConnectionState = "connecting" | "open" | "gone";

/** What is to be said to the guest, and has not been yet. */
export interface Owed {
  readonly op: number;
  readonly flags: number;
}

export class Connection {
  state: ConnectionState;
  readonly #socket: UnixSocket;
  readonly #owed: Owed[] = [];
  readonly #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  /** Counts of bytes in 32 bits that wrap: to the guest, and from it to the socket. */
  #sent = 0;
  #forwarded = 0;
  #toldForwarded = 0;
  #peerBuffer = 0;
  #peerForwarded = 0;
  #hostEnded = false;
  #guestShutdown = 0;

  constructor(
    readonly hostPort: number,
    readonly guestPort: number,
    socket: UnixSocket,
    state: ConnectionState,
  ) {
    this.#socket = socket;
    this.state = state;
  }

  get fd(): number {
    return this.#socket.fd;
  }

  get bufAlloc(): number {
    return BUFFER_BYTES;
  }

  /** For a header that goes out now. */
  takeForwarded(): number {
    this.#toldForwarded = this.#forwarded;
    return this.#forwarded;
  }

  /** Poll events that there is a use for; 0 for none. */
  get interest(): number {
    if (this.state !== "open") return 0;
    return (this.#mayRead ? POLLIN : 0) | (this.#pendingBytes > 0 ? POLLOUT : 0);
  }

  get #mayRead(): boolean {
    return !this.#hostEnded && (this.#guestShutdown & SHUTDOWN.RECEIVE) === 0 && this.credit > 0;
  }

  /** Bytes that the guest has room for. A guest that claims to have taken more than it was sent has none. */
  get credit(): number {
    const onTheWay = (this.#sent - this.#peerForwarded) >>> 0;
    return Math.max(0, this.#peerBuffer - onTheWay);
  }

  /** Says the same only once. */
  owe(op: number, flags = 0): void {
    if (!this.#owed.some((each) => each.op === op && each.flags === flags)) this.#owed.push({ op, flags });
  }

  takeOwed(): Owed | undefined {
    return this.#owed.shift();
  }

  /** Ends it: the guest is told to forget it. */
  reset(): void {
    this.#owed.length = 0;
    this.owe(OP.RST);
    this.state = "gone";
  }

  /** What every packet of the guest's says of its buffer. */
  learn({ bufAlloc, fwdCnt }: PacketHeader): void {
    this.#peerBuffer = bufAlloc;
    this.#peerForwarded = fwdCnt;
  }

  /** Data from the guest. More than it has credit for, or any after it said that it sends no more, ends the connection. */
  take(data: readonly Uint8Array[], length: number): void {
    if ((this.#guestShutdown & SHUTDOWN.SEND) !== 0 || this.#pendingBytes + length > BUFFER_BYTES) {
      this.reset();
      return;
    }
    for (const piece of data) this.queue(piece);
    this.flush();
  }

  /** Bytes for the socket, which are copied. */
  queue(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#pending.push(piece.slice());
    this.#pendingBytes += piece.length;
  }

  /** The guest's data, as far as the socket takes it. */
  flush(): void {
    try {
      while (this.#pending.length > 0) {
        const sent = this.#socket.send(this.#pending[0]!);
        if (sent === -EAGAIN) break;
        this.#drop(sent);
      }
    } catch {
      // Nobody reads any more.
      this.reset();
      return;
    }
    if ((this.#forwarded - this.#toldForwarded) >>> 0 >= UPDATE_BYTES) this.owe(OP.CREDIT_UPDATE);
    this.#endIfDone();
  }

  #drop(sent: number): void {
    const first = this.#pending[0]!;
    if (sent === first.length) this.#pending.shift();
    else this.#pending[0] = first.subarray(sent);
    this.#pendingBytes -= sent;
    this.#forwarded = (this.#forwarded + sent) >>> 0;
  }

  /** What the handshake on the host's side sends is no data of the guest's. */
  say(text: string): void {
    const bytes = Buffer.from(text);
    try {
      // A fresh socket has room for a line.
      if (this.#socket.send(bytes) !== bytes.length) this.reset();
    } catch {
      this.reset();
    }
  }

  shutdown(flags: number): void {
    this.#guestShutdown |= flags & SHUTDOWN.BOTH;
    this.#endIfDone();
  }

  /** When the guest's last data has been taken: the socket's reader hears that there will be no more. */
  #endIfDone(): void {
    if (this.state !== "open" || this.#pendingBytes > 0 || (this.#guestShutdown & SHUTDOWN.SEND) === 0) return;
    if (this.#guestShutdown === SHUTDOWN.BOTH || this.#hostEnded) this.reset();
    else this.#socket.shutdownWrite();
  }

  /** Data for the guest: bytes that were read, 0 when there are none now. */
  read(into: Uint8Array, hasHungUp: boolean): number {
    if (!this.#mayRead || this.state !== "open") return 0;
    let got: number;
    try {
      got = this.#socket.receive(into.subarray(0, Math.min(into.length, this.credit)));
    } catch {
      this.reset();
      return 0;
    }
    if (got > 0) {
      this.#sent = (this.#sent + got) >>> 0;
      return got;
    }
    if (got === 0) {
      this.#hostEnded = true;
      this.owe(OP.SHUTDOWN, hasHungUp ? SHUTDOWN.BOTH : SHUTDOWN.SEND);
      this.#endIfDone();
    }
    return 0;
  }

  close(): void {
    this.state = "gone";
    this.#socket.close();
  }
}
