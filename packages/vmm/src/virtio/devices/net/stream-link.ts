/**
 * Frames over a stream socket, each after its length in four bytes, the high one first: what passt speaks, and QEMU's
 * `-netdev stream`.
 */
import { EAGAIN, POLLOUT, Poller, type UnixSocket } from "@tools-kvm/kvm-binding";
import type { FrameLink } from "./frame-link.js";

const LENGTH_BYTES = 4;
const BUFFER_BYTES = 256 * 1024;
/** How long a frame may wait for a reader that does not read; then the link is given up. */
const STUCK_MS = 2_000;

export class StreamLink implements FrameLink {
  readonly hasHeader = false;
  readonly #socket: UnixSocket;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #length = new Uint8Array(LENGTH_BYTES);
  #start = 0;
  #end = 0;
  #isGone = false;

  constructor(socket: UnixSocket) {
    this.#socket = socket;
  }

  get fd(): number {
    return this.#socket.fd;
  }

  read(into: Uint8Array): number {
    for (;;) {
      const length = this.#take(into);
      if (length !== 0) return length;
      if (!this.#fill()) return this.#isGone ? -1 : 0;
    }
  }

  /** A whole frame out of the buffer; 0 when there is none, -1 when what is there is none. */
  #take(into: Uint8Array): number {
    const bytes = this.#buffer.subarray(this.#start, this.#end);
    if (bytes.length < LENGTH_BYTES) return 0;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, false);
    if (length === 0 || length > into.length) {
      this.#isGone = true;
      return -1;
    }
    if (bytes.length < LENGTH_BYTES + length) return 0;
    into.set(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
    this.#start += LENGTH_BYTES + length;
    return length;
  }

  /** True when more has come. */
  #fill(): boolean {
    if (this.#isGone) return false;
    this.#buffer.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    const got = this.#receive();
    this.#end += Math.max(0, got);
    return got > 0;
  }

  #receive(): number {
    try {
      const got = this.#socket.receive(this.#buffer.subarray(this.#end));
      this.#isGone = got === 0;
      return got === -EAGAIN ? 0 : got;
    } catch {
      this.#isGone = true;
      return 0;
    }
  }

  write(frame: Uint8Array): void {
    new DataView(this.#length.buffer).setUint32(0, frame.length, false);
    const packet = new Uint8Array(LENGTH_BYTES + frame.length);
    packet.set(this.#length);
    packet.set(frame, LENGTH_BYTES);
    this.#send(packet);
  }

  /** All of it: half a frame would make everything behind it unreadable. */
  #send(packet: Uint8Array): void {
    let rest = packet;
    while (rest.length > 0 && !this.#isGone) {
      try {
        const sent = this.#socket.send(rest);
        if (sent > 0) rest = rest.subarray(sent);
        else if (!this.#waitForRoom()) this.#isGone = true;
      } catch {
        this.#isGone = true;
      }
    }
  }

  #waitForRoom(): boolean {
    using poller = new Poller();
    poller.add(this.#socket, 0, POLLOUT);
    return poller.wait(STUCK_MS) > 0;
  }

  close(): void {
    this.#socket.close();
  }
}
