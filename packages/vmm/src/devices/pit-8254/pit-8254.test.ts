import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { PIT, PORT_B, pit8254 } from "./pit-8254.js";

type Pit = Bench<typeof pit8254.state>;

const MHZ = 1.193182;
const ACCESS = { LATCH: 0, LOW: 1, HIGH: 2, BOTH: 3 } as const;

const control = (counter: number, access: number, mode: number, bcd = 0): number =>
  (counter << 6) | (access << 4) | (mode << 1) | bcd;

function start(bench: Pit, counter: number, mode: number, count: number, bcd = 0): void {
  bench.write(PIT.CONTROL, control(counter, ACCESS.BOTH, mode, bcd));
  bench.write(counter, count & 0xff);
  bench.write(counter, count >> 8);
}

/** Time goes on to the middle of the tick that is `ticks` from now, which is at the beginning of one. */
const tick = (bench: Pit, ticks: number): void => bench.advance(((ticks + 0.01) * 1000) / MHZ);

const readBoth = (bench: Pit, counter: number): number => bench.read(counter) | (bench.read(counter) << 8);

const READ_BACK = { COUNT: 0xd0, STATUS: 0xe0, BOTH: 0xc0 } as const;

function output(bench: Pit, counter: number): number {
  bench.write(PIT.CONTROL, READ_BACK.STATUS | (2 << counter));
  return bench.read(counter) >> 7;
}

/** OUT and count at each of the next `length` ticks. */
function trace(bench: Pit, counter: number, length: number): { out: number; count: number }[] {
  return Array.from({ length }, (_, i) => {
    if (i > 0) bench.advance(1000 / MHZ);
    return { out: output(bench, counter), count: readBoth(bench, counter) };
  });
}

describe("mode 0", () => {
  it("counts down once, raises OUT at zero, and goes on from the top", () => {
    const bench = new Bench(pit8254);
    start(bench, 0, 0, 3);
    tick(bench, 0);
    expect(trace(bench, 0, 5)).toEqual([
      { out: 0, count: 3 },
      { out: 0, count: 2 },
      { out: 0, count: 1 },
      { out: 1, count: 0 },
      { out: 1, count: 0xffff },
    ]);
  });

  it("takes a count of zero for the largest", () => {
    const bench = new Bench(pit8254);
    start(bench, 0, 0, 0);
    tick(bench, 0xffff);
    expect(output(bench, 0)).toBe(0);
    tick(bench, 1);
    expect(output(bench, 0)).toBe(1);
  });

  it("begins anew when a count is written", () => {
    const bench = new Bench(pit8254);
    start(bench, 0, 0, 3);
    tick(bench, 10);
    bench.write(0, 5);
    bench.write(0, 0);
    expect(output(bench, 0)).toBe(0);
    expect(readBoth(bench, 0)).toBe(5);
  });
});

it("mode 2 lowers OUT for one tick in each period", () => {
  const bench = new Bench(pit8254);
  start(bench, 0, 2, 3);
  tick(bench, 0);
  expect(trace(bench, 0, 6)).toEqual([
    { out: 1, count: 3 },
    { out: 1, count: 2 },
    { out: 0, count: 1 },
    { out: 1, count: 3 },
    { out: 1, count: 2 },
    { out: 0, count: 1 },
  ]);
});

describe("mode 3", () => {
  it("is high for one half of an even period, counting by two", () => {
    const bench = new Bench(pit8254);
    start(bench, 0, 3, 4);
    tick(bench, 0);
    expect(trace(bench, 0, 5)).toEqual([
      { out: 1, count: 4 },
      { out: 1, count: 2 },
      { out: 0, count: 4 },
      { out: 0, count: 2 },
      { out: 1, count: 4 },
    ]);
  });

  it("is high for the longer half of an odd one", () => {
    const bench = new Bench(pit8254);
    start(bench, 0, 3, 5);
    tick(bench, 0);
    expect(trace(bench, 0, 6)).toEqual([
      { out: 1, count: 4 },
      { out: 1, count: 2 },
      { out: 1, count: 0 },
      { out: 0, count: 4 },
      { out: 0, count: 2 },
      { out: 1, count: 4 },
    ]);
  });
});

it("mode 4 lowers OUT for the one tick at zero", () => {
  const bench = new Bench(pit8254);
  start(bench, 1, 4, 2);
  tick(bench, 0);
  expect(trace(bench, 1, 4).map(({ out }) => out)).toEqual([1, 1, 0, 1]);
});

it.each([
  [6, 2],
  [7, 3],
])("mode %i is mode %i", (alias, mode) => {
  const traces = [alias, mode].map((mode) => {
    const bench = new Bench(pit8254);
    start(bench, 0, mode, 6);
    tick(bench, 0);
    return trace(bench, 0, 8);
  });
  expect(traces[0]).toEqual(traces[1]);
});

it("counts in decimal when asked to", () => {
  const bench = new Bench(pit8254);
  start(bench, 0, 0, 0x1000, 1);
  tick(bench, 1);
  expect(readBoth(bench, 0)).toBe(0x0999);
  start(bench, 0, 0, 0, 1);
  tick(bench, 1);
  expect(readBoth(bench, 0)).toBe(0x9999);
});

describe("reading", () => {
  it("of one byte gives the byte that the control word chose", () => {
    const bench = new Bench(pit8254);
    bench.write(PIT.CONTROL, control(0, ACCESS.HIGH, 0));
    bench.write(0, 0x12);
    expect([bench.read(0), bench.read(0)]).toEqual([0x12, 0x12]);
    bench.write(PIT.CONTROL, control(0, ACCESS.LOW, 0));
    bench.write(0, 0x34);
    expect([bench.read(0), bench.read(0)]).toEqual([0x34, 0x34]);
  });

  it("of a latched count gives the count at the time of the latch", () => {
    const bench = new Bench(pit8254);
    start(bench, 0, 2, 0x1234);
    tick(bench, 0x34);
    bench.write(PIT.CONTROL, control(0, ACCESS.LATCH, 0));
    tick(bench, 0x100);
    bench.write(PIT.CONTROL, control(0, ACCESS.LATCH, 0));
    expect(readBoth(bench, 0)).toBe(0x1200);
    expect(readBoth(bench, 0)).toBe(0x1100);
  });

  it("after a read-back gives status first, then the latched count", () => {
    const bench = new Bench(pit8254);
    start(bench, 2, 3, 0x100);
    bench.write(PIT.PORT_B, PORT_B.GATE_2);
    bench.write(PIT.CONTROL, READ_BACK.BOTH | 8);
    expect(bench.read(2)).toBe(0x80 | (ACCESS.BOTH << 4) | (3 << 1));
    expect(readBoth(bench, 2)).toBe(0x100);
  });

  it("after a read-back latches only what the command names, of only those counters", () => {
    const bench = new Bench(pit8254);
    start(bench, 0, 2, 0x1234);
    start(bench, 1, 2, 0x1234);
    bench.write(PIT.CONTROL, READ_BACK.COUNT | 2);
    tick(bench, 0x34);
    expect(readBoth(bench, 0)).toBe(0x1234);
    expect(readBoth(bench, 1)).toBe(0x1200);
    bench.write(PIT.CONTROL, READ_BACK.STATUS | 4);
    tick(bench, 0x100);
    expect(readBoth(bench, 0)).toBe(0x1100);
    expect(bench.read(1) & 0x3f).toBe((ACCESS.BOTH << 4) | (2 << 1));
    expect(readBoth(bench, 1)).toBe(0x1100);
  });

  it("of a status gives the first of two that were latched", () => {
    const bench = new Bench(pit8254);
    start(bench, 0, 0, 10);
    bench.write(PIT.CONTROL, READ_BACK.STATUS | 2);
    tick(bench, 10);
    bench.write(PIT.CONTROL, READ_BACK.STATUS | 2);
    expect(bench.read(0) >> 7).toBe(0);
    expect(output(bench, 0)).toBe(1);
  });

  it("of a status tells access, mode and BCD", () => {
    const bench = new Bench(pit8254);
    bench.write(PIT.CONTROL, control(1, ACCESS.LOW, 5, 1));
    bench.write(1, 9);
    bench.write(PIT.CONTROL, READ_BACK.STATUS | 4);
    expect(bench.read(1)).toBe(0x80 | (ACCESS.LOW << 4) | (5 << 1) | 1);
  });

  it("of a counter that has no count yet gives zero", () => {
    const bench = new Bench(pit8254);
    bench.write(PIT.CONTROL, control(0, ACCESS.BOTH, 2));
    tick(bench, 100);
    expect(readBoth(bench, 0)).toBe(0);
  });

  it("tells by the status that a counter has no count yet", () => {
    const bench = new Bench(pit8254);
    bench.write(PIT.CONTROL, control(0, ACCESS.BOTH, 2));
    bench.write(PIT.CONTROL, READ_BACK.STATUS | 2);
    expect(bench.read(0) & 0x40).toBe(0x40);
  });

  it("of the control word gives ones", () => {
    expect(new Bench(pit8254).read(PIT.CONTROL)).toBe(0xff);
  });
});

describe("port B", () => {
  it("keeps gate and speaker bits and shows OUT of counter 2", () => {
    const bench = new Bench(pit8254);
    bench.write(PIT.PORT_B, 0xff);
    expect(bench.read(PIT.PORT_B) & ~PORT_B.REFRESH).toBe(PORT_B.KEPT);
    start(bench, 2, 0, 100);
    tick(bench, 100);
    expect(bench.read(PIT.PORT_B) & PORT_B.OUT_2).toBe(PORT_B.OUT_2);
  });

  it("toggles its refresh bit every 15 microseconds", () => {
    const bench = new Bench(pit8254);
    let toggles = 0;
    let last = bench.read(PIT.PORT_B);
    for (let i = 0; i < 1000; i++) {
      bench.advance(1000);
      const now = bench.read(PIT.PORT_B);
      if (((now ^ last) & PORT_B.REFRESH) !== 0) toggles++;
      last = now;
    }
    expect(toggles).toBe(66);
  });

  it("stops counter 2 while its gate is low, and lets it go on from there", () => {
    const bench = new Bench(pit8254);
    start(bench, 2, 0, 1000);
    tick(bench, 500);
    expect(readBoth(bench, 2)).toBe(1000);
    bench.write(PIT.PORT_B, PORT_B.GATE_2);
    tick(bench, 300);
    bench.write(PIT.PORT_B, 0);
    tick(bench, 500);
    expect(readBoth(bench, 2)).toBe(700);
    bench.write(PIT.PORT_B, PORT_B.GATE_2);
    tick(bench, 700);
    expect(bench.read(PIT.PORT_B) & PORT_B.OUT_2).toBe(PORT_B.OUT_2);
  });

  it("keeps a count that is written while the gate is low, whatever the one before it had come to", () => {
    const bench = new Bench(pit8254);
    bench.write(PIT.PORT_B, PORT_B.GATE_2);
    start(bench, 2, 0, 1000);
    tick(bench, 300);
    bench.write(PIT.PORT_B, 0);
    start(bench, 2, 0, 500);
    tick(bench, 100);
    expect(readBoth(bench, 2)).toBe(500);
  });

  it("starts a periodic count anew when the gate rises", () => {
    const bench = new Bench(pit8254);
    bench.write(PIT.PORT_B, PORT_B.GATE_2);
    start(bench, 2, 2, 1000);
    tick(bench, 300);
    bench.write(PIT.PORT_B, PORT_B.GATE_2 | PORT_B.SPEAKER);
    expect(readBoth(bench, 2)).toBe(700);
    bench.write(PIT.PORT_B, 0);
    bench.write(PIT.PORT_B, PORT_B.GATE_2);
    expect(readBoth(bench, 2)).toBe(1000);
  });

  it("triggers a one-shot with the gate's rising edge", () => {
    const bench = new Bench(pit8254);
    start(bench, 2, 1, 10);
    expect(output(bench, 2)).toBe(1);
    tick(bench, 50);
    expect(readBoth(bench, 2)).toBe(10);
    bench.write(PIT.PORT_B, PORT_B.GATE_2);
    expect(output(bench, 2)).toBe(0);
    tick(bench, 10);
    expect(output(bench, 2)).toBe(1);
  });
});

it("lets a guest measure time as Linux calibrates its TSC: counter 2, mode 0, waiting for OUT", () => {
  const bench = new Bench(pit8254);
  bench.write(PIT.PORT_B, (bench.read(PIT.PORT_B) & ~PORT_B.SPEAKER) | PORT_B.GATE_2);
  start(bench, 2, 0, 59_659);
  let polls = 0;
  while ((bench.read(PIT.PORT_B) & PORT_B.OUT_2) === 0) {
    bench.advance(10_000);
    polls++;
  }
  // 50 ms in steps of 10 us.
  expect(polls).toBe(5000);
});

it("counts what the time says, for any count and time", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 0xffff }), fc.nat({ max: 1_000_000 }), (count, ticks) => {
      const bench = new Bench(pit8254);
      start(bench, 0, 2, count);
      tick(bench, ticks);
      expect(readBoth(bench, 0)).toBe(count - (ticks % count));
    }),
  );
});

it("survives whatever a guest does", () => exercise(pit8254, 5));
