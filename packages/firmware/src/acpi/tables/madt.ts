/** The multiple APIC description table, "APIC" (ACPI 6.5, section 5.2.12). */
import { concat, StructBytes } from "../../bytes.js";
import { type AcpiMachine, X2APIC_IDS_START } from "../machine.js";
import { systemTable } from "./header.js";

const MADT_REVISION = 6;
/** The table's only flag: the guest has to mask the 8259s before it uses the APICs. */
const PCAT_COMPAT = 1 << 0;

/** Interrupt controller structures: type and length. */
const LOCAL_APIC = { TYPE: 0, SIZE_BYTES: 8 } as const;
const IO_APIC = { TYPE: 1, SIZE_BYTES: 12 } as const;
const INTERRUPT_SOURCE_OVERRIDE = { TYPE: 2, SIZE_BYTES: 10 } as const;
const LOCAL_APIC_NMI = { TYPE: 4, SIZE_BYTES: 6 } as const;
const LOCAL_X2APIC = { TYPE: 9, SIZE_BYTES: 16 } as const;
const LOCAL_X2APIC_NMI = { TYPE: 10, SIZE_BYTES: 12 } as const;

const ENABLED = 1 << 0;
const ISA_BUS = 0;
const ISA_TIMER_IRQ = 0;
/** Polarity and trigger of an interrupt (table 5.26). */
const AS_THE_BUS = 0;
const ACTIVE_HIGH_LEVEL = 0b1101;
const NMI_LINT = 1;

export function madt(machine: AcpiMachine): Uint8Array {
  const { apicIds, ioapic, pm, timerGsi } = machine;
  const hasX2apicIds = apicIds.some((id) => id >= X2APIC_IDS_START);
  const fixed = new StructBytes(8).u32(0, machine.localApicAddress).u32(4, machine.pic8259 ? PCAT_COMPAT : 0);
  return systemTable(
    "APIC",
    MADT_REVISION,
    concat([
      fixed.bytes,
      ...apicIds.map((id) => (id < X2APIC_IDS_START ? localApic(id) : localX2apic(id))),
      ioApic(ioapic),
      ...(timerGsi === ISA_TIMER_IRQ ? [] : [sourceOverride(ISA_TIMER_IRQ, timerGsi, AS_THE_BUS)]),
      sourceOverride(pm.sciIrq, pm.sciIrq, ACTIVE_HIGH_LEVEL),
      localApicNmi(),
      ...(hasX2apicIds ? [localX2apicNmi()] : []),
    ]),
  );
}

function structure({ TYPE, SIZE_BYTES }: { TYPE: number; SIZE_BYTES: number }): StructBytes {
  return new StructBytes(SIZE_BYTES).u8(0, TYPE).u8(1, SIZE_BYTES);
}

function localApic(id: number): Uint8Array {
  return structure(LOCAL_APIC).u8(2, id).u8(3, id).u32(4, ENABLED).bytes;
}

function localX2apic(id: number): Uint8Array {
  return structure(LOCAL_X2APIC).u32(4, id).u32(8, ENABLED).u32(12, id).bytes;
}

function ioApic({ id, address, gsiBase }: AcpiMachine["ioapic"]): Uint8Array {
  return structure(IO_APIC).u8(2, id).u32(4, address).u32(8, gsiBase).bytes;
}

/** An ISA interrupt that arrives at another GSI, or that is not active high and edge-triggered as ISA's are. */
function sourceOverride(irq: number, gsi: number, flags: number): Uint8Array {
  return structure(INTERRUPT_SOURCE_OVERRIDE).u8(2, ISA_BUS).u8(3, irq).u32(4, gsi).u16(8, flags).bytes;
}

/** NMI is wired to LINT1 of every CPU: a UID of all ones is each of them. */
function localApicNmi(): Uint8Array {
  return structure(LOCAL_APIC_NMI).u8(2, 0xff).u16(3, AS_THE_BUS).u8(5, NMI_LINT).bytes;
}

function localX2apicNmi(): Uint8Array {
  return structure(LOCAL_X2APIC_NMI).u16(2, AS_THE_BUS).u32(4, 0xffff_ffff).u8(8, NMI_LINT).bytes;
}
