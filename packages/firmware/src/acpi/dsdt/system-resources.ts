import { device, eisaId, ioPorts, memory32Fixed, name, qwordMemory, resourceTemplate } from "../aml/index.js";
import { type AcpiMachine, ecamWindow, PM_BLOCK_BYTES, type Window } from "../machine.js";

const SYSTEM_BOARD = "PNP0C02";

/**
 * Addresses that are in use, without being a device's that a driver would take. The PCI Firmware Specification 3.3
 * (section 4.1.2) wants the configuration space of an MCFG to be among them; Linux uses none that is not.
 */
export function systemResources({ pm, pci }: AcpiMachine): Uint8Array {
  const ecam = pci && ecamWindow(pci);
  return device(
    "MBRD",
    name("_HID", eisaId(SYSTEM_BOARD)),
    name("_CRS", resourceTemplate(ioPorts(pm.port, PM_BLOCK_BYTES), ...(ecam === undefined ? [] : [memory(ecam)]))),
  );
}

function memory({ base, sizeBytes }: Window): Uint8Array {
  if (base + sizeBytes <= 2 ** 32) return memory32Fixed(base, sizeBytes);
  return qwordMemory({ base, sizeBytes, consumed: true, prefetchable: false });
}
