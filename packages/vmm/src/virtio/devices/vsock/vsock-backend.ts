/**
 * The socket device on unix sockets, as Firecracker has it: who connects to PATH and sends `CONNECT PORT` reaches that port of the
 * guest and is answered `OK`; a program of the guest's that connects to the host's port P reaches the unix socket PATH_P.
 */
import { unlinkSync } from "node:fs";
import { EventFd, POLLHUP, POLLIN, POLLOUT, Poller, UnixListener, UnixSocket } from "@tools-kvm/kvm-binding";
import { removeStale } from "../../../host/socket-file.js";
import type { VirtioBackend, VirtioInput } from "../../device.js";
import { type DescriptorChain, type Virtqueue, VirtqueueFault } from "../../virtqueue.js";
import { skipBytes, takeBytes, totalBytes } from "../block/buffers.js";
import { Connection } from "./connection.js";
import { Handshake } from "./handshake.js";
import { HEADER_BYTES, OP, type PacketHeader, parseHeader, TYPE_STREAM, writeHeader } from "./packet.js";
import { HOST_CID, VSOCK_QUEUE } from "./vsock.js";

export interface VsockOptions {
  /** The guest's address. */
  readonly cid: number;
  /** Of the unix socket for those who connect to the guest. */
  readonly path: string;
}

/** Connections and those that may become one, together: each is a descriptor of this process. */
export const MOST_CONNECTIONS = 256;
/** Answers to packets that belong to no connection; a guest that takes none of them gets no more. */
const MOST_RESETS = 256;
/** Packets to the guest before others have their turn. */
const PACKETS_A_TURN = 64;
const MOST_DATA_BYTES = 64 * 1024;
/** Ports of the host's side of connections to the guest. */
const FIRST_HOST_PORT = 2 ** 30;
const LAST_HOST_PORT = 2 ** 31 - 1;
/** Keys of what is no connection. */
const MORE = -1;
const LISTENER = -2;

type Peer = Connection | Handshake;

export class VsockBackend implements VirtioBackend {
  readonly input: VirtioInput;
  /** There is nothing to say of migrations. */
  readonly silentQueues = [VSOCK_QUEUE.EVENT];
  readonly #cid: bigint;
  readonly #path: string;
  readonly #listener: UnixListener;
  readonly #poller = new Poller();
  /** Makes the poller ready when there is something to say that no socket has brought about. */
  readonly #more = EventFd.create();
  readonly #byKey = new Map<number, Peer>();
  readonly #keys = new Map<Peer, number>();
  readonly #byPorts = new Map<string, Connection>();
  readonly #events = new Map<Peer, number>();
  readonly #resets: PacketHeader[] = [];
  readonly #data = new Uint8Array(MOST_DATA_BYTES);
  #queue: Virtqueue | undefined;
  #nextKey = 1;
  #nextPort = FIRST_HOST_PORT;

  /** Listens from now on. Throws KvmError. */
  constructor({ cid, path }: VsockOptions) {
    this.#cid = BigInt(cid);
    this.#path = path;
    removeStale(path);
    this.#listener = UnixListener.listen(path);
    this.#poller.add(this.#more, MORE);
    this.#poller.add(this.#listener, LISTENER);
    this.input = { queueIndex: VSOCK_QUEUE.RX, fd: this.#poller.fd, deliver: (queue) => this.#deliver(queue) };
  }

  /** Connections there are, with those that are being made. */
  get connections(): number {
    return this.#byKey.size;
  }

  /** A packet of the guest's. */
  handle(_queueIndex: number, { readable }: DescriptorChain): number {
    const bytes = takeBytes(readable, HEADER_BYTES);
    if (bytes === undefined) throw new VirtqueueFault(`a packet of ${totalBytes(readable)} bytes`);
    const header = parseHeader(bytes);
    const data = skipBytes(readable, HEADER_BYTES);
    if (header.length > totalBytes(data))
      throw new VirtqueueFault(`a packet of ${header.length} bytes in ${totalBytes(data)}`);
    // Addressed to nobody here: dropped, as the specification has it.
    if (header.srcCid !== this.#cid || header.dstCid !== BigInt(HOST_CID)) return 0;
    this.#receive(header, data);
    return 0;
  }

  #receive(header: PacketHeader, data: readonly Uint8Array[]): void {
    const connection = this.#byPorts.get(portsOf(header.dstPort, header.srcPort));
    if (header.type !== TYPE_STREAM || connection === undefined) {
      if (header.type === TYPE_STREAM && header.op === OP.REQUEST) this.#connect(header);
      else if (header.op !== OP.RST) this.#refuse(header);
      return;
    }
    connection.learn(header);
    switch (header.op) {
      case OP.RST:
        connection.state = "gone";
        break;
      case OP.RESPONSE:
        if (connection.state === "connecting") {
          connection.state = "open";
          connection.say(`OK ${connection.hostPort}\n`);
        } else connection.reset();
        break;
      case OP.RW:
        if (connection.state === "open") connection.take(cut(data, header.length), header.length);
        else connection.reset();
        break;
      case OP.SHUTDOWN:
        connection.shutdown(header.flags);
        break;
      case OP.CREDIT_REQUEST:
        connection.owe(OP.CREDIT_UPDATE);
        break;
      case OP.CREDIT_UPDATE:
        break;
      default:
        connection.reset();
    }
    this.#settle(connection);
    this.#more.signal();
  }

  /** A program of the guest's wants to reach a port of the host's. */
  #connect(header: PacketHeader): void {
    const socket = this.#byKey.size < MOST_CONNECTIONS ? connectTo(`${this.#path}_${header.dstPort}`) : undefined;
    if (socket === undefined) {
      this.#refuse(header);
      return;
    }
    const connection = new Connection(header.dstPort, header.srcPort, socket, "open");
    connection.learn(header);
    connection.owe(OP.RESPONSE);
    this.#add(connection);
    this.#more.signal();
  }

  #refuse(header: PacketHeader): void {
    if (this.#resets.length < MOST_RESETS) this.#resets.push(header);
    this.#more.signal();
  }

  #add(peer: Peer): void {
    const key = this.#nextKey;
    this.#nextKey = key === 2 ** 31 - 1 ? 1 : key + 1;
    this.#byKey.set(key, peer);
    this.#keys.set(peer, key);
    if (peer instanceof Connection) this.#byPorts.set(portsOf(peer.hostPort, peer.guestPort), peer);
    this.#settle(peer);
  }

  /** Waits for what a peer has a use for, and lets go of one that is gone. */
  #settle(peer: Peer): void {
    const wanted = peer.interest;
    const current = this.#events.get(peer) ?? 0;
    if (wanted === 0 && current !== 0) this.#poller.remove(peer);
    else if (current === 0 && wanted !== 0) this.#poller.add(peer, this.#keys.get(peer)!, wanted);
    else if (wanted !== current) this.#poller.modify(peer, this.#keys.get(peer)!, wanted);
    if (wanted === 0) this.#events.delete(peer);
    else this.#events.set(peer, wanted);
    if (peer.state === "gone") this.#remove(peer);
  }

  #remove(peer: Peer): void {
    this.#byKey.delete(this.#keys.get(peer)!);
    this.#keys.delete(peer);
    if (peer instanceof Connection) {
      this.#byPorts.delete(portsOf(peer.hostPort, peer.guestPort));
      if (peer.takeOwed()?.op === OP.RST)
        this.#refuse({ ...this.#header(peer, OP.RST, 0, 0), srcPort: peer.guestPort, dstPort: peer.hostPort });
    }
    peer.close();
  }

  #deliver(queue: Virtqueue): "empty" | "full" {
    // The driver has begun anew, and knows of no connection.
    if (this.#queue !== queue) {
      if (this.#queue !== undefined) this.#forgetAll();
      this.#queue = queue;
    }
    this.#more.take();
    const readable = this.#hearSockets();
    for (let left = PACKETS_A_TURN; left > 0; left--) {
      const chain = queue.next();
      if (chain === undefined) return "full";
      const written = this.#say(chain, readable);
      if (written === 0) {
        queue.putBack([chain]);
        return "empty";
      }
      queue.complete(chain, written);
    }
    this.#more.signal();
    return "empty";
  }

  /** What the host's programs have done. Connections that have data for the guest, and whether their other end is closed. */
  #hearSockets(): Map<Connection, boolean> {
    const readable = new Map<Connection, boolean>();
    const ready = this.#poller.wait(0);
    for (let i = 0; i < ready; i++) {
      const key = this.#poller.readyKeys[i]!;
      const events = this.#poller.readyEvents[i]!;
      const peer = this.#byKey.get(key);
      if (key === LISTENER) this.#accept();
      else if (peer instanceof Handshake) this.#continue(peer);
      else if (peer !== undefined) {
        if ((events & POLLOUT) !== 0) peer.flush();
        if ((events & (POLLIN | POLLHUP)) !== 0) readable.set(peer, (events & POLLHUP) !== 0);
        this.#settle(peer);
      }
    }
    return readable;
  }

  #accept(): void {
    const socket = this.#listener.accept();
    if (socket === null) return;
    if (this.#byKey.size >= MOST_CONNECTIONS) socket.close();
    else this.#add(new Handshake(socket));
  }

  #continue(handshake: Handshake): void {
    const port = handshake.read();
    if (port === undefined) {
      this.#settle(handshake);
      return;
    }
    const socket = handshake.release();
    this.#settle(handshake);
    const connection = new Connection(this.#freePort(port), port, socket, "connecting");
    connection.owe(OP.REQUEST);
    this.#add(connection);
  }

  #freePort(guestPort: number): number {
    for (;;) {
      const port = this.#nextPort;
      this.#nextPort = port === LAST_HOST_PORT ? FIRST_HOST_PORT : port + 1;
      if (!this.#byPorts.has(portsOf(port, guestPort))) return port;
    }
  }

  /** The next packet for the guest: bytes written, 0 when there is none. */
  #say({ writable }: DescriptorChain, readable: Map<Connection, boolean>): number {
    const room = totalBytes(writable) - HEADER_BYTES;
    if (room < 0) throw new VirtqueueFault(`a buffer of ${room + HEADER_BYTES} bytes for packets`);
    for (;;) {
      const owed = this.#nextOwed();
      if (owed !== undefined) return scatter(writable, [writeHeader(owed)]);
      const [connection, hasHungUp] = readable.entries().next().value ?? [];
      if (connection === undefined) return 0;
      readable.delete(connection);
      const length = connection.read(this.#data.subarray(0, Math.max(1, Math.min(room, MOST_DATA_BYTES))), hasHungUp!);
      if (length > room) throw new VirtqueueFault("a buffer for packets without room for data");
      this.#settle(connection);
      if (length === 0) continue;
      // Behind the others; whoever has nothing more is found out then.
      readable.set(connection, hasHungUp!);
      return scatter(writable, [
        writeHeader(this.#header(connection, OP.RW, 0, length)),
        this.#data.subarray(0, length),
      ]);
    }
  }

  #nextOwed(): PacketHeader | undefined {
    const refused = this.#resets.shift();
    if (refused !== undefined) return this.#resetFor(refused);
    for (const peer of this.#byPorts.values()) {
      const owed = peer.takeOwed();
      if (owed !== undefined) return this.#header(peer, owed.op, owed.flags, 0);
    }
    return undefined;
  }

  #header(connection: Connection, op: number, flags: number, length: number): PacketHeader {
    return {
      srcCid: BigInt(HOST_CID),
      dstCid: this.#cid,
      srcPort: connection.hostPort,
      dstPort: connection.guestPort,
      length,
      type: TYPE_STREAM,
      op,
      flags,
      bufAlloc: connection.bufAlloc,
      fwdCnt: connection.takeForwarded(),
    };
  }

  #resetFor({ srcPort, dstPort, type }: PacketHeader): PacketHeader {
    const none = { length: 0, flags: 0, bufAlloc: 0, fwdCnt: 0 };
    return {
      srcCid: BigInt(HOST_CID),
      dstCid: this.#cid,
      srcPort: dstPort,
      dstPort: srcPort,
      type,
      op: OP.RST,
      ...none,
    };
  }

  #forgetAll(): void {
    for (const peer of [...this.#byKey.values()]) {
      if (peer instanceof Handshake) continue;
      peer.state = "gone";
      this.#settle(peer);
    }
    this.#resets.length = 0;
  }

  close(): void {
    for (const peer of this.#byKey.values()) peer.close();
    this.#poller.close();
    this.#listener.close();
    this.#more.close();
    unlinkSync(this.#path);
  }
}

const portsOf = (hostPort: number, guestPort: number): string => `${hostPort}:${guestPort}`;

/** Undefined when nobody listens there, or too many wait. */
function connectTo(path: string): UnixSocket | undefined {
  try {
    return UnixSocket.connect(path);
  } catch {
    return undefined;
  }
}

/** The first `length` bytes. */
function cut(buffers: readonly Uint8Array[], length: number): Uint8Array[] {
  let left = length;
  return buffers.map((buffer) => {
    const piece = buffer.subarray(0, left);
    left -= piece.length;
    return piece;
  });
}

/** Copies `pieces` into buffers that have room for them. */
function scatter(buffers: readonly Uint8Array[], pieces: readonly Uint8Array[]): number {
  const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  let done = 0;
  for (const buffer of buffers) {
    const piece = bytes.subarray(done, done + buffer.length);
    buffer.set(piece);
    done += piece.length;
  }
  return done;
}
