/** The console over real rings and real sockets (virtio 1.2, section 5.3). */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EAGAIN, Poller, UnixListener, UnixSocket } from "@tools-kvm/kvm-binding";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { INTERRUPT, STATUS } from "../../ids.js";
import { TestDevice, TestDriverQueue, TestMemory } from "../../testing.js";
import type { MmioRegisters } from "../../testing-registers.js";
import { CONSOLE_CONFIG, CONSOLE_QUEUE, consoleDevice, portQueues, setTerminalSize } from "./console.js";
import { ConsoleBackend, type ConsoleBackendOptions, MOST_CHAIN_BYTES } from "./console-backend.js";
import { CONTROL, type ControlMessage, controlBytes, parseControl } from "./control.js";

const QUEUE_SIZE = 16;
const BUFFER_BYTES = 0x1000;

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

/** One queue of the driver's with a buffer for each of its entries. */
class Queue {
  readonly ring: TestDriverQueue;
  readonly #heads = new Map<number, number>();
  #next = 0;

  constructor(
    readonly memory: TestMemory,
    readonly base: number,
  ) {
    this.ring = new TestDriverQueue(memory, QUEUE_SIZE, base);
  }

  static readonly BYTES = BUFFER_BYTES * (QUEUE_SIZE + 1);

  #buffer(): number {
    this.#next = (this.#next + 1) % QUEUE_SIZE;
    return this.base + BUFFER_BYTES * (1 + this.#next);
  }

  send(bytes: Uint8Array): void {
    const gpa = this.#buffer();
    this.memory.bytes.set(bytes, gpa);
    this.ring.offer([{ gpa, length: bytes.length, writable: false }]);
  }

  /** Buffers for what comes, up to `count` and to what the ring has. */
  offer(count = QUEUE_SIZE, length = BUFFER_BYTES): void {
    for (let left = Math.min(count, this.ring.room); left > 0; left--) {
      const gpa = this.#buffer();
      this.#heads.set(this.ring.offer([{ gpa, length, writable: true }]), gpa);
    }
  }

  /** What has come. */
  receive(): Uint8Array[] {
    return this.ring.collect().map(({ head, written }) => {
      const gpa = this.#heads.get(head)!;
      return this.memory.bytes.slice(gpa, gpa + written);
    });
  }
}

function setUp(options: ConsoleBackendOptions, queues: readonly number[], names?: readonly string[]) {
  const memory = new TestMemory(Queue.BYTES * queues.length);
  const backend = new ConsoleBackend(options);
  closers.push(() => backend.close());
  const test = new TestDevice(consoleDevice({ name: "virtio-console0", ports: names }), backend, memory);
  let all = new Map<number, Queue>();
  const restart = (): void => {
    memory.bytes.fill(0);
    all = new Map(queues.map((index, i) => [index, new Queue(memory, Queue.BYTES * i)]));
    const [[first, queue], ...rest] = [...all] as [[number, Queue], ...[number, Queue][]];
    test.start(queue.ring, { index: first, more: rest.map(([index, { ring }]) => [index, ring] as const) });
  };
  restart();
  const poller = new Poller();
  closers.push(() => poller.close());
  poller.add(backend.attendant, 0);
  /** As often as the device wants its turn; false when that does not end. */
  const attend = (): boolean => {
    test.server.attend();
    for (let turns = 0; turns < 100; turns++) {
      if (poller.wait(0) === 0) return true;
      test.server.attend();
    }
    return false;
  };
  return { memory, backend, test, attend, restart, queue: (index: number): Queue => all.get(index)! };
}

function terminal() {
  const [host, socket] = UnixSocket.pair();
  closers.push(() => host.close());
  const all = setUp({ terminal: { socket } }, [CONSOLE_QUEUE.RX, CONSOLE_QUEUE.TX]);
  return { ...all, host, rx: () => all.queue(CONSOLE_QUEUE.RX), tx: () => all.queue(CONSOLE_QUEUE.TX) };
}

/** What there is to read; undefined behind the end. */
function read(socket: UnixSocket): Buffer | undefined {
  const pieces: Buffer[] = [];
  for (;;) {
    const into = Buffer.alloc(65_536);
    const got = socket.receive(into);
    if (got === -EAGAIN || got === 0) return got === 0 && pieces.length === 0 ? undefined : Buffer.concat(pieces);
    pieces.push(into.subarray(0, got));
  }
}

const text = (pieces: readonly Uint8Array[]): string => Buffer.concat(pieces).toString();

describe("a terminal", () => {
  it("carries what the guest and the host write to each other", () => {
    const { host, rx, tx, attend } = terminal();
    rx().offer();
    tx().send(Buffer.from("hvc0 says "));
    tx().send(Buffer.from("hello\n"));
    host.send(Buffer.from("and the host too\n"));
    expect(attend()).toBe(true);
    expect(tx().ring.collect()).toHaveLength(2);
    expect(read(host)?.toString()).toBe("hvc0 says hello\n");
    expect(text(rx().receive())).toBe("and the host too\n");
  });

  it("leaves input with the host until the guest has room for it, and loses none", () => {
    const { host, rx, attend } = terminal();
    const sent = randomBytes(200_000);
    let done = 0;
    const got: Uint8Array[] = [];
    for (let length = 0; length < sent.length; ) {
      done += Math.max(0, host.send(sent.subarray(done)));
      // A guest that has no buffer is not waited for.
      expect(attend()).toBe(true);
      rx().offer(3);
      expect(attend()).toBe(true);
      const pieces = rx().receive();
      got.push(...pieces);
      length += pieces.reduce((sum, piece) => sum + piece.length, 0);
    }
    expect(Buffer.concat(got).equals(sent)).toBe(true);
  });

  it("leaves output with the guest until the host has room for it, and loses none", () => {
    const { host, tx, attend } = terminal();
    const sent = randomBytes(3 * 2 ** 20);
    const got: Uint8Array[] = [];
    let wasFull = false;
    for (let offset = 0, length = 0; length < sent.length; ) {
      for (; tx().ring.room > 0 && offset < sent.length; offset += BUFFER_BYTES)
        tx().send(sent.subarray(offset, offset + BUFFER_BYTES));
      expect(attend()).toBe(true);
      tx().ring.collect();
      if (tx().ring.room > 0 && offset < sent.length) continue;
      wasFull ||= offset < sent.length;
      const piece = read(host)!;
      got.push(piece);
      length += piece.length;
    }
    expect(wasFull).toBe(true);
    expect(Buffer.concat(got).equals(sent)).toBe(true);
  });

  it("goes on for the guest when nobody reads any more", () => {
    const { host, tx, attend, test } = terminal();
    host.close();
    for (let i = 0; i < 100; i++) {
      tx().send(Buffer.alloc(BUFFER_BYTES));
      expect(attend()).toBe(true);
      expect(tx().ring.collect()).toHaveLength(1);
    }
    expect(test.faults).toEqual([]);
  });

  it("hands on the last bytes when it is closed, as fast as they are read", () => {
    const { host, tx, attend, backend } = terminal();
    let sent = 0;
    for (; tx().ring.room > 0; sent += BUFFER_BYTES) {
      tx().send(Buffer.alloc(BUFFER_BYTES, 7));
      attend();
      tx().ring.collect();
    }
    const some = Buffer.alloc(150_000);
    const got = host.receive(some);
    backend.close();
    expect(got + read(host)!.length).toBe(sent - BUFFER_BYTES * QUEUE_SIZE);
    expect(read(host)).toBeUndefined();
  });

  it("has a size, of which the guest hears at a change of it and after a reset", () => {
    const { test } = terminal();
    const size = () => [CONSOLE_CONFIG.COLS, CONSOLE_CONFIG.ROWS].map((at) => test.registers.config(at, 2));
    expect(size()).toEqual([0, 0]);
    setTerminalSize(test.state.config, { columns: 132, rows: 43 });
    expect(size()).toEqual([132, 43]);
    test.registers.status = 0;
    expect(size()).toEqual([132, 43]);
    test.registers.setConfig(0, 0, 4);
    expect(size()).toEqual([132, 43]);
  });

  it("tells its size to a driver that reads it only when it changes, once the terminal is there", () => {
    const { test, tx, attend, restart } = terminal();
    const told = (): boolean => {
      attend();
      return (test.registers.acknowledge() & INTERRUPT.CONFIGURATION_CHANGE) !== 0;
    };
    for (let drivers = 0; drivers < 2; drivers++) {
      expect(told()).toBe(false);
      tx().send(Buffer.from("here I am"));
      expect(told()).toBe(true);
      tx().send(Buffer.from("and I stay"));
      expect(told()).toBe(false);
      restart();
    }
  });

  it("takes characters of an emergency without a queue", () => {
    const { test } = terminal();
    test.registers.status = 0;
    for (const letter of "oops") test.registers.setConfig(CONSOLE_CONFIG.EMERG_WR, letter.charCodeAt(0), 4);
    expect((test.registers as MmioRegisters).bench.port.text).toBe("oops");
    expect(test.registers.config(CONSOLE_CONFIG.EMERG_WR, 4)).toBe(0);
  });

  it("is not harmed by a buffer for input that cannot be written, nor by a chain without end", () => {
    const all = terminal();
    all.host.send(Buffer.from("x"));
    all.rx().send(Buffer.from("y"));
    all.attend();
    expect(all.test.status & STATUS.DEVICE_NEEDS_RESET).not.toBe(0);
    expect(all.test.faults).toEqual(["a buffer for input that cannot be written"]);
    all.restart();
    all.rx().offer(1);
    all.attend();
    expect(text(all.rx().receive())).toBe("x");
    const piece = { gpa: 0, length: Queue.BYTES, writable: false };
    const count = Math.ceil((MOST_CHAIN_BYTES + 1) / Queue.BYTES);
    const table = 0x8000;
    all.tx().ring.offer(new Array(count).fill(piece), table);
    all.attend();
    expect(all.test.faults.at(-1)).toBe(`${count * Queue.BYTES} bytes at once`);
  });
});

const NAMES = ["org.example.one", "two"];
const ALL_QUEUES = [2, 3, ...NAMES.flatMap((_, i) => [portQueues(i + 1).rx, portQueues(i + 1).tx])];

function ports() {
  const folder = mkdtempSync(join(tmpdir(), "console-"));
  closers.push(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "one");
  const [host, socket] = UnixSocket.pair();
  closers.push(() => host.close());
  const all = setUp(
    {
      ports: [
        { name: NAMES[0]!, source: { listener: UnixListener.listen(path), path } },
        { name: NAMES[1]!, source: { socket } },
      ],
    },
    ALL_QUEUES,
    NAMES,
  );
  const control = (...messages: ControlMessage[]): ReturnType<typeof heard> => {
    for (const message of messages) all.queue(CONSOLE_QUEUE.CONTROL_TX).send(controlBytes(message));
    return heard();
  };
  const heard = () => {
    const queue = all.queue(CONSOLE_QUEUE.CONTROL_RX);
    queue.offer();
    expect(all.attend()).toBe(true);
    all.queue(CONSOLE_QUEUE.CONTROL_TX).ring.collect();
    return queue.receive().map((bytes) => ({ ...parseControl(bytes), name: text([bytes.subarray(8)]) }));
  };
  const connect = (): UnixSocket => {
    const client = UnixSocket.connect(path);
    closers.push(() => client.close());
    return client;
  };
  /** As Linux's driver does, until programs have both ports open. */
  const begin = () => {
    control({ id: 0, event: CONTROL.DEVICE_READY, value: 1 });
    control(
      { id: 1, event: CONTROL.PORT_READY, value: 1 },
      { id: 2, event: CONTROL.PORT_READY, value: 1 },
      { id: 1, event: CONTROL.PORT_OPEN, value: 1 },
      { id: 2, event: CONTROL.PORT_OPEN, value: 1 },
    );
  };
  const rx = (id: number): Queue => all.queue(portQueues(id).rx);
  const tx = (id: number): Queue => all.queue(portQueues(id).tx);
  return { ...all, host, control, heard, connect, begin, rx, tx };
}

const say = (id: number, event: number, value: number, name = "") => ({ id, event, value, name });

describe("several ports", () => {
  it("are added, named and opened as the driver is ready for it", () => {
    const { control, heard, connect } = ports();
    expect(heard()).toEqual([]);
    expect(control({ id: 0, event: CONTROL.DEVICE_READY, value: 1 })).toEqual([
      say(1, CONTROL.DEVICE_ADD, 0),
      say(2, CONTROL.DEVICE_ADD, 0),
    ]);
    expect(control({ id: 2, event: CONTROL.PORT_READY, value: 1 })).toEqual([
      say(2, CONTROL.PORT_NAME, 1, "two"),
      say(2, CONTROL.PORT_OPEN, 1),
    ]);
    expect(control({ id: 1, event: CONTROL.PORT_READY, value: 1 })).toEqual([say(1, CONTROL.PORT_NAME, 1, NAMES[0])]);
    const client = connect();
    expect(heard()).toEqual([say(1, CONTROL.PORT_OPEN, 1)]);
    client.close();
    // The driver leaves what comes where it is until somebody reads; so it is with the end.
    expect(heard()).toEqual([]);
  });

  it("carry streams to the guest's programs, one client after the other", () => {
    const { begin, connect, heard, attend, rx, tx } = ports();
    begin();
    const [first, second] = [connect(), connect()];
    expect(heard()).toEqual([say(1, CONTROL.PORT_OPEN, 1)]);
    first.send(Buffer.from("one"));
    second.send(Buffer.from("the next"));
    tx(1).send(Buffer.from("for the first"));
    rx(1).offer();
    attend();
    expect(text(rx(1).receive())).toBe("one");
    expect(read(first)?.toString()).toBe("for the first");
    first.close();
    expect(heard()).toEqual([say(1, CONTROL.PORT_OPEN, 0), say(1, CONTROL.PORT_OPEN, 1)]);
    rx(1).offer();
    tx(1).send(Buffer.from("for the second"));
    attend();
    expect(text(rx(1).receive())).toBe("the next");
    expect(read(second)?.toString()).toBe("for the second");
  });

  it("go on answering a client that sends no more", () => {
    const { begin, connect, heard, attend, rx, tx } = ports();
    begin();
    const client = connect();
    heard();
    client.send(Buffer.from("question"));
    client.shutdownWrite();
    rx(1).offer();
    attend();
    expect(text(rx(1).receive())).toBe("question");
    tx(1).send(Buffer.from("answer"));
    attend();
    expect(read(client)?.toString()).toBe("answer");
    client.close();
    expect(heard()).toEqual([say(1, CONTROL.PORT_OPEN, 0)]);
  });

  it("hold nothing up for each other, nor for the other direction", () => {
    const { begin, connect, heard, attend, rx, tx, host } = ports();
    begin();
    const client = connect();
    heard();
    for (let i = 0; i < 200; i++) {
      if (tx(1).ring.room > 0) tx(1).send(Buffer.alloc(BUFFER_BYTES));
      attend();
      tx(1).ring.collect();
    }
    expect(tx(1).ring.room).toBe(0);
    client.send(Buffer.from("still heard"));
    rx(1).offer();
    tx(2).send(Buffer.from("two goes on"));
    attend();
    expect(text(rx(1).receive())).toBe("still heard");
    expect(read(host)?.toString()).toBe("two goes on");
    // And when the slow reader has gone, its port does too.
    client.close();
    attend();
    tx(1).ring.collect();
    expect(tx(1).ring.room).toBe(QUEUE_SIZE);
  });

  it("wait with input until a program of the guest's has the port open", () => {
    const { begin, control, host, attend, rx } = ports();
    begin();
    control({ id: 2, event: CONTROL.PORT_OPEN, value: 0 });
    host.send(Buffer.from("patience"));
    rx(2).offer();
    expect(attend()).toBe(true);
    expect(rx(2).receive()).toEqual([]);
    control({ id: 2, event: CONTROL.PORT_OPEN, value: 1 });
    expect(text(rx(2).receive())).toBe("patience");
  });

  it("are told anew to a driver that begins anew", () => {
    const { begin, restart, control } = ports();
    begin();
    restart();
    expect(control({ id: 0, event: CONTROL.DEVICE_READY, value: 1 })).toEqual([
      say(1, CONTROL.DEVICE_ADD, 0),
      say(2, CONTROL.DEVICE_ADD, 0),
    ]);
  });

  it("take no notice of messages that make no sense", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            id: fc.oneof(fc.nat(3), fc.nat(0xffff_ffff)),
            event: fc.oneof(fc.nat(9), fc.nat(0xffff)),
            value: fc.oneof(fc.nat(2), fc.nat(0xffff)),
          }),
          { maxLength: QUEUE_SIZE },
        ),
        (messages) => {
          const { control, test, host } = ports();
          host.send(Buffer.from("input"));
          // Each port is added, named and opened once at most, whatever is said.
          expect(control(...messages).length).toBeLessThanOrEqual(3 * NAMES.length);
          expect(test.faults).toEqual([]);
          for (const close of closers.splice(0).reverse()) close();
        },
      ),
      { numRuns: 50 },
    );
  });

  it.each([0, 1, 7])("break off at a control message of %d bytes", (length) => {
    const { queue, attend, test } = ports();
    queue(CONSOLE_QUEUE.CONTROL_TX).send(new Uint8Array(length));
    attend();
    expect(test.faults).toEqual([`a control message of ${length} bytes`]);
  });

  it.each([0, 7, 8 + NAMES[0]!.length - 1])("break off at a buffer of %d bytes for a name", (length) => {
    const { queue, attend, test } = ports();
    const send = (message: ControlMessage): void => queue(CONSOLE_QUEUE.CONTROL_TX).send(controlBytes(message));
    send({ id: 0, event: CONTROL.DEVICE_READY, value: 1 });
    queue(CONSOLE_QUEUE.CONTROL_RX).offer(2, length);
    attend();
    send({ id: 1, event: CONTROL.PORT_READY, value: 1 });
    queue(CONSOLE_QUEUE.CONTROL_RX).offer(1, length);
    attend();
    expect(test.faults).toEqual([`a buffer of ${length} bytes for control messages`]);
  });
});
