import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { ACPI_PM, acpiPm, PM1, PM1_CNT, pressPowerButton, SLP_TYP_S5 } from "./acpi-pm.js";

const S5 = PM1_CNT.SLP_EN | (SLP_TYP_S5 << PM1_CNT.SLP_TYP_SHIFT);

describe("PM1 control", () => {
  it("powers off when SLP_EN is set with the sleep type of S5", () => {
    const bench = new Bench(acpiPm);
    bench.write(ACPI_PM.PM1_CNT, S5, 2);
    expect(bench.port.requests).toEqual([{ request: "poweroff", status: undefined }]);
  });

  it("powers off on a write of only its upper byte too", () => {
    const bench = new Bench(acpiPm);
    bench.write(ACPI_PM.PM1_CNT + 1, S5 >> 8);
    expect(bench.port.requests).toHaveLength(1);
  });

  it("ignores other sleep types, and a sleep type without SLP_EN", () => {
    const bench = new Bench(acpiPm);
    bench.write(ACPI_PM.PM1_CNT, PM1_CNT.SLP_EN | (1 << PM1_CNT.SLP_TYP_SHIFT), 2);
    bench.write(ACPI_PM.PM1_CNT, SLP_TYP_S5 << PM1_CNT.SLP_TYP_SHIFT, 2);
    expect(bench.port.requests).toEqual([]);
  });

  it("reads back with SCI_EN set and SLP_EN clear", () => {
    const bench = new Bench(acpiPm);
    bench.write(ACPI_PM.PM1_CNT, PM1_CNT.SLP_EN | (5 << PM1_CNT.SLP_TYP_SHIFT), 2);
    expect(bench.read(ACPI_PM.PM1_CNT, 2)).toBe(PM1_CNT.SCI_EN | (5 << PM1_CNT.SLP_TYP_SHIFT));
  });
});

describe("the power button", () => {
  it("sets its status, and drives the SCI when its event is enabled", () => {
    const bench = new Bench(acpiPm);
    pressPowerButton(bench.state, bench.port);
    expect(bench.read(ACPI_PM.PM1_STS, 2)).toBe(PM1.PWRBTN);
    expect(bench.port.irq).toBe(0);
    bench.write(ACPI_PM.PM1_EN, PM1.PWRBTN, 2);
    expect(bench.port.irq).toBe(1);
  });

  it("lets go of the SCI when the status is cleared by writing one to it", () => {
    const bench = new Bench(acpiPm);
    bench.write(ACPI_PM.PM1_EN, PM1.PWRBTN, 2);
    pressPowerButton(bench.state, bench.port);
    expect(bench.port.irq).toBe(1);
    bench.write(ACPI_PM.PM1_STS, PM1.GBL, 2);
    expect(bench.port.irq).toBe(1);
    bench.write(ACPI_PM.PM1_STS, PM1.PWRBTN, 2);
    expect(bench.port.irq).toBe(0);
    expect(bench.read(ACPI_PM.PM1_STS, 2)).toBe(0);
    expect(bench.read(ACPI_PM.PM1_EN, 2)).toBe(PM1.PWRBTN);
  });
});

it("forgets the button, and lets go of the SCI, when the machine is reset", () => {
  const bench = new Bench(acpiPm);
  bench.write(ACPI_PM.PM1_EN, PM1.PWRBTN, 2);
  pressPowerButton(bench.state, bench.port);
  bench.device.reset();
  expect(bench.read(ACPI_PM.PM1_STS, 4)).toBe(0);
  expect(bench.port.irq).toBe(0);
});

it("shows status and enable in one double word, and takes both from one", () => {
  const bench = new Bench(acpiPm);
  pressPowerButton(bench.state, bench.port);
  bench.write(ACPI_PM.PM1_STS, (PM1.RTC << 16) | PM1.PWRBTN, 4);
  expect(bench.read(ACPI_PM.PM1_STS, 4)).toBe(PM1.RTC << 16);
});

describe("the PM timer", () => {
  it("counts 3,579,545 ticks a second from power-on", () => {
    const bench = new Bench(acpiPm);
    expect(bench.read(ACPI_PM.PM_TMR, 4)).toBe(0);
    bench.advance(1e9);
    expect(bench.read(ACPI_PM.PM_TMR, 4)).toBe(3_579_545);
  });

  it("begins anew when the machine is reset, whatever the host's clock says", () => {
    const bench = new Bench(acpiPm);
    bench.advance(5e9);
    bench.device.reset();
    expect(bench.read(ACPI_PM.PM_TMR, 4)).toBe(0);
    bench.advance(1e9);
    expect(bench.read(ACPI_PM.PM_TMR, 4)).toBe(3_579_545);
  });

  it("wraps at 32 bits", () => {
    const bench = new Bench(acpiPm);
    bench.advance((2 ** 32 / 3.579545e6) * 1e9 + 1000);
    expect(bench.read(ACPI_PM.PM_TMR, 4)).toBeLessThan(10);
  });

  it("never goes back", () => {
    const bench = new Bench(acpiPm);
    let last = 0;
    for (let i = 0; i < 1000; i++) {
      bench.advance(97);
      const now = bench.read(ACPI_PM.PM_TMR, 4);
      expect(now).toBeGreaterThanOrEqual(last);
      last = now;
    }
  });
});

it("survives whatever a guest does", () => exercise(acpiPm, ACPI_PM.SIZE_BYTES));
