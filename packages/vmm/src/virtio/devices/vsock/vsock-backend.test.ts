/** The socket device over real rings and real unix sockets (virtio 1.2, section 5.10). */
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EAGAIN, Poller, UnixListener, UnixSocket } from "@tools-kvm/kvm-binding";
import fc from "fast-check";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { SplitQueue } from "../../split-queue.js";
import { TestDriverQueue, TestMemory } from "../../testing.js";
import type { DescriptorChain } from "../../virtqueue.js";
import { BUFFER_BYTES } from "./connection.js";
import { HEADER_BYTES, OP, type PacketHeader, parseHeader, SHUTDOWN, TYPE_STREAM, writeHeader } from "./packet.js";
import { MOST_CONNECTIONS, VsockBackend } from "./vsock-backend.js";

const folder = mkdtempSync(join(tmpdir(), "vsock-"));
afterAll(() => rmSync(folder, { recursive: true }));

const CID = 7;
const DATA = 0x8000;
const RX_BYTES = 4096;
const RX_SIZE = 64;
let count = 0;
const open: { close(): void }[] = [];
afterEach(() => {
  for (const each of open.splice(0).reverse()) each.close();
});

interface Packet extends PacketHeader {
  readonly data: Uint8Array;
}

/** The guest's side: sends packets, and takes those that come. */
class Guest {
  readonly path = join(folder, `${count++}.sock`);
  readonly backend = new VsockBackend({ cid: CID, path: this.path });
  readonly memory = new TestMemory(0x8_0000);
  #rings = new TestDriverQueue(this.memory, RX_SIZE, 0x1000);
  #queue = this.#fresh();
  #slots = new Map<number, number>();
  #next = 0;
  readonly #poller = new Poller();
  fwdCnt = 0;

  constructor() {
    open.push(this.backend, this.#poller);
    this.#poller.add(this.backend.input, 0);
  }

  #fresh(): SplitQueue {
    const { descriptors, available, used } = this.#rings;
    const layout = { size: RX_SIZE, descriptors, driver: available, device: used };
    return new SplitQueue(this.memory, layout, { indirect: false, eventIdx: false });
  }

  restart(): void {
    this.memory.bytes.fill(0, 0x1000, 0x3000);
    this.#rings = new TestDriverQueue(this.memory, RX_SIZE, 0x1000);
    this.#queue = this.#fresh();
    this.#slots.clear();
  }

  send(header: Partial<PacketHeader>, data: Uint8Array = new Uint8Array(0)): void {
    const whole = {
      srcCid: BigInt(CID),
      dstCid: 2n,
      srcPort: 1000,
      dstPort: 50,
      type: TYPE_STREAM,
      op: OP.RW,
      flags: 0,
    };
    const credit = { bufAlloc: 2 ** 20, fwdCnt: this.fwdCnt, length: data.length };
    const bytes = Buffer.concat([writeHeader({ ...whole, ...credit, ...header }), data]);
    this.backend.handle(1, { head: 0, readable: [bytes.subarray(0, 20), bytes.subarray(20)], writable: [] });
  }

  receive(): Packet[] {
    const packets: Packet[] = [];
    for (let turn = 0; ; turn++) {
      while (this.#rings.room > 0) {
        const gpa = DATA + RX_BYTES * (this.#next++ % RX_SIZE);
        this.#slots.set(this.#rings.offer([{ gpa, length: RX_BYTES, writable: true }]), gpa);
      }
      this.backend.input.deliver(this.#queue, { has: () => true });
      const back = this.#rings.collect();
      // As an I/O Worker does: again, while there is something. What it cannot act on must not keep it awake.
      if (back.length === 0 && this.#poller.wait(0) === 0) return packets;
      if (turn > 2000) throw new Error("it is never done");
      for (const { head, written } of back) {
        const bytes = this.memory.bytes.slice(this.#slots.get(head)!, this.#slots.get(head)! + written);
        packets.push({ ...parseHeader(bytes), data: bytes.subarray(HEADER_BYTES) });
      }
    }
  }

  /** A connection to the host's port 50. */
  connected(): UnixSocket {
    const listener = UnixListener.listen(`${this.path}_50`);
    open.push(listener);
    this.send({ op: OP.REQUEST });
    const socket = listener.accept()!;
    open.push(socket);
    expect(this.receive()).toMatchObject([{ op: OP.RESPONSE, srcPort: 50, dstPort: 1000, dstCid: 7n, srcCid: 2n }]);
    return socket;
  }

  /** Somebody of the host's who has sent a line. */
  host(line: string): UnixSocket {
    const socket = UnixSocket.connect(this.path);
    open.push(socket);
    socket.send(Buffer.from(line));
    return socket;
  }
}

function read(socket: UnixSocket, most = 2 ** 20): Buffer | "end" {
  const bytes = Buffer.alloc(most);
  let length = 0;
  for (;;) {
    const got = socket.receive(bytes.subarray(length));
    if (got === 0 && length === 0) return "end";
    if (got <= 0 || length + got === most) return bytes.subarray(0, length + Math.max(0, got));
    length += got;
  }
}

describe("a program of the guest's", () => {
  it("reaches PATH_PORT, and bytes go both ways", () => {
    const guest = new Guest();
    const socket = guest.connected();
    guest.send({}, Buffer.from("from the guest"));
    expect(read(socket).toString()).toBe("from the guest");
    socket.send(Buffer.from("from the host"));
    const [packet, ...more] = guest.receive();
    expect(more).toEqual([]);
    expect(packet).toMatchObject({ op: OP.RW, length: 13, fwdCnt: 14, bufAlloc: BUFFER_BYTES });
    expect(Buffer.from(packet!.data).toString()).toBe("from the host");
  });

  it("is refused where nobody listens", () => {
    const guest = new Guest();
    guest.send({ op: OP.REQUEST, dstPort: 51 });
    expect(guest.receive()).toMatchObject([{ op: OP.RST, srcPort: 51, dstPort: 1000 }]);
    expect(guest.backend.connections).toBe(0);
  });

  it("ends one direction after the other", () => {
    const guest = new Guest();
    const socket = guest.connected();
    guest.send({}, Buffer.from("last"));
    guest.send({ op: OP.SHUTDOWN, flags: SHUTDOWN.SEND });
    expect([read(socket).toString(), read(socket)]).toEqual(["last", "end"]);
    socket.send(Buffer.from("answer"));
    expect(guest.receive()).toMatchObject([{ op: OP.RW, length: 6 }]);
    socket.shutdownWrite();
    expect(guest.receive()).toMatchObject([{ op: OP.RST }]);
    expect(guest.backend.connections).toBe(0);
  });

  it("hears when the host's program closes, and is answered by RST when it has ended too", () => {
    const guest = new Guest();
    guest.connected().close();
    expect(guest.receive()).toMatchObject([{ op: OP.SHUTDOWN, flags: SHUTDOWN.BOTH }]);
    guest.send({ op: OP.SHUTDOWN, flags: SHUTDOWN.BOTH });
    expect(guest.receive()).toMatchObject([{ op: OP.RST }]);
    expect(guest.backend.connections).toBe(0);
  });
});

describe("a program of the host's", () => {
  it("says CONNECT, and is answered when the guest has accepted", () => {
    const guest = new Guest();
    expect(statSync(guest.path).mode & 0o777).toBe(0o600);
    const socket = guest.host("CONNECT 1234\nearly");
    const [request] = guest.receive();
    expect(request).toMatchObject({ op: OP.REQUEST, dstPort: 1234 });
    expect(socket.receive(new Uint8Array(1))).toBe(-EAGAIN);
    guest.send({ op: OP.RESPONSE, srcPort: 1234, dstPort: request!.srcPort });
    expect(read(socket).toString()).toBe(`OK ${request!.srcPort}\n`);
    // What it sent behind the line is the guest's.
    expect(guest.receive().map(({ data }) => Buffer.from(data).toString())).toEqual(["early"]);
  });

  it("is let go when the guest refuses", () => {
    const guest = new Guest();
    const socket = guest.host("CONNECT 1\n");
    const [request] = guest.receive();
    guest.send({ op: OP.RST, srcPort: 1, dstPort: request!.srcPort });
    expect(read(socket)).toBe("end");
    expect(guest.backend.connections).toBe(0);
  });

  it.each([
    "CONNECT\n",
    "CONNECT 4294967296\n",
    "CONNECT -1\n",
    "GET / HTTP/1.1\r\n",
    "\n",
    "CONNECT 1 1\n",
    "x".repeat(100),
  ])("that says %j is let go", (line) => {
    const guest = new Guest();
    const socket = guest.host(line);
    expect(guest.receive()).toEqual([]);
    expect(guest.backend.connections).toBe(0);
    // The end, or a reset when what it said was not read to its own.
    expect(() => socket.receive(new Uint8Array(1)) || socket.send(new Uint8Array(1))).toThrow(/EPIPE|ECONNRESET/);
  });

  it("is let go at once when there are too many", () => {
    const guest = new Guest();
    for (let i = 0; i < MOST_CONNECTIONS + 10; i++) {
      const socket = UnixSocket.connect(guest.path);
      open.push(socket);
      guest.receive();
    }
    expect(guest.backend.connections).toBe(MOST_CONNECTIONS);
  });
});

describe("credit", () => {
  it("of the guest is never exceeded", () => {
    const guest = new Guest();
    const socket = guest.connected();
    guest.send({ op: OP.CREDIT_UPDATE, bufAlloc: 5000 });
    socket.send(new Uint8Array(20_000));
    const total = (packets: readonly Packet[]) => packets.reduce((sum, { length }) => sum + length, 0);
    expect(total(guest.receive())).toBe(5000);
    expect(total(guest.receive())).toBe(0);
    guest.send({ op: OP.CREDIT_UPDATE, bufAlloc: 5000, fwdCnt: 4000 });
    expect(total(guest.receive())).toBe(4000);
    // A guest that claims to have had more than it was sent.
    guest.send({ op: OP.CREDIT_UPDATE, bufAlloc: 5000, fwdCnt: 0xffff_0000 });
    expect(total(guest.receive())).toBe(0);
  });

  it("is given anew when the host's program has read, and told when it is asked for", () => {
    const guest = new Guest();
    const socket = guest.connected();
    let sent = 0;
    let told = 0;
    for (let i = 0; i < 200; i++) {
      if (sent - told + 4000 <= BUFFER_BYTES) {
        guest.send({}, new Uint8Array(4000));
        sent += 4000;
      }
      read(socket, 8000);
      for (const { fwdCnt } of guest.receive()) told = fwdCnt;
    }
    expect(sent).toBe(800_000);
    guest.send({ op: OP.CREDIT_REQUEST });
    expect(guest.receive().at(-1)).toMatchObject({ op: OP.CREDIT_UPDATE, bufAlloc: BUFFER_BYTES });
  });

  it("that is overdrawn ends the connection: a reader that never reads costs no memory", () => {
    const guest = new Guest();
    guest.connected();
    let packets: Packet[] = [];
    let sent = 0;
    for (; !packets.some(({ op }) => op === OP.RST) && sent < 2 ** 23; sent += 60_000) {
      guest.send({}, new Uint8Array(60_000));
      packets = guest.receive();
    }
    // The kernel's buffer for a socket, and ours.
    expect(sent).toBeLessThan(2 ** 20);
    expect(guest.backend.connections).toBe(0);
  });
});

describe("packets that are wrong", () => {
  it.each([
    ["with the address of another guest", { srcCid: 8n }, []],
    ["to another guest", { dstCid: 9n }, []],
    ["of no connection", { srcPort: 9 }, [OP.RST]],
    ["of no connection that reset it", { srcPort: 9, op: OP.RST }, []],
    ["of another type", { type: 2 }, [OP.RST]],
    ["of an unknown operation", { op: 99 }, [OP.RST]],
    ["that connect again", { op: OP.REQUEST }, [OP.RST]],
    ["that accept what is open", { op: OP.RESPONSE }, [OP.RST]],
  ])("%s", (_, header, answers) => {
    const guest = new Guest();
    guest.connected();
    guest.send(header);
    expect(guest.receive().map(({ op }) => op)).toEqual(answers);
  });

  it("without a header, or shorter than it says, are a fault", () => {
    const { backend } = new Guest();
    const chain = (bytes: Uint8Array): DescriptorChain => ({ head: 0, readable: [bytes], writable: [] });
    expect(() => backend.handle(1, chain(new Uint8Array(43)))).toThrow("a packet of 43 bytes");
    const header = new Uint8Array(50);
    new DataView(header.buffer).setUint32(24, 7, true);
    expect(() => backend.handle(1, chain(header))).toThrow("a packet of 7 bytes in 6");
  });

  it("whatever they are, leave no more than there may be, and the next connection works", () => {
    const guest = new Guest();
    const port = fc.constantFrom(50, 51, 1000, 2 ** 30);
    const header = fc.record({
      srcPort: port,
      dstPort: port,
      op: fc.nat(9),
      type: fc.constantFrom(1, 1, 1, 2),
      flags: fc.nat(7),
      bufAlloc: fc.nat(2 ** 32 - 1),
      fwdCnt: fc.nat(2 ** 32 - 1),
    });
    const listener = UnixListener.listen(`${guest.path}_50`);
    open.push(listener);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(header, fc.uint8Array({ maxLength: 100 }), fc.boolean()), { maxLength: 20 }),
        (all) => {
          for (const [each, data, listens] of all) {
            guest.send(each, data);
            if (listens) guest.receive();
          }
          for (let socket = listener.accept(); socket !== null; socket = listener.accept()) socket.close();
          expect(guest.backend.connections).toBeLessThanOrEqual(MOST_CONNECTIONS);
          expect(guest.memory.isGuardIntact).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
    guest.restart();
    guest.receive();
    expect(guest.backend.connections).toBe(0);
    guest.send({ op: OP.REQUEST });
    expect(guest.receive()).toMatchObject([{ op: OP.RESPONSE }]);
  });
});

describe("the socket file", () => {
  it("goes with the device, and one that was left is replaced", () => {
    const path = join(folder, "left.sock");
    UnixListener.listen(path).close();
    new VsockBackend({ cid: CID, path }).close();
    expect(existsSync(path)).toBe(false);
    const first = new VsockBackend({ cid: CID, path });
    expect(() => new VsockBackend({ cid: CID, path })).toThrow(/EADDRINUSE/);
    first.close();
  });
});
