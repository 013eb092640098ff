/** From the description of a machine to ACPI's tables at their places in guest memory. */
import { ACPI_AREA, type Area, AreaLayout, type Segment } from "../bios-area.js";
import { checkMachine } from "./check-machine.js";
import { dsdt } from "./dsdt/dsdt.js";
import { AcpiError, type AcpiMachine } from "./machine.js";
import { facs } from "./tables/facs.js";
import { fadt } from "./tables/fadt.js";
import { madt } from "./tables/madt.js";
import { mcfg } from "./tables/mcfg.js";
import { RSDP_BYTES, rsdp, rsdt, xsdt } from "./tables/root.js";

export interface AcpiTables {
  /** Guest-physical address of the root pointer, for boot protocols that pass it on. */
  readonly rsdp: number;
  readonly segments: readonly Segment[];
}

/** ACPI 6.5, table 5.14. */
const FACS_ALIGN_BYTES = 64;

/**
 * ACPI's tables for `machine`, in `area`: below 4 GiB, and where a guest that is not told looks for the root pointer
 * unless said otherwise. The guest must be told that the area is no RAM to use.
 *
 * Throws an AcpiError when there can be no such machine, or when its tables do not fit.
 */
export function buildAcpiTables(machine: AcpiMachine, area: Area = ACPI_AREA): AcpiTables {
  checkMachine(machine);
  const layout = new AreaLayout(area);
  const rsdpGpa = layout.reserve(RSDP_BYTES);
  const facsGpa = layout.place("FACS", facs(), FACS_ALIGN_BYTES);
  const dsdtGpa = layout.place("DSDT", dsdt(machine));
  const tables = [
    layout.place("FACP", fadt(machine, { facsGpa, dsdtGpa })),
    layout.place("APIC", madt(machine)),
    ...placeMcfg(machine, layout),
  ];
  const rsdtGpa = layout.place("RSDT", rsdt(tables));
  const xsdtGpa = layout.place("XSDT", xsdt(tables));
  layout.put("RSD PTR ", rsdpGpa, rsdp(rsdtGpa, xsdtGpa));
  if (layout.overflow !== undefined) throw new AcpiError(`the ACPI tables need ${layout.overflow}`);
  return { rsdp: rsdpGpa, segments: layout.segments };
}

function placeMcfg({ pci }: AcpiMachine, layout: AreaLayout): number[] {
  if (pci?.ecamBase === undefined) return [];
  return [layout.place("MCFG", mcfg(pci.ecamBase, pci.buses))];
}
