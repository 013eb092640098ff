import { f64, type Struct, u16 } from "../../state/struct.js";
import { type DevicePort, defineDevice } from "../device.js";
import { extractBytes, mergeBytes, placeBytes } from "../register-file.js";

/** The register file, as Intel's chipsets lay out their PM block (ICH9 datasheet, section 13.8.3). */
export const ACPI_PM = {
  /** PM1 event block: the status register, then the enable register. */
  PM1_STS: 0,
  PM1_EN: 2,
  PM1_CNT: 4,
  PM_TMR: 8,
  SIZE_BYTES: 12,
} as const;

/** Bits of PM1_STS and PM1_EN (ACPI 6.5, section 4.8.3.1). */
export const PM1 = { TMR: 1 << 0, GBL: 1 << 5, PWRBTN: 1 << 8, SLPBTN: 1 << 9, RTC: 1 << 10 } as const;
/** Status bits without an enable bit: bus master, wake. */
const BM_STS = 1 << 4;
const WAK_STS = 1 << 15;
const ENABLE_BITS = PM1.TMR | PM1.GBL | PM1.PWRBTN | PM1.SLPBTN | PM1.RTC;
const STATUS_BITS = ENABLE_BITS | BM_STS | WAK_STS;

/** Bits of PM1_CNT (ACPI 6.5, section 4.8.3.2). SLP_EN and GBL_RLS always read as zero. */
export const PM1_CNT = {
  SCI_EN: 1 << 0,
  BM_RLD: 1 << 1,
  SLP_TYP_SHIFT: 10,
  SLP_TYP: 7 << 10,
  SLP_EN: 1 << 13,
} as const;
/** The SLP_TYP that the DSDT's \_S5 object must name. */
export const SLP_TYP_S5 = 0;

/** 3.579545 MHz (ACPI 6.5, section 4.8.2.1). */
const PM_TIMER_TICKS_PER_NS = 3.579545e-3;

const fields = { status: u16, enable: u16, control: u16, timerStartNs: f64 };
type State = Struct<typeof fields>;

function updateSci(state: State, port: DevicePort): void {
  port.setIrq((state.status & state.enable & ENABLE_BITS) !== 0 ? 1 : 0);
}

/** All 32 bits count (TMR_VAL_EXT in the FADT). */
function timerValue(state: State, port: DevicePort): number {
  return ((port.nowNs() - state.timerStartNs) * PM_TIMER_TICKS_PER_NS) >>> 0;
}

/**
 * ACPI's fixed hardware: the PM1 registers and the PM timer, with its interrupt line as the SCI. The machine starts in
 * ACPI mode (SCI_EN is always set, there is no SMI command port). Of the sleep states there is S5, power off; others
 * are ignored. The timer does not report its carry: TMR_STS stays clear, as no guest we know waits for it.
 */
export const acpiPm = defineDevice({
  name: "acpi-pm",
  state: fields,
  accessBytes: 4,
  reset(state, port) {
    state.status = 0;
    state.enable = 0;
    state.control = PM1_CNT.SCI_EN;
    state.timerStartNs = port.nowNs();
    updateSci(state, port);
  },
  read(state, offset, sizeBytes, port) {
    switch (offset & ~3) {
      case ACPI_PM.PM1_STS:
        return extractBytes(state.status | (state.enable << 16), offset, sizeBytes);
      case ACPI_PM.PM1_CNT:
        return extractBytes(state.control, offset, sizeBytes);
      case ACPI_PM.PM_TMR:
        return extractBytes(timerValue(state, port), offset, sizeBytes);
      default:
        return 0;
    }
  },
  write(state, offset, sizeBytes, value, port) {
    switch (offset & ~3) {
      case ACPI_PM.PM1_STS: {
        const cleared = placeBytes(offset, sizeBytes, value) & STATUS_BITS;
        state.status &= ~cleared;
        state.enable = (mergeBytes(state.enable << 16, offset, sizeBytes, value) >>> 16) & ENABLE_BITS;
        updateSci(state, port);
        return;
      }
      case ACPI_PM.PM1_CNT: {
        const control = mergeBytes(state.control, offset, sizeBytes, value);
        state.control = PM1_CNT.SCI_EN | (control & (PM1_CNT.BM_RLD | PM1_CNT.SLP_TYP));
        const sleepType = (control & PM1_CNT.SLP_TYP) >> PM1_CNT.SLP_TYP_SHIFT;
        if ((control & PM1_CNT.SLP_EN) !== 0 && sleepType === SLP_TYP_S5) port.request("poweroff");
        return;
      }
    }
  },
});

/**
 * The power button goes down: the guest learns it by PWRBTN_STS, and by the SCI when it has enabled that event. False
 * when it has not, so that nobody waits for it to switch off.
 */
export function pressPowerButton(state: State, port: DevicePort): boolean {
  state.status |= PM1.PWRBTN;
  updateSci(state, port);
  return (state.enable & PM1.PWRBTN) !== 0;
}
