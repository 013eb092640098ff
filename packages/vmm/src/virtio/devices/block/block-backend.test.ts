/** The block device's requests, however the driver cuts their bytes into buffers (virtio 1.2, section 5.2.6). */
import { writeFileSync } from "node:fs";
import { GuestMemory } from "@tools-kvm/kvm-binding";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openDisk } from "../../../block/open-disk.js";
import { scratchFolder } from "../../../block/testing.js";
import { RateLimit } from "../../rate-limit.js";
import { MemoryDisk } from "../../testing.js";
import { VirtqueueFault } from "../../virtqueue.js";
import { BLOCK_FEATURE, SECTOR_BYTES } from "./block.js";
import { BlockBackend, S } from "./block-backend.js";

const T = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 };
const SECTORS = 64;
const scratch = scratchFolder();

function header(type: number, sector: number | bigint): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

/** `bytes` cut at the given places, as views of it. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let start = 0;
  return ends.flatMap((end) => {
    const piece = bytes.subarray(start, end);
    start = end;
    return piece.length === 0 ? [] : [piece];
  });
}

function setUp({ readonly = false, features = [BLOCK_FEATURE.FLUSH] as readonly number[] } = {}) {
  const disk = new MemoryDisk(SECTORS * SECTOR_BYTES + 100, { readonly });
  const errors: string[] = [];
  const backend = new BlockBackend({
    disk,
    serial: "SERIAL-0123456789-too-long",
    onFailure: (code, message) => errors.push(`${code}: ${message}`),
  });
  const negotiated = { has: (feature: number) => features.includes(feature) };
  /** Sends `out` behind the header and has room for `inBytes` and the status. */
  const request = (
    type: number,
    sector: number | bigint,
    { out = new Uint8Array(0), inBytes = 0, cuts = [] as number[] } = {},
  ) => {
    const written = new Uint8Array(inBytes + 1).fill(0xee);
    const readable = cut(Uint8Array.from([...header(type, sector), ...out]), cuts);
    const length = backend.handle(0, { head: 0, readable, writable: cut(written, cuts) }, negotiated);
    return { status: written[inBytes], data: written.subarray(0, inBytes), length };
  };
  return { disk, backend, errors, request, negotiated };
}

const ranges = (...list: [sector: number, sectors: number, flags: number][]) => {
  const bytes = new Uint8Array(16 * list.length);
  const view = new DataView(bytes.buffer);
  list.forEach(([sector, sectors, flags], i) => {
    view.setBigUint64(16 * i, BigInt(sector), true);
    view.setUint32(16 * i + 8, sectors, true);
    view.setUint32(16 * i + 12, flags, true);
  });
  return bytes;
};

describe("a block request", () => {
  it("writes and reads sectors, wherever its buffers are cut", () => {
    const place = fc.array(fc.nat(4000), { maxLength: 5 });
    fc.assert(
      fc.property(fc.nat(SECTORS - 4), fc.integer({ min: 1, max: 4 }), place, place, (sector, count, a, b) => {
        const { request, disk } = setUp();
        const out = Uint8Array.from({ length: count * SECTOR_BYTES }, (_, i) => (i * 7 + sector) & 0xff);
        expect(request(T.OUT, sector, { out, cuts: a })).toMatchObject({ status: S.OK, length: 1 });
        expect(disk.bytes.subarray(sector * SECTOR_BYTES).subarray(0, out.length)).toEqual(out);
        const back = request(T.IN, sector, { inBytes: out.length, cuts: b });
        expect(back).toMatchObject({ status: S.OK, length: out.length + 1, data: out });
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    ["past the end", T.IN, SECTORS, SECTOR_BYTES],
    ["that begins on the disk and ends past it", T.IN, SECTORS - 1, 2 * SECTOR_BYTES],
    ["at the end of all sectors", T.IN, 2n ** 64n - 1n, SECTOR_BYTES],
    ["of half a sector", T.IN, 0, 100],
  ])("%s is an I/O error", (_what, type, sector, inBytes) => {
    const { request, disk, errors } = setUp();
    expect(request(type, sector, { inBytes })).toMatchObject({ status: S.IOERR, length: inBytes + 1 });
    expect({ calls: disk.calls, errors }).toEqual({ calls: [], errors: [] });
  });

  it("of an unknown type is not supported", () => {
    expect(setUp().request(99, 0).status).toBe(S.UNSUPP);
  });

  it("for the serial number gets its first twenty bytes", () => {
    const { status, data, length } = setUp().request(T.GET_ID, 0, { inBytes: 20 });
    expect({ status, id: Buffer.from(data).toString(), length }).toEqual({
      status: S.OK,
      id: "SERIAL-0123456789-to",
      length: 21,
    });
    expect(setUp().request(T.GET_ID, 0, { inBytes: 4 })).toMatchObject({ status: S.OK, length: 5 });
  });

  it("flushes, and every write does for a driver that knows no flush", () => {
    const knows = setUp();
    knows.request(T.OUT, 0, { out: new Uint8Array(512) });
    expect(knows.disk.calls).toEqual(["writev"]);
    knows.request(T.FLUSH, 0);
    expect(knows.disk.calls).toEqual(["writev", "flush"]);
    const knowsNot = setUp({ features: [] });
    knowsNot.request(T.OUT, 0, { out: new Uint8Array(512) });
    expect(knowsNot.disk.calls).toEqual(["writev", "flush"]);
  });

  it("discards and zeroes ranges, all of them or none", () => {
    const { request, disk } = setUp();
    disk.bytes.fill(1);
    expect(request(T.WRITE_ZEROES, 0, { out: ranges([1, 2, 0], [5, 1, 1]) }).status).toBe(S.OK);
    expect(disk.calls).toEqual(["writeZeroes", "writeZeroes unmap"]);
    expect([0, 1, 2, 3, 5].map((sector) => disk.bytes[sector * SECTOR_BYTES])).toEqual([1, 0, 0, 1, 0]);
    expect(request(T.DISCARD, 0, { out: ranges([0, 1, 0]) }).status).toBe(S.OK);
    disk.calls.length = 0;
    expect(request(T.WRITE_ZEROES, 0, { out: ranges([1, 1, 0], [SECTORS, 1, 0]) }).status).toBe(S.IOERR);
    expect(request(T.DISCARD, 0, { out: ranges([1, 1, 2]) }).status).toBe(S.UNSUPP);
    expect(request(T.DISCARD, 0, { out: ranges([0, 0xffff_ffff, 0]) }).status).toBe(S.IOERR);
    expect(request(T.DISCARD, 0, { out: new Uint8Array(17) }).status).toBe(S.UNSUPP);
    expect(request(T.DISCARD, 0, { out: new Uint8Array(17 * 16) }).status).toBe(S.UNSUPP);
    expect(disk.calls).toEqual([]);
  });

  it("that changes a read-only disk is an I/O error", () => {
    const { request, disk } = setUp({ readonly: true });
    expect(request(T.OUT, 0, { out: new Uint8Array(512) }).status).toBe(S.IOERR);
    expect(request(T.WRITE_ZEROES, 0, { out: ranges([0, 1, 0]) }).status).toBe(S.IOERR);
    expect(disk.calls).toEqual([]);
  });

  it("that the disk fails is an I/O error, one line, and the next may succeed", () => {
    const { request, disk, errors } = setUp();
    disk.failure = Object.assign(new Error("no space left"), { code: "ENOSPC" });
    expect(request(T.OUT, 0, { out: new Uint8Array(512) }).status).toBe(S.IOERR);
    expect(errors).toEqual(["ENOSPC: no space left"]);
    disk.failure = undefined;
    expect(request(T.OUT, 0, { out: new Uint8Array(512) }).status).toBe(S.OK);
  });

  it("without a whole header, or without room for its status, is the driver's fault", () => {
    const { backend, negotiated } = setUp();
    const room = [new Uint8Array(1)];
    expect(() => backend.handle(0, { head: 0, readable: [new Uint8Array(15)], writable: room }, negotiated)).toThrow(
      VirtqueueFault,
    );
    expect(() => backend.handle(0, { head: 0, readable: [header(T.IN, 0)], writable: [] }, negotiated)).toThrow(
      VirtqueueFault,
    );
  });

  it("is charged with its data, read or written, and with nothing else", () => {
    const limit = new RateLimit({ bytesPerSecond: 1000, burstSeconds: 0.1 }, () => 0);
    const disk = new MemoryDisk(SECTORS * SECTOR_BYTES);
    const backend = new BlockBackend({ disk, serial: "", onFailure() {}, limit });
    const none = { has: () => false };
    const status = new Uint8Array(1);
    const sector = new Uint8Array(512);
    backend.handle(0, { head: 0, readable: [header(T.FLUSH, 0)], writable: [status] }, none);
    expect(limit.waitNs()).toBe(0);
    backend.handle(0, { head: 0, readable: [header(T.IN, 0)], writable: [sector, status] }, none);
    expect(limit.waitNs()).toBe(413e6);
    backend.handle(0, { head: 0, readable: [header(T.OUT, 0), sector], writable: [status] }, none);
    expect(limit.waitNs()).toBe(925e6);
  });

  it("among many is answered like one by itself, whatever it asks", () => {
    const path = scratch("many.raw");
    writeFileSync(path, new Uint8Array(SECTORS * SECTOR_BYTES));
    const disk = openDisk(path);
    using memory = GuestMemory.create({ sizeBytes: 2 ** 20 });
    const backend = new BlockBackend({ disk, serial: "many", onFailure() {} });
    const single = new BlockBackend({ disk, serial: "many", onFailure() {} });
    const negotiated = { has: (feature: number) => feature === BLOCK_FEATURE.FLUSH };
    const kind = fc.constantFrom(T.IN, T.IN, T.IN, T.OUT, T.FLUSH, T.GET_ID, 99);
    const one = fc.record({ type: kind, sector: fc.nat(SECTORS + 2), odd: fc.boolean() });
    fc.assert(
      fc.property(fc.array(one, { minLength: 2, maxLength: 64 }), (list) => {
        const chains = list.map(({ type, sector, odd }, head) => {
          const at = 4096 * head;
          const bytes = memory.bytes.subarray(at, at + 1024);
          memory.bytes.set(header(type, sector), at + 2048);
          const status = memory.bytes.subarray(at + 3000, at + 3001);
          const first = memory.bytes.subarray(at + 2048, at + 2064);
          if (type === T.OUT) return { head, readable: [first, bytes.fill(sector)], writable: [status] };
          const data = odd ? [bytes.subarray(0, 100), bytes.subarray(100)] : [bytes];
          return { head, readable: [first], writable: type === T.FLUSH ? [status] : [...data, status] };
        });
        const written = new Map<number, number>();
        const outcome = (chain: (typeof chains)[number]) => [written.get(chain.head), chain.writable.at(-1)![0]];
        backend.handleAll(0, chains, negotiated, ({ head }, length) => written.set(head, length));
        const together = chains.map(outcome);
        for (const chain of chains) written.set(chain.head, single.handle(0, chain, negotiated));
        expect(together).toEqual(chains.map(outcome));
      }),
    );
    disk.close();
  });
});
