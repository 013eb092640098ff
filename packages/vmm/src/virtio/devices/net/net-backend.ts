/** The network device's frames (virtio 1.2, section 5.1.6) to and from a link. */
import { gather, scatter, totalBytes } from "../../../block/buffers.js";
import type { Negotiated, VirtioBackend, VirtioInput } from "../../device.js";
import type { RateLimit } from "../../rate-limit.js";
import { type DescriptorChain, type Virtqueue, VirtqueueFault } from "../../virtqueue.js";
import { type FrameLink, MOST_FRAME_BYTES } from "./frame-link.js";
import { HEADER_BYTES, NET_FEATURE, NUM_BUFFERS_OFFSET, QUEUE, setLinkDown } from "./net.js";

/** Frames that are moved before anything else gets its turn. */
const FRAMES_AT_ONCE = 256;
/** Frames that are read in one go, and what they may have together. */
const FRAMES_READ = 32;
const RECEIVED_BYTES = 4 * MOST_FRAME_BYTES;

export class NetBackend implements VirtioBackend {
  readonly input: VirtioInput;
  readonly limit: RateLimit | undefined;
  readonly #link: FrameLink;
  /** A frame behind its header, on its way in either direction. */
  readonly #sent = new Uint8Array(MOST_FRAME_BYTES);
  readonly #received = new Uint8Array(RECEIVED_BYTES);
  readonly #receivedView = new DataView(this.#received.buffer);
  /** Of the frames in `#received`. */
  readonly #lengths = new Int32Array(FRAMES_READ);
  /** How many there are, how many of them have found buffers, and where the next one begins. */
  #read = 0;
  #placed = 0;
  #at = 0;
  /** What the link was told last, as bits. */
  #offload = -1;
  #isDown = false;

  /** @param limits of either direction, as the guest sees them */
  constructor(
    link: FrameLink,
    onLinkDown: () => void,
    limits: { send?: RateLimit | undefined; receive?: RateLimit | undefined } = {},
  ) {
    this.#link = link;
    this.limit = limits.send;
    this.input = {
      queueIndex: QUEUE.RECEIVE,
      fd: link.fd,
      limit: limits.receive,
      deliver: (queue, negotiated) => {
        this.#agree(negotiated);
        return this.#deliver(queue, negotiated.has(NET_FEATURE.MRG_RXBUF));
      },
      configAfterEnd: (config) => {
        if (!this.#isDown) onLinkDown();
        this.#isDown = true;
        setLinkDown(config);
      },
    };
  }

  handle(_queue: number, { readable }: DescriptorChain, negotiated: Negotiated): number {
    this.#agree(negotiated);
    const length = totalBytes(readable);
    if (length < HEADER_BYTES) throw new VirtqueueFault(`a frame of ${length} bytes, less than its header`);
    this.limit?.charge(length - HEADER_BYTES);
    // What no link takes is lost, as a wire loses it.
    if (length > MOST_FRAME_BYTES) return 0;
    this.#link.write(this.#whole(readable, length));
    return 0;
  }

  handleAll(
    queue: number,
    chains: readonly DescriptorChain[],
    negotiated: Negotiated,
    done: (chain: DescriptorChain, writtenBytes: number) => void,
  ): void {
    const frames: Uint8Array[] = [];
    let sent = 0;
    const send = (): void => {
      if (frames.length > 0) this.#link.writeAll!(frames);
      for (; frames.length > 0; frames.length--) done(chains[sent++]!, 0);
    };
    try {
      for (const chain of chains) {
        if (this.#canGoAsItIs(chain)) {
          if (frames.length === 0) this.#agree(negotiated);
          frames.push(chain.readable[0]!);
          continue;
        }
        send();
        done(chain, this.handle(queue, chain, negotiated));
        sent++;
      }
    } finally {
      send();
    }
  }

  /** It is in one piece, and the link takes many of those at once. */
  #canGoAsItIs({ readable }: DescriptorChain): boolean {
    const { hasHeader, writeAll } = this.#link;
    if (!hasHeader || writeAll === undefined || readable.length !== 1) return false;
    const { length } = readable[0]!;
    return length >= HEADER_BYTES && length <= MOST_FRAME_BYTES;
  }

  /** A frame in one piece, as the link takes it: where it is, if it is in one piece there. */
  #whole(readable: readonly Uint8Array[], length: number): Uint8Array {
    if (this.#link.hasHeader && readable.length === 1) return readable[0]!;
    gather(readable, this.#sent);
    return this.#sent.subarray(this.#link.hasHeader ? 0 : HEADER_BYTES, length);
  }

  close(): void {
    this.#link.close();
  }

  /** Tells the link what the driver has agreed to, when that changes. */
  #agree(negotiated: Negotiated): void {
    const { GUEST_CSUM, GUEST_TSO4, GUEST_TSO6 } = NET_FEATURE;
    const [checksum, tso4, tso6] = [negotiated.has(GUEST_CSUM), negotiated.has(GUEST_TSO4), negotiated.has(GUEST_TSO6)];
    const now = (checksum ? 1 : 0) | (tso4 ? 2 : 0) | (tso6 ? 4 : 0);
    if (now === this.#offload) return;
    this.#offload = now;
    this.#link.setOffload?.({ checksum, tso4, tso6 });
  }

  #deliver(queue: Virtqueue, mergeable: boolean): "empty" | "full" | "ended" {
    const { limit } = this.input;
    for (let moved = 0; ; moved++) {
      if (limit !== undefined && limit.waitNs() > 0) return "empty";
      if (this.#placed === this.#read) {
        // More may have come; the link's descriptor says so.
        if (moved >= FRAMES_AT_ONCE) return "empty";
        const count = this.#readFrames();
        if (count <= 0) return count < 0 ? "ended" : "empty";
      }
      const length = this.#lengths[this.#placed]!;
      if (!this.#place(queue, this.#received.subarray(this.#at, this.#at + length), mergeable)) return "full";
      limit?.charge(length - HEADER_BYTES);
      this.#at += length;
      this.#placed++;
    }
  }

  /** The next frames into `#received`, each behind a header: how many, and as `FrameLink.readAll`. */
  #readFrames(): number {
    const link = this.#link;
    const count =
      link.hasHeader && link.readAll !== undefined ? link.readAll(this.#received, this.#lengths) : this.#readOne();
    this.#read = Math.max(0, count);
    this.#placed = 0;
    this.#at = 0;
    return count;
  }

  #readOne(): number {
    const length = this.#readFrame();
    this.#lengths[0] = length;
    return Math.sign(length);
  }

  /** The next frame into `#received`, behind a header. */
  #readFrame(): number {
    if (this.#link.hasHeader) return this.#link.read(this.#received);
    this.#received.fill(0, 0, HEADER_BYTES);
    const length = this.#link.read(this.#received.subarray(HEADER_BYTES));
    return length <= 0 ? length : HEADER_BYTES + length;
  }

  /** Puts a frame into the next chains: one, or as many as it needs when buffers can be merged. False when they are too few. */
  #place(queue: Virtqueue, packet: Uint8Array, mergeable: boolean): boolean {
    const first = queue.next();
    if (first === undefined) return false;
    // Nearly always it has room in the first buffer of one chain.
    const [buffer] = first.writable;
    if (buffer !== undefined && buffer.length >= packet.length) {
      this.#receivedView.setUint16(this.#at + NUM_BUFFERS_OFFSET, 1, true);
      buffer.set(packet);
      queue.complete(first, packet.length);
      return true;
    }
    queue.putBack([first]);
    return this.#placeInPieces(queue, packet, mergeable);
  }

  #placeInPieces(queue: Virtqueue, packet: Uint8Array, mergeable: boolean): boolean {
    const chains: DescriptorChain[] = [];
    let room = 0;
    while (room < packet.length) {
      const chain = queue.next();
      if (chain === undefined) {
        queue.putBack(chains);
        return false;
      }
      chains.push(chain);
      room += totalBytes(chain.writable);
      if (!mergeable && room < packet.length) {
        // A driver that has agreed to no larger frames left too little room: the frame is lost.
        queue.complete(chain, 0);
        return true;
      }
      if (chains.length === queue.size && room < packet.length)
        throw new VirtqueueFault("receive buffers without room");
    }
    this.#receivedView.setUint16(this.#at + NUM_BUFFERS_OFFSET, chains.length, true);
    let done = 0;
    for (const chain of chains) {
      const rest = packet.subarray(done);
      const written = Math.min(rest.length, totalBytes(chain.writable));
      scatter(rest, chain.writable);
      queue.complete(chain, written);
      done += written;
    }
    return true;
  }
}
