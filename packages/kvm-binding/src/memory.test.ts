import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { EAGAIN, GUEST_MEMORY_MAX_BYTES, GuestMemory, KvmError, UnixSocket } from "./index.js";
import { native } from "./load-native.js";
import { exited, inWorker, nextMessage } from "./testing.js";

const folder = mkdtempSync(join(tmpdir(), "kvm-binding-memory-"));
afterAll(() => rmSync(folder, { recursive: true }));

const MIB = 2 ** 20;

/** Of each mapping of a file of that name: how much of it is mapped by huge pages, in KiB (proc_pid_smaps(5)). */
function hugeKib(name: string): number[] {
  const mappings = readFileSync("/proc/self/smaps", "utf8").split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  return mappings
    .filter((text) => text.includes(name))
    .map((text) => Number(/ShmemPmdMapped:\s*(\d+)/.exec(text)?.[1]));
}

describe("guest memory", () => {
  it("is zero, page-aligned, shared, and as long as asked", () => {
    using memory = GuestMemory.create({ sizeBytes: 0x5000 });
    expect(memory.bytes).toHaveLength(0x5000);
    expect(memory.bytes.every((byte) => byte === 0)).toBe(true);
    expect(memory.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(native.memoryMisalignment(memory.bytes, 4096)).toBe(0);
    Atomics.store(new Int32Array(memory.bytes.buffer, memory.bytes.byteOffset, 1), 0, 0x01020304);
    expect(memory.bytes.subarray(0, 4)).toEqual(Uint8Array.of(4, 3, 2, 1));
  });

  it("is a named memfd that another process can read", () => {
    using memory = GuestMemory.create({ sizeBytes: 0x2000, name: "tools-kvm-test-ram" });
    memory.bytes[0x1234] = 0x56;
    expect(readFileSync(`/proc/self/fd/${memory.fd}`)[0x1234]).toBe(0x56);
    expect(readFileSync("/proc/self/maps", "utf8")).toContain("/memfd:tools-kvm-test-ram");
  });

  const noHugePages = /\[never\]/.test(readFileSync("/sys/kernel/mm/transparent_hugepage/enabled", "utf8"));
  const whyNone = noHugePages ? " (skipped: this host's transparent huge pages are switched off)" : "";
  it.skipIf(noHugePages)(`has huge pages where they are wanted, and gives back a small one of them${whyNone}`, () => {
    using memory = GuestMemory.create({ sizeBytes: 8 * MIB, name: "tools-kvm-test-huge", hugePages: true });
    memory.bytes[5 * MIB] = 1;
    memory.bytes[5 * MIB + 4096] = 2;
    expect(hugeKib("tools-kvm-test-huge")).toContain(2048);
    memory.discard(5 * MIB, 4096);
    expect([memory.bytes[5 * MIB], memory.bytes[5 * MIB + 4096]]).toEqual([0, 2]);
  });

  it("is a memfd for a name that no file can have, huge pages or not", () => {
    for (const name of ["..", "a/b", ""]) {
      using memory = GuestMemory.create({ sizeBytes: 4 * MIB, name, hugePages: true });
      memory.bytes[3 * MIB] = 1;
      expect(readlinkSync(`/proc/self/fd/${memory.fd}`)).toBe(`/memfd:${name} (deleted)`);
    }
  });

  it("refuses sizes that are no whole pages, none, negative, or above 4 GiB", () => {
    for (const sizeBytes of [0, 1, 4095, 4097, -4096, 4096.5, Number.NaN, Infinity, GUEST_MEMORY_MAX_BYTES + 4096]) {
      expect(() => GuestMemory.create({ sizeBytes }), `${sizeBytes}`).toThrow(KvmError);
    }
    expect(() => GuestMemory.create({ sizeBytes: "4096" as never })).toThrow(KvmError);
    expect(() => GuestMemory.create({ sizeBytes: 4096, name: "x".repeat(300) })).toThrow(KvmError);
    expect(() => GuestMemory.create({ sizeBytes: 4096, name: "a\0b" })).toThrow(/NUL/);
  });

  const tooSmall = totalmem() <= GUEST_MEMORY_MAX_BYTES;
  const why = tooSmall
    ? " (skipped: Linux promises no process more memory than the machine has, here below 4 GiB)"
    : "";
  it.skipIf(tooSmall)(`can be 4 GiB, of which only what is touched costs anything${why}`, () => {
    using memory = GuestMemory.create({ sizeBytes: GUEST_MEMORY_MAX_BYTES });
    memory.bytes[GUEST_MEMORY_MAX_BYTES - 1] = 9;
    expect(memory.bytes[GUEST_MEMORY_MAX_BYTES - 1]).toBe(9);
  });

  it("reads zeros after the last handle is closed, and crashes nobody", () => {
    const memory = GuestMemory.create({ sizeBytes: 0x4000 });
    const { bytes } = memory;
    bytes.fill(7);
    memory.close();
    memory.close();
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    bytes.fill(8); // plain memory from here on
    expect(bytes[0x3fff]).toBe(8);
  });

  it("is the same memory in a Worker, and stays there when this thread closes its handle", async () => {
    const memory = GuestMemory.create({ sizeBytes: 0x1000 });
    const worker = inWorker(
      `const m = b.GuestMemory.attach(data); m.bytes[1] = 11; post("attached");
       parentPort.once("message", () => { post(m.bytes[2]); m.close(); post(m.bytes[2]); });`,
      memory.share(),
    );
    const done = exited(worker);
    expect(await nextMessage(worker)).toBe("attached");
    expect(memory.bytes[1]).toBe(11);
    memory.bytes[2] = 22;
    memory.close();
    expect(memory.bytes[2]).toBe(22); // the Worker's handle keeps it
    worker.postMessage("go");
    expect([await nextMessage(worker), await nextMessage(worker)]).toEqual([22, 0]);
    await done;
    expect(memory.bytes[2]).toBe(0);
  });

  it("refuses to attach a buffer that it does not belong to", () => {
    using memory = GuestMemory.create({ sizeBytes: 0x1000 });
    const shared = memory.share();
    expect(() => GuestMemory.attach({ ...shared, token: 5 })).toThrow(KvmError);
    expect(() => GuestMemory.attach({ ...shared, buffer: new SharedArrayBuffer(0x3000) })).toThrow(/not the one/);
    expect(() => GuestMemory.attach({ ...shared, sizeBytes: 0x800 })).toThrow(/not the one/);
  });

  it("cannot be shortened under a mapping by whoever has its descriptor", () => {
    using memory = GuestMemory.create({ sizeBytes: 0x2000 });
    const fd = openSync(`/proc/self/fd/${memory.fd}`, "r+");
    expect(() => writeSync(fd, Buffer.alloc(1), 0, 1, 0x2000)).toThrow(/EPERM/);
    closeSync(fd);
    expect(() => writeFileSync(`/proc/self/fd/${memory.fd}`, "", { flag: "w" })).toThrow(/EPERM/);
    expect(memory.bytes[0x1fff]).toBe(0);
  });

  it("gives pages back to the host", () => {
    using memory = GuestMemory.create({ sizeBytes: 0x4000 });
    memory.bytes.fill(5);
    memory.discard(0x1000, 0x2000);
    expect([memory.bytes[0xfff], memory.bytes[0x1000], memory.bytes[0x2fff], memory.bytes[0x3000]]).toEqual([
      5, 0, 0, 5,
    ]);
    expect(() => memory.discard(0x3000, 0x2000)).toThrow(/outside/);
    expect(() => memory.discard(0, 0)).toThrow(KvmError);
  });
});

describe("file transfers", () => {
  it("go straight between a file and any pieces of guest memory", () => {
    using memory = GuestMemory.create({ sizeBytes: 0x4000 });
    const path = join(folder, "disk");
    writeFileSync(path, "0123456789abcdef");
    const fd = openSync(path, "r+");
    expect(memory.preadv(fd, Float64Array.of(0x1000, 4, 0x2000, 6), 2)).toBe(10);
    expect(Buffer.from(memory.bytes.slice(0x1000, 0x1004)).toString()).toBe("2345");
    expect(Buffer.from(memory.bytes.slice(0x2000, 0x2006)).toString()).toBe("6789ab");
    expect(memory.pwritev(fd, Float64Array.of(0x2000, 3, 0x1000, 2), 14n)).toBe(5);
    expect(readFileSync(path, "utf8")).toBe("0123456789abcd67823");
    expect(memory.preadv(fd, Float64Array.of(0, 100), 16)).toBe(3); // the end of the file
    expect(memory.preadv(fd, Float64Array.of(0, 1, 9, 9), 0, 1)).toBe(1); // one pair of two
    closeSync(fd);
    expect(() => memory.preadv(fd, Float64Array.of(0, 1), 0)).toThrow(/preadv failed with EBADF/);
  });

  it("stay inside the memory whatever is asked", () => {
    using memory = GuestMemory.create({ sizeBytes: 0x2000 });
    const fd = openSync("/dev/zero", "r");
    const odd = fc.oneof(
      fc.double(),
      fc.integer({ min: -5000, max: 20000 }),
      fc.constantFrom(0, 0x2000, 2 ** 53, Number.NaN, Infinity, -0),
    );
    fc.assert(
      fc.property(odd, odd, odd, (offset, length, fileOffset) => {
        const inside = [offset, length].every((n) => Number.isInteger(n) && n >= 0) && offset + length <= 0x2000;
        try {
          const moved = memory.preadv(fd, Float64Array.of(offset, length), fileOffset as number);
          expect(inside).toBe(true);
          expect(moved === length).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(KvmError);
        }
      }),
    );
    expect(() => memory.preadv(fd, Float64Array.of(0, 1), 0, 2)).toThrow(/count is more/);
    expect(() => memory.preadv(fd, new Float64Array(4000), 0)).toThrow(/1024/);
    expect(() => memory.preadv(fd, [0, 1] as never, 0)).toThrow(TypeError);
    closeSync(fd);
  });

  it("work on streams, and say -EAGAIN when there is nothing", () => {
    using memory = GuestMemory.create({ sizeBytes: 0x1000 });
    const [here, there] = UnixSocket.pair();
    expect(memory.readv(here.fd, Float64Array.of(0, 16))).toBe(-EAGAIN);
    there.send(new TextEncoder().encode("frame"));
    expect(memory.readv(here.fd, Float64Array.of(8, 2, 100, 20))).toBe(5);
    expect(Buffer.from(memory.bytes.slice(100, 103)).toString()).toBe("ame");
    expect(memory.writev(here.fd, Float64Array.of(100, 3, 8, 2))).toBe(5);
    const back = new Uint8Array(16);
    expect(there.receive(back)).toBe(5);
    expect(Buffer.from(back.subarray(0, 5)).toString()).toBe("amefr");
    here.close();
    there.close();
  });
});
