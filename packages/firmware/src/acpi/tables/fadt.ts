/** The fixed ACPI description table, "FACP" (ACPI 6.5, section 5.2.9). */
import { StructBytes } from "../../bytes.js";
import type { AcpiMachine } from "../machine.js";
import { HEADER_BYTES, systemTable } from "./header.js";

const FADT_REVISION = 6;
const FADT_MINOR_REVISION = 5;
const FADT_BYTES = 276;

/** The PM block's registers: offset and size in bytes, as Intel's chipsets have them (ICH9 datasheet, section 13.8.3). */
const PM1_EVENT = { OFFSET: 0, SIZE_BYTES: 4 } as const;
const PM1_CONTROL = { OFFSET: 4, SIZE_BYTES: 2 } as const;
const PM_TIMER = { OFFSET: 8, SIZE_BYTES: 4 } as const;

/** Latencies, in microseconds, that say there is no C2 and no C3. */
const NO_C2 = 101;
const NO_C3 = 1001;

/** Where in the RTC the century is. */
const CENTURY_INDEX = 0x32;

/** IA-PC boot architecture flags (table 5.11). */
const BOOT = { LEGACY_DEVICES: 1 << 0, I8042: 1 << 1, NO_VGA: 1 << 2, NO_CMOS_RTC: 1 << 5 } as const;

/** Fixed feature flags (table 5.10). A clear PWR_BUTTON means that there is one, in the PM1 registers; SLP_BUTTON likewise. */
const FEATURE = {
  WBINVD: 1 << 0,
  PROC_C1: 1 << 2,
  SLP_BUTTON: 1 << 5,
  /** The RTC wakes nobody by the PM1 registers. */
  FIX_RTC: 1 << 6,
  TMR_VAL_EXT: 1 << 8,
  RESET_REG_SUP: 1 << 10,
} as const;

/** Generic address structures (section 5.2.3.2). */
const SYSTEM_IO = 1;
const ACCESS_SIZE = { 1: 1, 2: 2, 4: 3 } as const;

export interface FadtPointers {
  readonly facsGpa: number;
  readonly dsdtGpa: number;
}

/**
 * The machine starts in ACPI mode and has no SMI command port to leave it. The FACS is named by its 32-bit field only:
 * of two fields a guest would make two structures.
 */
export function fadt(machine: AcpiMachine, { facsGpa, dsdtGpa }: FadtPointers): Uint8Array {
  const { pm, reset } = machine;
  const table = new StructBytes(FADT_BYTES)
    .u32(36, facsGpa)
    .u32(40, dsdtGpa)
    .u16(46, pm.sciIrq)
    .u32(56, pm.port + PM1_EVENT.OFFSET)
    .u32(64, pm.port + PM1_CONTROL.OFFSET)
    .u32(76, pm.port + PM_TIMER.OFFSET)
    .u8(88, PM1_EVENT.SIZE_BYTES)
    .u8(89, PM1_CONTROL.SIZE_BYTES)
    .u8(91, PM_TIMER.SIZE_BYTES)
    .u16(96, NO_C2)
    .u16(98, NO_C3)
    .u8(108, machine.rtc === undefined ? 0 : CENTURY_INDEX)
    .u16(109, bootFlags(machine))
    .u32(
      112,
      FEATURE.WBINVD |
        FEATURE.PROC_C1 |
        FEATURE.SLP_BUTTON |
        FEATURE.FIX_RTC |
        FEATURE.TMR_VAL_EXT |
        FEATURE.RESET_REG_SUP,
    )
    .set(116, portAddress(reset.port, 1, 1))
    .u8(128, reset.value)
    .u8(131, FADT_MINOR_REVISION)
    .u64(140, dsdtGpa)
    .set(148, portAddress(pm.port + PM1_EVENT.OFFSET, PM1_EVENT.SIZE_BYTES, 2))
    .set(172, portAddress(pm.port + PM1_CONTROL.OFFSET, PM1_CONTROL.SIZE_BYTES, 2))
    .set(208, portAddress(pm.port + PM_TIMER.OFFSET, PM_TIMER.SIZE_BYTES, 4));
  return systemTable("FACP", FADT_REVISION, table.bytes.subarray(HEADER_BYTES));
}

function bootFlags({ serialPorts, keyboard, rtc }: AcpiMachine): number {
  return (
    BOOT.NO_VGA |
    (serialPorts.length > 0 ? BOOT.LEGACY_DEVICES : 0) |
    (keyboard === undefined ? 0 : BOOT.I8042) |
    (rtc === undefined ? BOOT.NO_CMOS_RTC : 0)
  );
}

/** A register of `sizeBytes` at a port that is accessed `accessBytes` at a time. */
function portAddress(port: number, sizeBytes: number, accessBytes: keyof typeof ACCESS_SIZE): Uint8Array {
  return new StructBytes(12)
    .u8(0, SYSTEM_IO)
    .u8(1, 8 * sizeBytes)
    .u8(3, ACCESS_SIZE[accessBytes])
    .u64(4, port).bytes;
}
