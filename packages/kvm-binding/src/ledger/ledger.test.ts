import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as b from "../index.js";
import { exited, hasKvm, inWorker, NEEDS_KVM, nextMessage, realModeGuest } from "../testing.js";

const { ExitLedger, GuestMemory, HEADER, KvmError } = b;

const slots: b.LedgerSlot[] = [
  { reason: b.KVM_EXIT_IO, direction: 2, detail: 0x3f8, device: "serial16550" },
  {
    reason: b.KVM_EXIT_MMIO,
    direction: 1,
    detail: 0xfee00000n,
    device: "größer als einunddreißig Byte ist dieser Name",
  },
];

const path = (ledger: b.ExitLedger) => `/proc/self/fd/${ledger.memory.fd}`;

describe("the exit ledger's layout", () => {
  it("is what the header says, byte for byte", () => {
    using ledger = ExitLedger.create({ machineName: "demo", vcpuIds: [0, 7], slots });
    const file = readFileSync(path(ledger));
    expect(file.subarray(0, 8).toString()).toBe("KVMLEDG1");
    expect(
      ["version", "headerBytes", "pid", "vcpuCount", "slotCount", "slotBytes"].map((name) =>
        file.readUInt32LE(HEADER[name as "version"]),
      ),
    ).toEqual([1, 4096, process.pid, 2, 66, 64 + 2 * 1984 * 8]);
    expect([file.readUInt32LE(36), file.readUInt32LE(40), file.readUInt32LE(44)]).toEqual([6, 1984, 1]);
    expect(file.subarray(48, 53).toString()).toBe("demo\0");
    expect(file.readUInt32LE(HEADER.slotTableOffset)).toBe(4096);
    const entry = 4096 + 64 * 64;
    expect([file.readUInt32LE(entry), file.readUInt32LE(entry + 4), file.readBigUInt64LE(entry + 8)]).toEqual([
      b.KVM_EXIT_IO,
      2,
      0x3f8n,
    ]);
    expect(file.subarray(entry + 16, entry + 28).toString()).toBe("serial16550\0");
    const second = Number(file.readBigUInt64LE(HEADER.vcpuOffset)) + file.readUInt32LE(HEADER.vcpuBlockBytes);
    expect(second % 4096).toBe(0);
    expect(file.readUInt32LE(second)).toBe(7);
    expect(file.length).toBe(ledger.layout.sizeBytes);
  });

  it("cuts long names at a whole character", () => {
    using ledger = ExitLedger.create({ machineName: "ü".repeat(100), vcpuIds: [0], slots });
    expect(ledger.snapshot().machineName).toBe("ü".repeat(31));
  });

  it("costs only what is touched", () => {
    using ledger = ExitLedger.create({
      machineName: "m",
      vcpuIds: Array.from({ length: 64 }, (_, i) => i),
      slots: Array(200).fill(slots[0]),
    });
    expect(ledger.layout.sizeBytes).toBeGreaterThan(500e6);
    ledger.snapshot(); // looking must not touch either
    const blocks = Number(
      execFileSync("stat", ["-L", "-c", "%b", `/proc/${process.pid}/fd/${ledger.memory.fd}`], { encoding: "utf8" }),
    );
    expect(blocks * 512).toBeLessThan(1e6);
  });

  it("refuses no vCPUs, too many, and too many slots", () => {
    expect(() => ExitLedger.create({ machineName: "m", vcpuIds: [] })).toThrow(KvmError);
    expect(() => ExitLedger.create({ machineName: "m", vcpuIds: Array(5000).fill(0) })).toThrow(/4096/);
    expect(() => ExitLedger.create({ machineName: "m", vcpuIds: [0], slots: Array(20000).fill(slots[0]) })).toThrow(
      /16384/,
    );
  });
});

describe("reading a ledger", () => {
  it("finds it in a process by its name, once, however often it is open", () => {
    using ledger = ExitLedger.create({ machineName: "found", vcpuIds: [3] });
    using _again = ExitLedger.attach(ledger.share());
    const [reader, ...others] = ExitLedger.openPid(process.pid);
    expect(others).toEqual([]);
    expect(reader!.snapshot()).toMatchObject({
      machineName: "found",
      pid: process.pid,
      vcpus: [{ id: 3, state: 0, slots: [] }],
    });
    expect(() => reader!.memory).toThrow(/for reading/);
    reader!.close();
    reader!.close();
    expect(() => reader!.snapshot()).toThrow(/closed/);
    expect(ExitLedger.openPid(2 ** 22 + 1)).toEqual([]);
  });

  it("refuses files that are no sealed memory", () => {
    expect(() => ExitLedger.open("/dev/zero")).toThrow(/not a memory file sealed/);
    expect(() => ExitLedger.open("/etc/passwd")).toThrow(/not a memory file sealed/);
    expect(() => ExitLedger.open("/no/such/file")).toThrow(/ENOENT/);
    using memory = GuestMemory.create({ sizeBytes: 4096 });
    expect(() => ExitLedger.open(`/proc/self/fd/${memory.fd}`)).toThrow(/magic is missing/);
  });

  it("says which header field is wrong", () => {
    using ledger = ExitLedger.create({ machineName: "m", vcpuIds: [0] });
    const view = new DataView(ledger.memory.bytes.buffer, ledger.memory.bytes.byteOffset);
    for (const [name, value, message] of [
      ["version", 2, /version is 2, not 1/],
      ["slotBytes", 8, /slotBytes is 8/],
      ["bucketCount", 0xffffffff, /bucketCount/],
      ["vcpuCount", 4096, /bytes, but its vCPUs and slots need/],
      ["vcpuCount", 0xffffffff, /vCPUs: 1 to/],
      ["slotCount", 63, /slots: 64 to/],
      ["vcpuBlockBytes", 0, /vcpuBlockBytes/],
      ["slotTableOffset", 0xfffff000, /slotTableOffset/],
    ] as const) {
      const kept = view.getUint32(HEADER[name], true);
      view.setUint32(HEADER[name], value, true);
      expect(() => ExitLedger.open(path(ledger)), name).toThrow(message);
      view.setUint32(HEADER[name], kept, true);
    }
    ExitLedger.open(path(ledger)).close();
  });

  it("never crashes and never throws anything but KvmError, whatever a hostile file says", () => {
    using ledger = ExitLedger.create({ machineName: "m", vcpuIds: [0], slots });
    const { bytes } = ledger.memory;
    const head = bytes.slice(0, 4096 + 66 * 64);
    const block = ledger.layout.vcpuBlockOffset(0);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 140 }), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
        fc.array(fc.tuple(fc.integer({ min: 0, max: 4096 + 64 * 3 }), fc.integer({ min: 0, max: 255 })), {
          maxLength: 20,
        }),
        fc.uint8Array({ minLength: 64, maxLength: 64 }),
        (headerDamage, blockDamage, entry) => {
          bytes.set(head);
          for (const [at, value] of headerDamage) bytes[at] = value;
          for (const [at, value] of blockDamage) bytes[block + at] = value;
          bytes.set(entry, 4096);
          try {
            const reader = ExitLedger.open(path(ledger));
            reader.snapshot();
            reader.close();
          } catch (error) {
            expect(error).toBeInstanceOf(KvmError);
            expect((error as b.KvmError).code).toBe("INVALID");
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe.skipIf(!hasKvm)(`accounting${NEEDS_KVM}`, () => {
  it("counts exits by what the handler said they were, with their times", () => {
    using guest = realModeGuest([0xe6, 0x10, 0xeb, 0xfc]); // out 0x10, al; jmp back
    using ledger = ExitLedger.create({ machineName: "m", vcpuIds: [0], slots });
    guest.vcpu.useLedger(ledger, 0);
    const slot = ledger.currentSlot(0);
    const EXITS = 400;
    const started = b.monotonicNs();
    for (let i = 0; i < EXITS; i++) {
      expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
      expect(slot[0]).toBe(b.KVM_EXIT_IO);
      if (i % 4 === 0) slot[0] = 64;
    }
    guest.vcpu.useLedger(null);
    const elapsed = b.monotonicNs() - started;
    const [vcpu] = ledger.snapshot().vcpus;
    expect(vcpu!.slots.map(({ slot, reason, device, count }) => ({ slot, reason, device, count }))).toEqual([
      { slot: b.KVM_EXIT_IO, reason: b.KVM_EXIT_IO, device: "", count: 300 },
      { slot: 64, reason: b.KVM_EXIT_IO, device: "serial16550", count: 100 },
    ]);
    let total = 0;
    for (const s of vcpu!.slots) {
      expect(s.kernelHistogram.reduce((a, x) => a + x)).toBe(s.count);
      expect(s.handlerHistogram.reduce((a, x) => a + x)).toBe(s.count);
      expect(s.minKernelNs).toBeGreaterThan(500);
      expect(s.minKernelNs).toBeLessThanOrEqual(s.kernelNs / s.count);
      expect(s.maxKernelNs).toBeGreaterThanOrEqual(s.kernelNs / s.count);
      expect(b.percentileNs(s.kernelHistogram, 0)).toBeGreaterThanOrEqual(s.minKernelNs * 0.99);
      expect(b.percentileNs(s.kernelHistogram, 100)).toBeLessThanOrEqual(s.maxKernelNs * 1.01);
      total += s.kernelNs + s.handlerNs;
    }
    expect(total).toBeGreaterThan(elapsed * 0.8); // nothing between two exits is lost
    expect(total).toBeLessThanOrEqual(elapsed * 1.001);
    expect(vcpu!.tid).toBeGreaterThan(0);
    expect(vcpu!.lastEnterNs).toBeGreaterThan(started - 1e6);
    expect(vcpu!.lastExitNs).toBeLessThan(started + elapsed + 1e6);
  });

  it("puts kicks into the slot of interrupts, and wild slot numbers into 'other'", () => {
    using guest = realModeGuest([0xe6, 0x10, 0xeb, 0xfc]);
    using ledger = ExitLedger.create({ machineName: "m", vcpuIds: [0] });
    guest.vcpu.useLedger(ledger, 0);
    guest.vcpu.kick();
    expect(guest.vcpu.run()).toBe(-b.EINTR);
    guest.vcpu.run();
    ledger.currentSlot(0)[0] = -1;
    guest.vcpu.useLedger(null);
    expect(ledger.snapshot().vcpus[0]!.slots.map((s) => [s.slot, s.count])).toEqual([
      [b.KVM_EXIT_INTR, 1],
      [63, 1],
    ]);
  });

  it("shows a running vCPU to another thread: inside the guest or in a handler, and growing", async () => {
    using guest = realModeGuest([0xe6, 0x10, 0xeb, 0xfc]);
    using ledger = ExitLedger.create({ machineName: "m", vcpuIds: [0], slots });
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const worker = inWorker(
      `const v = b.Vcpu.attach(data.vcpu), l = b.ExitLedger.attach(data.ledger); v.useLedger(l, 0);
       const slot = l.currentSlot(0), state = l.vcpuState(0); post("running");
       while (Atomics.load(data.stop, 0) === 0) { v.run(); slot[0] = 64; }
       v.useLedger(null); state[0] = b.LedgerVcpuState.stopped; v.close(); l.close();`,
      { vcpu: guest.vcpu.share(), ledger: ledger.share(), stop },
    );
    const done = exited(worker);
    await nextMessage(worker);
    const reader = ExitLedger.open(path(ledger));
    let last = 0;
    for (let i = 0; i < 20; i++) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      const vcpu = reader.snapshot().vcpus[0]!;
      const count = vcpu.slots.find((s) => s.slot === 64)?.count ?? 0;
      expect(count).toBeGreaterThanOrEqual(last);
      expect([1, 2]).toContain(vcpu.state);
      last = count;
    }
    expect(last).toBeGreaterThan(0);
    Atomics.store(stop, 0, 1);
    await done;
    expect(reader.snapshot().vcpus[0]!.state).toBe(b.LedgerVcpuState.stopped);
    reader.close();
  });

  it("refuses a ledger it cannot write to", () => {
    using guest = realModeGuest([0xf4]);
    using ledger = ExitLedger.create({ machineName: "m", vcpuIds: [0] });
    using reader = ExitLedger.open(path(ledger));
    expect(() => guest.vcpu.useLedger(reader, 0)).toThrow(/for reading/);
    expect(() => guest.vcpu.useLedger(ledger, 1)).toThrow(/vCPU 1 of 1/);
    const gone = ExitLedger.create({ machineName: "m", vcpuIds: [0] });
    guest.vcpu.useLedger(gone, 0);
    gone.close(); // run() keeps what it writes to
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
  });
});
