import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import {
  endOfInterrupt,
  IOAPIC,
  IOAPIC_PINS,
  IOAPIC_REGISTER,
  ioapic,
  REDIRECTION,
  routedPins,
  setPin,
} from "./ioapic.js";

type Ioapic = Bench<typeof ioapic.state>;

function get(bench: Ioapic, register: number): number {
  bench.write(IOAPIC.IOREGSEL, register, 4);
  return bench.read(IOAPIC.IOWIN, 4);
}

function set(bench: Ioapic, register: number, value: number): void {
  bench.write(IOAPIC.IOREGSEL, register, 4);
  bench.write(IOAPIC.IOWIN, value, 4);
}

const lowOf = (pin: number): number => IOAPIC_REGISTER.REDIRECTION + 2 * pin;

function program(bench: Ioapic, pin: number, low: number, destination = 0): void {
  set(bench, lowOf(pin) + 1, (destination << 24) >>> 0);
  set(bench, lowOf(pin), low);
}

const pin = (bench: Ioapic, number: number, level: 0 | 1): void => setPin(bench.state, number, level, bench.port);
const eoi = (bench: Ioapic, vector: number): void => endOfInterrupt(bench.state, vector, bench.port);
const isPending = (bench: Ioapic, pin: number): boolean => (get(bench, lowOf(pin)) & REDIRECTION.REMOTE_IRR) !== 0;

const LOWEST_PRIORITY = 1 << 8;
const ioapicState = (bench: Ioapic) => bench.device.layout.stateType.save(bench.state);

const SMI = 2 << 8;
const NMI = 4 << 8;

describe("an edge-triggered pin", () => {
  it("sends one message for each rise", () => {
    const bench = new Bench(ioapic);
    program(bench, 4, 0x31, 2);
    pin(bench, 4, 1);
    pin(bench, 4, 1);
    pin(bench, 4, 0);
    pin(bench, 4, 1);
    expect(bench.port.msis).toEqual([
      { address: 0xfee0_2000, data: 0x31 },
      { address: 0xfee0_2000, data: 0x31 },
    ]);
  });

  it("loses an edge while it is masked", () => {
    const bench = new Bench(ioapic);
    program(bench, 4, 0x31 | REDIRECTION.MASKED);
    pin(bench, 4, 1);
    program(bench, 4, 0x31);
    expect(bench.port.msis).toEqual([]);
  });
});

describe("a level-triggered pin", () => {
  it("sends one message and waits for its end, then sends again while it is asserted", () => {
    const bench = new Bench(ioapic);
    program(bench, 9, 0x42 | REDIRECTION.LEVEL);
    pin(bench, 9, 1);
    pin(bench, 9, 0);
    pin(bench, 9, 1);
    expect(bench.port.msis).toEqual([{ address: 0xfee0_0000, data: 0xc042 }]);
    expect(isPending(bench, 9)).toBe(true);
    eoi(bench, 0x42);
    expect(bench.port.msis).toHaveLength(2);
    pin(bench, 9, 0);
    eoi(bench, 0x42);
    expect(bench.port.msis).toHaveLength(2);
    expect(isPending(bench, 9)).toBe(false);
  });

  it("sends when it is unmasked while asserted", () => {
    const bench = new Bench(ioapic);
    program(bench, 9, 0x42 | REDIRECTION.LEVEL | REDIRECTION.MASKED);
    pin(bench, 9, 1);
    expect(bench.port.msis).toEqual([]);
    program(bench, 9, 0x42 | REDIRECTION.LEVEL);
    expect(bench.port.msis).toHaveLength(1);
  });

  it("is not ended by another vector, and ended by the EOI register too", () => {
    const bench = new Bench(ioapic);
    program(bench, 9, 0x42 | REDIRECTION.LEVEL);
    pin(bench, 9, 1);
    pin(bench, 9, 0);
    eoi(bench, 0x43);
    expect(isPending(bench, 9)).toBe(true);
    bench.write(IOAPIC.EOI, 0x42, 4);
    expect(isPending(bench, 9)).toBe(false);
  });

  it("shares a vector with another: its end ends both", () => {
    const bench = new Bench(ioapic);
    for (const number of [10, 11]) {
      program(bench, number, 0x42 | REDIRECTION.LEVEL);
      pin(bench, number, 1);
      pin(bench, number, 0);
    }
    eoi(bench, 0x42);
    expect([isPending(bench, 10), isPending(bench, 11)]).toEqual([false, false]);
  });

  it("forgets that it waits when it is programmed as an edge", () => {
    const bench = new Bench(ioapic);
    program(bench, 9, 0x42 | REDIRECTION.LEVEL);
    pin(bench, 9, 1);
    pin(bench, 9, 0);
    set(bench, lowOf(9), 0x42 | REDIRECTION.MASKED);
    set(bench, lowOf(9), 0x42 | REDIRECTION.LEVEL);
    expect(isPending(bench, 9)).toBe(false);
  });

  it("cannot be made to wait, or not to, by writing the read-only bits", () => {
    const bench = new Bench(ioapic);
    program(bench, 9, 0x42 | REDIRECTION.LEVEL | REDIRECTION.REMOTE_IRR | REDIRECTION.DELIVERY_STATUS);
    expect(get(bench, lowOf(9))).toBe(0x42 | REDIRECTION.LEVEL);
    pin(bench, 9, 1);
    set(bench, lowOf(9), 0x42 | REDIRECTION.LEVEL);
    expect(isPending(bench, 9)).toBe(true);
    expect(bench.port.msis).toHaveLength(1);
  });

  it("is an edge when its delivery mode has no end, as SMI and NMI", () => {
    for (const mode of [SMI, NMI]) {
      const bench = new Bench(ioapic);
      program(bench, 9, mode | REDIRECTION.LEVEL);
      pin(bench, 9, 1);
      expect(bench.port.msis).toEqual([{ address: 0xfee0_0000, data: mode }]);
      expect(isPending(bench, 9)).toBe(false);
    }
  });

  it("is a level when its delivery mode is lowest priority", () => {
    const bench = new Bench(ioapic);
    program(bench, 9, 0x42 | LOWEST_PRIORITY | REDIRECTION.LEVEL);
    pin(bench, 9, 1);
    expect(bench.port.msis).toEqual([{ address: 0xfee0_0008, data: 0xc142 }]);
    expect(isPending(bench, 9)).toBe(true);
  });
});

it("does not care for polarity: a level of 1 means asserted", () => {
  const bench = new Bench(ioapic);
  program(bench, 9, 0x42 | REDIRECTION.LEVEL | REDIRECTION.ACTIVE_LOW);
  expect(bench.port.msis).toEqual([]);
  pin(bench, 9, 1);
  expect(bench.port.msis).toHaveLength(1);
});

it("puts destination, its mode and the lowest-priority hint into the message's address", () => {
  const bench = new Bench(ioapic);
  program(bench, 1, 0x51 | REDIRECTION.LOGICAL_DESTINATION | LOWEST_PRIORITY, 0xff);
  pin(bench, 1, 1);
  expect(bench.port.msis).toEqual([{ address: 0xfeef_f00c, data: 0x151 }]);
});

it("tells the kernel which message an unmasked pin stands for before it sends that message", () => {
  const bench = new Bench(ioapic);
  pin(bench, 9, 1);
  set(bench, lowOf(9) + 1, 0x0100_0000);
  expect(bench.port.routes).toEqual([]);
  set(bench, lowOf(9), 0x42 | REDIRECTION.LEVEL);
  expect(bench.port.routes).toEqual([{ pin: 9, address: 0xfee0_1000, data: 0xc042 }]);
  expect(bench.port.msis).toEqual([{ address: 0xfee0_1000, data: 0xc042 }]);
});

it("does not tell the kernel again what it knows, but does after a reset", () => {
  const bench = new Bench(ioapic);
  const unmask = () => program(bench, 9, 0x42 | REDIRECTION.LEVEL);
  unmask();
  set(bench, lowOf(9), 0x42 | REDIRECTION.LEVEL | REDIRECTION.MASKED);
  unmask();
  expect(bench.port.routes).toHaveLength(1);
  set(bench, lowOf(9) + 1, 0x0200_0000);
  set(bench, lowOf(9), 0x43 | REDIRECTION.LEVEL);
  expect(bench.port.routes.slice(1)).toEqual([
    { pin: 9, address: 0xfee0_2000, data: 0xc042 },
    { pin: 9, address: 0xfee0_2000, data: 0xc043 },
  ]);
  bench.device.reset();
  program(bench, 9, 0x43 | REDIRECTION.LEVEL, 2);
  expect(bench.port.routes).toHaveLength(4);
});

describe("a level-triggered pin whose line goes past the device, as those of PCI functions do", () => {
  const lined = () => {
    const bench = new Bench(ioapic);
    const ended: number[] = [];
    const nothing = (): void => {};
    bench.port.pci = {
      configOf: () => undefined,
      moveWindow: nothing,
      notify: nothing,
      raiseLine: nothing,
      routeVectors: nothing,
      endLine: (gsi) => ended.push(gsi),
    };
    const routed = (pin: number) => routedPins(bench.state).find(({ gsi }) => gsi === pin);
    return { bench, ended, routed };
  };
  const entry = 0x41 | REDIRECTION.LEVEL;

  it("stands for its message while it is not masked, and for none while it is", () => {
    const { bench, ended, routed } = lined();
    program(bench, 16, entry, 1);
    expect(routed(16)).toEqual({ gsi: 16, address: 0xfee0_1000, data: 0xc041 });
    expect(ended).toEqual([16]); // for what came while it was masked
    const before = bench.port.routes.length;
    set(bench, lowOf(16), entry | REDIRECTION.MASKED);
    set(bench, lowOf(16), entry | REDIRECTION.MASKED);
    expect([routed(16), bench.port.routes.length]).toEqual([undefined, before + 1]);
    set(bench, lowOf(16), entry);
    expect([routed(16)?.data, bench.port.routes.length]).toEqual([0xc041, before + 2]);
    expect(ended).toEqual([16, 16]);
  });

  it("has its end passed on, by a local APIC and by the EOI register", () => {
    const { bench, ended } = lined();
    program(bench, 16, entry);
    program(bench, 17, 0x42 | REDIRECTION.LEVEL);
    program(bench, 18, 0x43);
    ended.length = 0;
    eoi(bench, 0x41);
    bench.write(IOAPIC.EOI, 0x42, 4);
    eoi(bench, 0x43); // an edge has none
    set(bench, lowOf(16), entry | REDIRECTION.MASKED);
    eoi(bench, 0x41);
    expect(ended).toEqual([16, 17]);
  });
});

describe("the registers", () => {
  it("tell the number of pins, and after power-on that all are masked", () => {
    const bench = new Bench(ioapic);
    expect(get(bench, IOAPIC_REGISTER.VERSION)).toBe(0x0017_0020);
    for (let i = 0; i < IOAPIC_PINS; i++) expect(get(bench, lowOf(i))).toBe(REDIRECTION.MASKED);
  });

  it("keep an ID of four bits, which the arbitration register repeats", () => {
    const bench = new Bench(ioapic);
    set(bench, IOAPIC_REGISTER.ID, 0xffff_ffff);
    expect(get(bench, IOAPIC_REGISTER.ID)).toBe(0x0f00_0000);
    expect(get(bench, IOAPIC_REGISTER.ARBITRATION)).toBe(0x0f00_0000);
  });

  it("are back to power-on after a reset", () => {
    const bench = new Bench(ioapic);
    const powerOn = ioapicState(bench);
    for (let i = 0; i < IOAPIC_PINS; i++) {
      program(bench, i, 0x42 | REDIRECTION.LEVEL, 3);
      pin(bench, i, 1);
    }
    set(bench, IOAPIC_REGISTER.ID, 0x0300_0000);
    bench.device.reset();
    expect(ioapicState(bench)).toEqual(powerOn);
  });

  it("that do not exist read as zero, take no writes and route nothing", () => {
    const bench = new Bench(ioapic);
    for (const register of [IOAPIC_REGISTER.VERSION, 0x03, 0x0f, lowOf(IOAPIC_PINS), lowOf(IOAPIC_PINS) + 1, 0xff]) {
      const before = get(bench, register);
      set(bench, register, 0xfffe_ffff);
      expect(get(bench, register)).toBe(before);
    }
    expect(get(bench, lowOf(IOAPIC_PINS))).toBe(0);
    expect(get(bench, 0x0f)).toBe(0);
    expect(bench.port.routes).toEqual([]);
  });
});

it("takes no notice of a pin that it does not have", () => {
  const bench = new Bench(ioapic);
  pin(bench, IOAPIC_PINS, 1);
  pin(bench, 40, 1);
  expect(bench.state.levels).toBe(0);
  expect(bench.port.msis).toEqual([]);
});

it("never leaves an asserted, unmasked level pin without a message, and never sends two without an end", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("level" as const), level: fc.constantFrom<0 | 1>(0, 1) }),
    fc.record({ kind: fc.constant("mask" as const), masked: fc.boolean() }),
    fc.record({ kind: fc.constant("eoi" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const bench = new Bench(ioapic);
      program(bench, 9, 0x42 | REDIRECTION.LEVEL);
      let [level, masked, open, sent] = [0, false, false, 0];
      for (const step of steps) {
        if (step.kind === "level") {
          level = step.level;
          pin(bench, 9, step.level);
        } else if (step.kind === "mask") {
          masked = step.masked;
          set(bench, lowOf(9), 0x42 | REDIRECTION.LEVEL | (masked ? REDIRECTION.MASKED : 0));
        } else {
          open = false;
          eoi(bench, 0x42);
        }
        if (level === 1 && !masked && !open) {
          open = true;
          sent++;
        }
        expect(bench.port.msis).toHaveLength(sent);
      }
    }),
  );
});

it("survives whatever a guest does", () => exercise(ioapic, IOAPIC.SIZE_BYTES));
