import { device, eisaId, ioPorts, memory32Fixed, name, qwordMemory, resourceTemplate } from "../aml/index.js";
import { type AcpiMachine, ECAM_BYTES_PER_BUS, PM_BLOCK_BYTES } from "../machine.js";

const SYSTEM_BOARD = "PNP0C02";

/**
 * Addresses that are in use, without being a device's that a driver would take. The PCI Firmware Specification 3.3
 * (section 4.1.2) wants the configuration space of an MCFG to be among them; Linux uses none that is not.
 */
export function systemResources({ pm, pci }: AcpiMachine): Uint8Array {
  const ecam = pci?.ecamBase === undefined ? [] : [ecamMemory(pci.ecamBase, pci.buses)];
  return device(
    "MBRD",
    name("_HID", eisaId(SYSTEM_BOARD)),
    name("_CRS", resourceTemplate(ioPorts(pm.port, PM_BLOCK_BYTES), ...ecam)),
  );
}

function ecamMemory(ecamBase: number, { first, last }: { first: number; last: number }): Uint8Array {
  const base = ecamBase + first * ECAM_BYTES_PER_BUS;
  const sizeBytes = (last - first + 1) * ECAM_BYTES_PER_BUS;
  return base + sizeBytes <= 2 ** 32 ? memory32Fixed(base, sizeBytes) : qwordMemory({ base, sizeBytes });
}
