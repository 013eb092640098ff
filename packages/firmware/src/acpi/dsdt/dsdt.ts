/** The differentiated system description table (ACPI 6.5, section 5.2.11.1): all that has to be said in AML. */
import { concat } from "../../bytes.js";
import { integer, name, packageOf, scope } from "../aml/index.js";
import type { AcpiMachine } from "../machine.js";
import { systemTable } from "../tables/header.js";
import { isaDevices } from "./isa.js";
import { panicDevice } from "./panic.js";
import { pciHost } from "./pci.js";
import { processors } from "./processors.js";
import { systemResources } from "./system-resources.js";
import { virtioMmio } from "./virtio-mmio.js";

/** Integers have 64 bits from this revision on. */
const DSDT_REVISION = 2;

export function dsdt(machine: AcpiMachine): Uint8Array {
  const systemBus = scope(
    "\\_SB",
    ...processors(machine.apicIds),
    systemResources(machine),
    ...isaDevices(machine),
    ...(machine.panic === undefined ? [] : [panicDevice(machine.panic)]),
    ...machine.virtioMmio.map(virtioMmio),
    ...(machine.pci === undefined ? [] : [pciHost(machine.pci)]),
  );
  return systemTable("DSDT", DSDT_REVISION, concat([systemBus, softOff(machine.pm.s5SleepType)]));
}

/** What to write into SLP_TYP to switch off (section 7.4.2.6); the second value is for a second PM1 control register. */
function softOff(sleepType: number): Uint8Array {
  return name("\\_S5", packageOf(integer(sleepType), integer(0), integer(0), integer(0)));
}
