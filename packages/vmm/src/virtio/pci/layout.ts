/**
 * Where a virtio function has its registers (virtio 1.2, section 4.1.4): one 32-bit memory BAR with a page for each structure, and
 * the capabilities that say so.
 */
import { type ConfigRegister, identity, type PciFunction } from "../../devices/pci-host/pci-function.js";
import type { VirtioDevice } from "../device.js";
import { DEVICE_ID } from "../ids.js";

/** Offsets within the BAR. */
export const BAR = {
  COMMON: 0x0000,
  ISR: 0x1000,
  DEVICE: 0x2000,
  NOTIFY: 0x3000,
  MSIX_TABLE: 0x4000,
  PBA: 0x5000,
} as const;
export const BAR_BYTES = 0x8000;
/** Bytes between two queues' notification addresses. */
export const NOTIFY_MULTIPLIER = 4;
const PAGE_BYTES = 0x1000;

/** Offsets within the configuration space. */
export const CONFIG = { COMMAND: 0x04, STATUS: 0x06, BAR0: 0x10, MSIX: 0x40, PCI_CFG: 0x94 } as const;
const COMMON_CAPABILITY = 0x50;
const NOTIFY_CAPABILITY = 0x60;
const ISR_CAPABILITY = 0x74;
const DEVICE_CAPABILITY = 0x84;
const SUBSYSTEM = 0x2c;
const INTERRUPT_PIN = 0x3d;
const INTA = 1;
const CAPABILITIES_POINTER = 0x34;

/** The command register's bits that mean something to a virtio function (PCI 3.0, section 6.2.2). */
export const COMMAND = { MEMORY: 0x02, BUS_MASTER: 0x04, INTERRUPT_DISABLE: 0x400 } as const;
/** Message control of MSI-X (PCI 3.0, section 6.8.2.3). */
export const MSIX_CONTROL = { ENABLE: 0x8000, FUNCTION_MASK: 0x4000 } as const;
/** Within the PCI configuration access capability (section 4.1.4.9). */
export const PCI_CFG = { BAR: 4, OFFSET: 8, LENGTH: 12, DATA: 16, BYTES: 20 } as const;

const VIRTIO_VENDOR = 0x1af4;
/** Device ids of modern functions begin here (section 4.1.2). */
const FIRST_DEVICE_ID = 0x1040;
/** 0x40 or higher: there is no legacy interface. */
const SUBSYSTEM_ID = 0x1100;
const REVISION = 1;
/** The status register: it has capabilities; it asserts its interrupt line, or would if it were not disabled (section 6.2.3). */
const HAS_CAPABILITIES = 0x10;
export const INTERRUPT_STATUS = 0x08;
const VENDOR_CAPABILITY = 0x09;
const MSIX_CAPABILITY = 0x11;
const CFG_TYPE = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;

/** Class codes (PCI Code and ID Assignment): what tools show; drivers go by the device id. */
const CLASS: Record<number, number> = { [DEVICE_ID.NETWORK]: 0x02_00_00, [DEVICE_ID.BLOCK]: 0x01_80_00 };
const OTHER_CLASS = 0xff_00_00;

/** One for each queue, and one for the configuration. */
export const vectorCount = ({ queueSizes }: VirtioDevice): number => queueSizes.length + 1;

/** The configuration space of a device whose BAR is at `barBase` after a reset. */
export function functionOf(device: VirtioDevice, slot: number, barBase: number): PciFunction {
  return {
    device: slot,
    function: 0,
    registers: [
      ...identity({
        vendor: VIRTIO_VENDOR,
        device: FIRST_DEVICE_ID + device.deviceId,
        class: CLASS[device.deviceId] ?? OTHER_CLASS,
        revision: REVISION,
        hasInterruptPin: true,
      }),
      { offset: CONFIG.STATUS, initial: [HAS_CAPABILITIES] },
      { offset: CONFIG.BAR0, initial: word(barBase), writable: word(-BAR_BYTES) },
      { offset: SUBSYSTEM, initial: [...half(VIRTIO_VENDOR), ...half(SUBSYSTEM_ID)] },
      { offset: CAPABILITIES_POINTER, initial: [CONFIG.MSIX] },
      { offset: INTERRUPT_PIN, initial: [INTA] },
      msix(device),
      capability(COMMON_CAPABILITY, NOTIFY_CAPABILITY, CFG_TYPE.COMMON, BAR.COMMON, 0x38),
      capability(NOTIFY_CAPABILITY, ISR_CAPABILITY, CFG_TYPE.NOTIFY, BAR.NOTIFY, PAGE_BYTES, word(NOTIFY_MULTIPLIER)),
      capability(ISR_CAPABILITY, DEVICE_CAPABILITY, CFG_TYPE.ISR, BAR.ISR, 1),
      capability(DEVICE_CAPABILITY, CONFIG.PCI_CFG, CFG_TYPE.DEVICE, BAR.DEVICE, PAGE_BYTES),
      {
        ...capability(CONFIG.PCI_CFG, 0, CFG_TYPE.PCI, 0, 0, word(0)),
        // The BAR, the offset and the length are the driver's; so is the data, which is no memory.
        writable: [0, 0, 0, 0, 0xff, 0, 0, 0, ...new Array<number>(8).fill(0xff)],
      },
    ],
  };
}

function msix(device: VirtioDevice): ConfigRegister {
  return {
    offset: CONFIG.MSIX,
    initial: [
      MSIX_CAPABILITY,
      COMMON_CAPABILITY,
      ...half(vectorCount(device) - 1),
      ...word(BAR.MSIX_TABLE),
      ...word(BAR.PBA),
    ],
    writable: [0, 0, ...half(MSIX_CONTROL.ENABLE | MSIX_CONTROL.FUNCTION_MASK)],
  };
}

/** A structure's capability (section 4.1.4); all of them are in BAR 0. */
function capability(
  offset: number,
  next: number,
  type: number,
  barOffset: number,
  lengthBytes: number,
  more: readonly number[] = [],
): ConfigRegister {
  const sizeBytes = 16 + more.length;
  return {
    offset,
    initial: [VENDOR_CAPABILITY, next, sizeBytes, type, 0, 0, 0, 0, ...word(barOffset), ...word(lengthBytes), ...more],
  };
}

const half = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff];
const word = (value: number): number[] => [...half(value), ...half(value >>> 16)];
