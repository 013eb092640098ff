import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KvmError } from "./error.js";
import { PitState2, Regs, Run, Sregs, VcpuEvents } from "./generated/layouts.js";

describe("struct views", () => {
  it("write through to the bytes they lie over", () => {
    const bytes = new Uint8Array(Regs.sizeBytes);
    const regs = new Regs(bytes);
    regs.rip = 0x1122334455667788n;
    expect(new DataView(bytes.buffer).getBigUint64(128, true)).toBe(0x1122334455667788n);
    new DataView(bytes.buffer).setBigUint64(0, 7n, true);
    expect(regs.rax).toBe(7n);
  });

  it("reach parts, arrays and members of inner structs", () => {
    const sregs = Sregs.from({
      cs: { base: 0x10000, selector: 0x1000, db: 1 },
      cr0: 1n,
      interruptBitmap: [1n, 0n, 0n, 8n],
    });
    expect(sregs.cs.toObject()).toMatchObject({ base: 0x10000n, selector: 0x1000, db: 1 });
    expect(Array.from(sregs.interruptBitmap)).toEqual([1n, 0n, 0n, 8n]);
    expect(VcpuEvents.from({ nmiPending: 1 }).bytes.indexOf(1)).toBe(13);
    const pit = PitState2.from({ channels: [{ count: 1 }, { count: 2 }, { count: 3 }] });
    expect(pit.channels.map((c) => c.count)).toEqual([1, 2, 3]);
    expect(Run.from({ syncRegs: { regs: { rip: 5 } } }).syncRegs.regs.rip).toBe(5n);
  });

  it("take numbers where 64 bits are meant and refuse fields that are not there", () => {
    expect(Regs.from({ rip: 0x1000, rflags: 2n }).toObject()).toMatchObject({ rip: 0x1000n, rflags: 2n, rax: 0n });
    expect(() => Regs.from({ eip: 1 } as never)).toThrow(TypeError);
    expect(() => Regs.from({ rip: "1" as never })).toThrow(TypeError);
    for (const rip of [1.5, -1, 2n ** 64n, Number.NaN]) expect(() => Regs.from({ rip }), `${rip}`).toThrow(KvmError);
    expect(() => Sregs.from({ cs: { selector: 65536 } })).toThrow(/Segment.selector: 65536 does not fit/);
    expect(() => Sregs.from({ interruptBitmap: [1, 2, 3, 4, 5] })).toThrow(/5 values for 4 places/);
    expect(() => Sregs.from({ interruptBitmap: 5 as never })).toThrow(TypeError);
  });

  it("refuse bytes that are too short and cut those that are too long", () => {
    expect(() => new Regs(new Uint8Array(Regs.sizeBytes - 1))).toThrow(/Regs: it is 144 bytes, not 143/);
    expect(new Regs(new Uint8Array(Regs.sizeBytes + 9)).bytes.length).toBe(Regs.sizeBytes);
  });

  it("clone to independent bytes", () => {
    const regs = Regs.from({ rax: 1 });
    const copy = regs.clone();
    copy.rax = 2n;
    expect(regs.rax).toBe(1n);
  });

  it("give back whatever bytes they are given, field by field", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: Sregs.sizeBytes, maxLength: Sregs.sizeBytes }), (bytes) => {
        const original = new Sregs(bytes.slice());
        const copy = Sregs.from(original.toObject() as never);
        expect(copy.toObject()).toEqual(original.toObject());
      }),
    );
  });
});
