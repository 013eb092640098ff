import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { B, D_VRT, RTC, rtcCmos } from "./rtc-cmos.js";

type RtcBench = Bench<typeof rtcCmos.state>;

function get(bench: RtcBench, register: number): number {
  bench.write(0, register);
  return bench.read(1);
}

function set(bench: RtcBench, register: number, value: number): void {
  bench.write(0, register);
  bench.write(1, value);
}

const CLOCK = [RTC.CENTURY, RTC.YEAR, RTC.MONTH, RTC.DAY_OF_MONTH, RTC.HOURS, RTC.MINUTES, RTC.SECONDS];
const clock = (bench: RtcBench): number[] => CLOCK.map((register) => get(bench, register));

/** Sets the clock as an operating system does: halt it, write all of it, let it go. */
function setClock(bench: RtcBench, values: number[], format: number): void {
  set(bench, RTC.B, format | B.SET);
  CLOCK.forEach((register, index) => {
    set(bench, register, values[index]!);
  });
  set(bench, RTC.B, format);
}

describe("the clock", () => {
  it("shows the host's time in UTC, as BCD and in 24 hours after power-on", () => {
    const bench = new Bench(rtcCmos);
    bench.port.wallMs = Date.UTC(2010, 2, 16, 21, 34, 56);
    expect(clock(bench)).toEqual([0x20, 0x10, 0x03, 0x16, 0x21, 0x34, 0x56]);
    // A Tuesday; Sunday is 1.
    expect(get(bench, RTC.DAY_OF_WEEK)).toBe(3);
  });

  it("shows it in binary when asked to", () => {
    const bench = new Bench(rtcCmos);
    bench.port.wallMs = Date.UTC(2010, 2, 16, 21, 34, 56);
    set(bench, RTC.B, B.DM | B.HOURS_24);
    expect(clock(bench)).toEqual([20, 10, 3, 16, 21, 34, 56]);
  });

  it.each([
    [0, 0x12],
    [1, 0x01],
    [11, 0x11],
    [12, 0x92],
    [13, 0x81],
    [23, 0x91],
  ])("shows hour %i as 0x%s when there are twelve, bit 7 being the afternoon", (hour, shown) => {
    const bench = new Bench(rtcCmos);
    bench.port.wallMs = Date.UTC(2010, 2, 16, hour);
    set(bench, RTC.B, 0);
    expect(get(bench, RTC.HOURS)).toBe(shown);
  });

  it("runs", () => {
    const bench = new Bench(rtcCmos);
    bench.port.wallMs = Date.UTC(2019, 11, 31, 23, 59, 59);
    bench.advance(1e9);
    expect(clock(bench)).toEqual([0x20, 0x20, 0x01, 0x01, 0, 0, 0]);
  });

  it("runs on from what the guest sets, also across a reset", () => {
    const bench = new Bench(rtcCmos);
    setClock(bench, [0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58], B.HOURS_24);
    bench.advance(1e9);
    bench.device.reset();
    expect(clock(bench)).toEqual([0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59]);
    bench.advance(1e9);
    expect(clock(bench)).toEqual([0x20, 0x00, 0x01, 0x01, 0, 0, 0]);
  });

  it("stands still while SET is set", () => {
    const bench = new Bench(rtcCmos);
    set(bench, RTC.B, B.SET | B.HOURS_24);
    const before = clock(bench);
    bench.advance(5e9);
    expect(clock(bench)).toEqual(before);
    set(bench, RTC.B, B.HOURS_24);
    expect(clock(bench)).toEqual(before);
  });

  it("takes a single register while it runs", () => {
    const bench = new Bench(rtcCmos);
    bench.port.wallMs = Date.UTC(2010, 2, 16, 21, 34, 56);
    set(bench, RTC.MINUTES, 0x05);
    expect(clock(bench)).toEqual([0x20, 0x10, 0x03, 0x16, 0x21, 0x05, 0x56]);
  });

  it("shows any time that a guest sets, in every format", () => {
    const bcd = (value: number) => (Math.floor(value / 10) << 4) | (value % 10);
    const twelve = (hour: number, code: (value: number) => number) => code(hour % 12 || 12) | (hour >= 12 ? 0x80 : 0);
    const date = fc.date({ min: new Date(Date.UTC(1900, 0)), max: new Date(Date.UTC(2199, 0)), noInvalidDate: true });
    fc.assert(
      fc.property(date, fc.boolean(), fc.boolean(), (date, binary, hours24) => {
        const code = binary ? (value: number) => value : bcd;
        const values = [
          code(Math.floor(date.getUTCFullYear() / 100)),
          code(date.getUTCFullYear() % 100),
          code(date.getUTCMonth() + 1),
          code(date.getUTCDate()),
          hours24 ? code(date.getUTCHours()) : twelve(date.getUTCHours(), code),
          code(date.getUTCMinutes()),
          code(date.getUTCSeconds()),
        ];
        const bench = new Bench(rtcCmos);
        setClock(bench, values, (binary ? B.DM : 0) | (hours24 ? B.HOURS_24 : 0));
        expect(clock(bench)).toEqual(values);
        expect(get(bench, RTC.DAY_OF_WEEK)).toBe(date.getUTCDay() + 1);
      }),
    );
  });
});

describe("the registers", () => {
  it("say that no update is in progress, whatever is written there", () => {
    const bench = new Bench(rtcCmos);
    expect(get(bench, RTC.A)).toBe(0x26);
    set(bench, RTC.A, 0xff);
    expect(get(bench, RTC.A)).toBe(0x7f);
  });

  it("say that the battery is good and that no interrupt is pending", () => {
    const bench = new Bench(rtcCmos);
    set(bench, RTC.C, 0xff);
    set(bench, RTC.D, 0);
    expect(get(bench, RTC.C)).toBe(0);
    expect(get(bench, RTC.D)).toBe(D_VRT);
  });

  it("are found by the low seven bits of the index, which cannot be read back", () => {
    const bench = new Bench(rtcCmos);
    set(bench, 0x80 | 0x40, 0x5a);
    expect(get(bench, 0x40)).toBe(0x5a);
    expect(bench.read(0)).toBe(0xff);
  });

  it("beyond the clock are RAM that a reset leaves alone", () => {
    const bench = new Bench(rtcCmos);
    for (let i = 0x0e; i < 0x80; i++) if (i !== RTC.CENTURY) set(bench, i, i ^ 0xff);
    bench.device.reset();
    for (let i = 0x0e; i < 0x80; i++) if (i !== RTC.CENTURY) expect(get(bench, i)).toBe(i ^ 0xff);
  });

  it("take index and data in one word", () => {
    const bench = new Bench(rtcCmos);
    bench.write(0, 0x5a40, 2);
    expect(get(bench, 0x40)).toBe(0x5a);
  });
});

it("survives whatever a guest does", () => exercise(rtcCmos, 2, { survivesReset: ["ram", "offsetMs"] }));
