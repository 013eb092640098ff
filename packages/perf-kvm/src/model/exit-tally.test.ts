import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EVENT, EventColumns, EventDecoder } from "../columns/events.js";
import type { SourceRow } from "../sources/source.js";
import { type EventName, FORMATS, Records } from "../testing.js";
import { ExitTally } from "./exit-tally.js";
import { RipBudget } from "./rip-tally.js";

const decoder = new EventDecoder(FORMATS);

function tallyOf(records: Records, tally = new ExitTally()): ExitTally {
  const columns = new EventColumns(10_000, { hasRip: true });
  const view = records.view();
  decoder.decode(view, 0, view.byteLength, columns);
  tally.consume(columns);
  return tally;
}

const SVM_CPUID = { exit_reason: 0x72, isa: 2 };
const SVM_HLT = { exit_reason: 0x78, isa: 2 };
const svmIo = (port: number, isIn = false) => ({
  exit_reason: 0x7b,
  isa: 2,
  info1: port * 2 ** 16 + 0x10 + (isIn ? 1 : 0),
});

const detailed = () => new ExitTally(undefined, { details: new RipBudget() });

const brief = ({ reason, detail, count }: SourceRow) => `${count} ${reason} ${detail}`.trim();

/** 3000 exits that are all different. */
function everyKind(values: (n: number) => Record<string, number>): Records {
  const records = new Records();
  for (let n = 0; n < 3000; n++) records.sample("kvm_exit", 0, values(n)).sample("kvm_entry", 1);
  return records;
}

describe("exits of a vCPU", () => {
  it("last from kvm_exit to kvm_entry", () => {
    const records = new Records();
    for (const [exit, entry] of [
      [1000, 1500],
      [2000, 2100],
      [3000, 5000],
    ] as const) {
      records.sample("kvm_exit", exit, SVM_CPUID).sample("kvm_entry", entry);
    }
    const [row] = ExitTally.rows([tallyOf(records)]);
    expect(row).toMatchObject({ source: "kvm_exit", reason: "CPUID", detail: "", count: 3, spentNs: 2600 });
    expect(row!.away).toMatchObject({ count: 3, minNs: 100, maxNs: 2000, sumNs: 2600 });
  });

  it("that are too short are left out", () => {
    const records = new Records();
    for (const ns of [99, 100, 101]) records.sample("kvm_exit", 0, SVM_CPUID).sample("kvm_entry", ns);
    const tally = new ExitTally();
    tally.overNs = 100;
    expect(ExitTally.rows([tallyOf(records, tally)])).toMatchObject([{ count: 2, spentNs: 201 }]);
  });

  it("have the address that another event tells, and are left out without one", () => {
    const npf = { exit_reason: 0x400, isa: 2 };
    const records = new Records()
      .sample("kvm_mmio", 0, { type: 2, gpa: 0x1000 })
      .sample("kvm_exit", 10, npf)
      .sample("kvm_mmio", 11, { type: 2, gpa: 0xfe00_0050 })
      .sample("kvm_entry", 20)
      .sample("kvm_exit", 30, npf)
      .sample("kvm_entry", 40)
      .sample("kvm_exit", 50, npf)
      .sample("kvm_mmio", 51, { type: 0, gpa: 0xfe00_0000 })
      .sample("kvm_mmio", 52, { type: 1, gpa: 0xfe00_0000 })
      .sample("kvm_entry", 60);
    const tally = detailed();
    tally.detailEvent = EVENT.MMIO;
    const rows = ExitTally.rows([tallyOf(records, tally)]);
    expect(rows.map(brief)).toEqual(["1 NPF 0xfe000050 out", "1 NPF 0xfe000000 in"]);
    expect(ExitTally.rows([tally])).toEqual([]);
  });

  it("have addresses up to a bound, and are other beyond it", () => {
    const records = new Records();
    for (let n = 0; n < 1000; n++) {
      records.sample("kvm_exit", 0, { exit_reason: 0x7c, isa: 2, info1: 1 });
      records.sample("kvm_msr", 0, { write: 1, ecx: n }).sample("kvm_entry", 1);
    }
    const tally = detailed();
    tally.detailEvent = EVENT.MSR;
    const rows = ExitTally.rows([tallyOf(records, tally)]);
    expect(rows.length).toBeLessThan(300);
    expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(1000);
    expect(brief(rows[0]!)).toBe("1 MSR 0x0 out");
  });

  it("have what other events say of them: register, leaf, memory, device or how a halt ended", () => {
    const msr = { exit_reason: 0x7c, isa: 2, info1: 1 };
    const npf = { exit_reason: 0x400, isa: 2 };
    const records = new Records();
    let now = 0;
    const exit = (values: Record<string, number>, ...told: [EventName, Record<string, number>][]) => {
      records.sample("kvm_exit", ++now, values);
      for (const [name, each] of told) records.sample(name, ++now, each);
      records.sample("kvm_entry", ++now);
    };
    exit(msr, ["kvm_msr", { write: 1, ecx: 0x6e0 }]);
    exit(msr);
    exit(SVM_CPUID, ["kvm_cpuid", { function: 0x4000_0000 }]);
    exit(npf, ["kvm_page_fault", { fault_address: 0x12_3456_7000 }]);
    exit(npf, ["kvm_page_fault", { fault_address: 0x12_3457_f000 }]);
    exit(
      npf,
      ["kvm_page_fault", { fault_address: 0xfe00_0000 }],
      ["kvm_mmio", { type: 0, gpa: 0xfe00_0010 }],
      ["kvm_mmio", { type: 1, gpa: 0xfe00_0010 }],
    );
    exit(SVM_HLT, ["kvm_vcpu_wakeup", { ns: 700, waited: 0 }]);
    exit(SVM_HLT, ["kvm_vcpu_wakeup", { ns: 90_000, waited: 1 }]);
    const tally = tallyOf(records, detailed());
    expect(ExitTally.rows([tally]).map(brief).sort()).toEqual([
      "1 CPUID leaf 0x40000000",
      "1 HLT polled",
      "1 HLT slept",
      "1 MSR 0x6e0 out",
      "1 MSR write",
      "1 NPF 0xfe000010 in",
      "2 NPF 0x1234400000+2M",
    ]);
    expect(tally.takeTimes(30)).toEqual({ guestNs: 7 + 5, polledNs: 700, sleptNs: 90_000 });
    expect(tally.takeTimes(30)).toEqual({ guestNs: 0, polledNs: 0, sleptNs: 0 });
    expect(ExitTally.rows([tallyOf(records)]).map(brief)).toContain("3 NPF");
  });

  it("by faults on guest memory have 64 regions at most", () => {
    const records = new Records();
    for (let n = 0; n < 200; n++) {
      records.sample("kvm_exit", 0, { exit_reason: 0x400, isa: 2 });
      records.sample("kvm_page_fault", 0, { fault_address: n * 2 ** 21 }).sample("kvm_entry", 1);
    }
    const rows = ExitTally.rows([tallyOf(records, detailed())]);
    expect(rows).toHaveLength(65);
    expect(rows.find(({ detail }) => detail === "other")!.count).toBe(200 - 64);
  });

  it("of a halted vCPU account for no time that was only waited", () => {
    const records = new Records();
    records.sample("kvm_exit", 1000, { ...SVM_HLT, guest_rip: 1 });
    records.sample("kvm_vcpu_wakeup", 91_000, { ns: 89_000, waited: 1 }).sample("kvm_entry", 92_000);
    const tally = tallyOf(records, detailed());
    expect(tally.byReason(0)).toMatchObject([{ reason: "HLT", spentNs: 2000, away: { sumNs: 91_000 } }]);
    expect(ExitTally.rips([tally])).toMatchObject([{ spentNs: expect.closeTo(2000, 6), away: { sumNs: 91_000 } }]);
    expect(ExitTally.rows([tally])).toMatchObject([{ detail: "slept", spentNs: 2000, away: { sumNs: 91_000 } }]);
    expect(ExitTally.rows([tallyOf(records)])).toMatchObject([{ detail: "", spentNs: 91_000 }]);
  });

  it("are told apart by the guest's instruction, up to a bound", () => {
    const kernel = 0xffff_ffff_8100_0123n;
    const records = new Records();
    const at = (rip: bigint) => records.sample("kvm_exit", 0, { ...SVM_CPUID, guest_rip: rip }).sample("kvm_entry", 10);
    at(0x10_0042n)
      .sample("kvm_exit", 0, { ...SVM_HLT, guest_rip: 0x10_0042n })
      .sample("kvm_entry", 30);
    at(kernel);
    at(kernel);
    const budget = new RipBudget();
    const tallies = [1, 2].map(() => tallyOf(records, new ExitTally(undefined, { details: budget })));
    const rips = ExitTally.rips(tallies);
    expect(
      rips.map(({ rip, ...row }) => `${rip! < 0} ${BigInt.asUintN(64, BigInt(rip!)).toString(16)} ${brief(row)}`),
    ).toEqual(["false 100042 2 CPUID", "true ffffffff81000123 4 CPUID", "false 100042 2 HLT"]);
    expect(rips[1]!.away).toMatchObject({ count: 4, sumNs: 40 });
    expect(ExitTally.rips(tallies)).toEqual([]);

    const many = new Records();
    for (let n = 0; n < 1000; n++) many.sample("kvm_exit", 0, { ...SVM_CPUID, guest_rip: n }).sample("kvm_entry", 1);
    for (let round = 0; round < 3; round++) {
      const rows = ExitTally.rips([tallyOf(many, tallies[0])]);
      expect(rows).toHaveLength(257);
      expect(rows.find(({ rip }) => Number.isNaN(rip))!.count).toBe(1000 - 256);
    }
  });

  it("are kept apart by port and direction", () => {
    const records = new Records();
    for (const values of [svmIo(0x3f8), svmIo(0x3f8), svmIo(0x3f8, true), svmIo(0x70)]) {
      records.sample("kvm_exit", 0, values).sample("kvm_entry", 1);
    }
    expect(ExitTally.rows([tallyOf(records)]).map(brief)).toEqual([
      "2 IOIO 0x3f8 out",
      "1 IOIO 0x3f8 in",
      "1 IOIO 0x70 out",
    ]);
  });

  it("are one kind, however many addresses their exit information names", () => {
    const records = new Records();
    for (let page = 0; page < 100; page++) {
      records.sample("kvm_exit", 0, { exit_reason: 0x400, isa: 2, info1: page * 4096 }).sample("kvm_entry", 1);
    }
    expect(ExitTally.rows([tallyOf(records)]).map(brief)).toEqual(["100 NPF"]);
  });

  it("count when the guest has been entered again, also in a later batch", () => {
    const tally = tallyOf(new Records().sample("kvm_exit", 10, SVM_HLT));
    expect(ExitTally.rows([tally])).toEqual([]);
    tallyOf(new Records().sample("kvm_entry", 25), tally);
    expect(ExitTally.rows([tally])).toMatchObject([{ reason: "HLT", count: 1, spentNs: 15 }]);
    expect(ExitTally.rows([tally])).toEqual([]);
  });

  it("never take a negative time, and an entry without an exit is none", () => {
    const records = new Records().sample("kvm_entry", 1).sample("kvm_exit", 10, SVM_HLT).sample("kvm_entry", 9);
    expect(ExitTally.rows([tallyOf(records)])).toMatchObject([{ count: 1, spentNs: 0 }]);
  });

  it("of several vCPUs are added up", () => {
    const one = () => tallyOf(new Records().sample("kvm_exit", 0, SVM_HLT).sample("kvm_entry", 5));
    expect(ExitTally.rows([one(), one(), one()])).toMatchObject([{ reason: "HLT", count: 3, spentNs: 15 }]);
  });

  it("take no memory without bound when a guest goes through every port, or a file claims every reason", () => {
    const ports = tallyOf(everyKind((n) => svmIo(n)));
    expect(ExitTally.rows([ports])).toHaveLength(256 + 1);
    const reasons = tallyOf(everyKind((n) => ({ exit_reason: 0x1000 + n, isa: 2 })));
    const rows = ExitTally.rows([reasons]);
    expect(rows).toHaveLength(512 + 1);
    expect(rows.at(-1)).toMatchObject({ reason: "OTHER", count: 3000 - 512 });
  });

  it("are as many as there are exits with an entry after them, in any order of events and batches", () => {
    const step = fc.constantFrom("exit", "entry", "collect");
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const tally = new ExitTally();
        let [time, expected, pending, counted] = [0, 0, false, 0];
        const count = () => {
          for (const row of ExitTally.rows([tally])) counted += row.count;
        };
        for (const each of steps) {
          if (each === "collect") count();
          else
            tallyOf(
              each === "exit"
                ? new Records().sample("kvm_exit", ++time, SVM_HLT)
                : new Records().sample("kvm_entry", ++time),
              tally,
            );
          if (each === "exit") pending = true;
          if (each === "entry") {
            if (pending) expected++;
            pending = false;
          }
        }
        count();
        expect(counted).toBe(expected);
      }),
    );
  });
});
