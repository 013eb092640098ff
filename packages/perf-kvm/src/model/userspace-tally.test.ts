import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EVENT } from "../columns/events.js";
import type { SourceRow } from "../sources/source.js";
import { UserspaceTally } from "./userspace-tally.js";

const IO = 2;
const HLT = 5;
const MMIO = 6;
const RDMSR = 29;
const IN = 0;
const OUT = 1;

const brief = ({ reason, detail, count }: SourceRow) => `${count} ${reason} ${detail}`.trim();

describe("exits to user space", () => {
  it("are named by the write that was traced before them", () => {
    const tally = new UserspaceTally();
    tally.access(EVENT.PIO, OUT, 0xe0);
    tally.exit(IO);
    tally.access(EVENT.MMIO, 2, 0xfeb0_0004);
    tally.exit(MMIO);
    expect(tally.take().map(brief)).toEqual(["1 IO 0xe0 out", "1 MMIO 0xfeb00004 out"]);
  });

  it("of a port read are named by the trace that follows, also one report later", () => {
    const tally = new UserspaceTally();
    tally.access(EVENT.PIO, OUT, 0xe0);
    tally.exit(IO);
    tally.exit(IO);
    expect(tally.take().map(brief)).toEqual(["1 IO 0xe0 out"]);
    tally.access(EVENT.PIO, IN, 0x3fd);
    expect(tally.take().map(brief)).toEqual(["1 IO 0x3fd in"]);
  });

  it("are at the instruction that KVM emulated before them, as are accesses that KVM emulates itself", () => {
    const tally = new UserspaceTally();
    for (const port of [0xe0, 0xe0, 0xe4]) {
      tally.emulates(-0x7eff_ff00);
      tally.access(EVENT.PIO, OUT, port);
      tally.exit(IO);
    }
    tally.emulates(0x10_0000);
    tally.exit(IO);
    tally.access(EVENT.PIO, IN, 0x3fd);
    tally.emulates(0x10_0010);
    tally.exit(HLT);
    tally.emulates(0x10_0020);
    tally.emulated(EVENT.MSR, 1, 0x6e0);
    tally.emulated(EVENT.CPUID, 0, 0x4000_0000);
    expect(tally.rips().map(({ rip, ...row }) => `${rip} ${brief(row)}`)).toEqual([
      "-2130706176 2 IO 0xe0 out",
      "-2130706176 1 IO 0xe4 out",
      "1048576 1 IO 0x3fd in",
      "1048608 1 MSR 0x6e0 out",
    ]);
    expect(tally.byReason().map((row) => `${row.source} ${brief(row)}`)).toEqual([
      "userspace 4 IO",
      "userspace 1 HLT",
      "emulation 1 MSR",
      "emulation 1 CPUID",
    ]);
    expect(tally.take().map(brief)).toContain("1 CPUID leaf 0x40000000");
    expect(tally.rips()).toEqual([]);

    for (let rip = 0; rip < 1000; rip++) {
      tally.emulates(rip);
      tally.emulated(EVENT.MSR, 0, 0x10);
    }
    expect(tally.rips()).toHaveLength(257);
    expect(tally.rips().at(-1)).toMatchObject({ rip: Number.NaN, count: 1000 - 256 });
  });

  it("of a memory read are named once, though it is traced before and after", () => {
    const tally = new UserspaceTally();
    tally.access(EVENT.MMIO, 0, 0xfeb0_0000);
    tally.exit(MMIO);
    tally.access(EVENT.MMIO, 1, 0xfeb0_0000);
    tally.exit(HLT);
    expect(tally.take().map(brief)).toEqual(["1 MMIO 0xfeb00000 in", "1 HLT"]);
  });

  it("have no detail when the kernel traced none", () => {
    const tally = new UserspaceTally();
    tally.access(EVENT.PIO, OUT, 0x70);
    tally.exit(RDMSR);
    tally.exit(MMIO);
    tally.exit(IO);
    tally.exit(HLT); // the trace of the read before was lost
    expect(tally.take().map(brief).sort()).toEqual(["1 HLT", "1 IO", "1 MMIO", "1 X86_RDMSR"]);
  });

  it("are each counted once, whatever comes in between", () => {
    const event = fc.oneof(
      fc.record({ exit: fc.constantFrom(IO, HLT, MMIO, RDMSR) }),
      fc.record({
        access: fc.constantFrom(EVENT.PIO, EVENT.MMIO),
        variant: fc.nat({ max: 3 }),
        address: fc.nat({ max: 3 }),
      }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 200 }), (events) => {
        const tally = new UserspaceTally();
        let exits = 0;
        for (const each of events) {
          if ("exit" in each) {
            tally.exit(each.exit);
            exits++;
          } else tally.access(each.access, each.variant, each.address);
        }
        tally.access(EVENT.PIO, IN, 0); // the read that may still be out
        expect(tally.take().reduce((sum, { count }) => sum + count, 0)).toBe(exits);
      }),
    );
  });

  it("take no memory without bound when a guest goes through every port", () => {
    const tally = new UserspaceTally();
    for (let address = 0; address < 65_536; address++) {
      tally.access(EVENT.PIO, OUT, address);
      tally.exit(IO);
    }
    const rows = tally.take();
    expect(rows.length).toBeLessThanOrEqual(10_001);
    expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(65_536);
  });
});
