/**
 * The functions of the PCI bus that firmware looks for to learn what it stands on: the host bridge of a Q35 chipset, and the ISA
 * bridge of its ICH9 (Intel 3 Series Express Chipset and ICH9 datasheets). Each is its configuration space and which bits of
 * it can be written; behind the registers are other devices, or nothing.
 */
import { identity, type PciFunction } from "./pci-function.js";

const INTEL = 0x8086;

/** PCIEXBAR, section 5.1.17: where the configuration space of every function can be seen in memory; bit 0 turns it on. */
export const PCIEXBAR = 0x60;

/** Registers of the LPC bridge, section 13.1. */
const LPC = { PMBASE: 0x40, ACPI_CNTL: 0x44, PIRQA_ROUT: 0x60, PIRQE_ROUT: 0x68, RCBA: 0xf0 } as const;
/** An interrupt that is routed nowhere. */
const UNROUTED = [0x80, 0x80, 0x80, 0x80];
const ROUTE_BITS = [0x8f, 0x8f, 0x8f, 0x8f];

const memoryController: PciFunction = {
  device: 0,
  function: 0,
  registers: [
    ...identity({ vendor: INTEL, device: 0x29c0, class: 0x06_00_00 }),
    { offset: PCIEXBAR, initial: [0, 0, 0, 0, 0], writable: [0x07, 0x00, 0x00, 0xf0, 0xff] },
  ],
};

const lpcBridge: PciFunction = {
  device: 0x1f,
  function: 0,
  registers: [
    ...identity({ vendor: INTEL, device: 0x2918, class: 0x06_01_00, revision: 2, isMultifunction: true }),
    // In I/O space, as bit 0 says. The PM timer does not move: firmware for this chipset puts it where it is.
    { offset: LPC.PMBASE, initial: [0x01, 0x00], writable: [0x80, 0xff] },
    { offset: LPC.ACPI_CNTL, initial: [0x00], writable: [0x87] },
    { offset: LPC.PIRQA_ROUT, initial: UNROUTED, writable: ROUTE_BITS },
    { offset: LPC.PIRQE_ROUT, initial: UNROUTED, writable: ROUTE_BITS },
    { offset: LPC.RCBA, initial: [0, 0, 0, 0], writable: [0x01, 0xc0, 0xff, 0xff] },
  ],
};

export const FUNCTIONS: readonly PciFunction[] = [memoryController, lpcBridge];
