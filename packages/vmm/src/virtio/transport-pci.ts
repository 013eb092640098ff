/**
 * Virtio over PCI (virtio 1.2, section 4.1), without the legacy interface: a device as a function with its configuration space
 * and one BAR. All state is in shared memory, as with virtio over MMIO, so that the I/O Worker knows by itself which vector to
 * signal.
 */
import { allOnes } from "../bus/bus.js";
import { type DeviceDefinition, type DevicePort, defineDevice } from "../devices/device.js";
import { CONFIG_BYTES, initialConfig, writableBits } from "../devices/pci-host/pci-function.js";
import { bytes, type Struct, u32 } from "../state/struct.js";
import type { VirtioDevice } from "./device.js";
import {
  BAR,
  BAR_BYTES,
  COMMAND,
  CONFIG,
  functionOf,
  INTERRUPT_STATUS,
  NOTIFY_MULTIPLIER,
  PCI_CFG,
} from "./pci/layout.js";
import {
  ENTRY,
  hasReason,
  isEnabled,
  msixFields,
  NO_VECTOR,
  releaseVectors,
  resetMsix,
  sendPending,
  usesLine,
} from "./pci/msix.js";
import {
  featureWords,
  holdOff,
  isHeldOff,
  QUEUE,
  queueWord,
  readDeviceConfig,
  resetTransport,
  SHARED,
  setDriverFeatures,
  setQueueReady,
  setQueueWord,
  type Transport,
  transportFields,
  writeDeviceConfig,
  writeStatus,
} from "./transport.js";

/** The common configuration structure (section 4.1.4.3). */
export const COMMON = {
  DEVICE_FEATURE_SELECT: 0x00,
  DEVICE_FEATURE: 0x04,
  DRIVER_FEATURE_SELECT: 0x08,
  DRIVER_FEATURE: 0x0c,
  CONFIG_MSIX_VECTOR: 0x10,
  NUM_QUEUES: 0x12,
  DEVICE_STATUS: 0x14,
  CONFIG_GENERATION: 0x15,
  QUEUE_SELECT: 0x16,
  QUEUE_SIZE: 0x18,
  QUEUE_MSIX_VECTOR: 0x1a,
  QUEUE_ENABLE: 0x1c,
  QUEUE_NOTIFY_OFF: 0x1e,
  QUEUE_DESC: 0x20,
  QUEUE_DRIVER: 0x28,
  QUEUE_DEVICE: 0x30,
  END: 0x38,
} as const;

/** Where in the register file the configuration space begins: behind the BAR. */
export const CONFIG_SPACE = 0x1_0000;
/** Dwords of a vector and of the pending bits. */
const WORD_BYTES = 4;

const fieldsFor = (queues: number) => ({
  ...transportFields(queues),
  ...msixFields(queues + 1),
  pciConfig: bytes(CONFIG_BYTES),
  /** Where the guest sees the BAR; 0 while it does not. */
  windowBase: u32,
});

export type PciState = Struct<ReturnType<typeof fieldsFor>>;

interface Fixed extends Transport {
  readonly initial: Uint8Array;
  readonly writable: Uint8Array;
}

/** The function of `device` in a slot of bus 0; firmware would have put its BAR at `barBase`. */
export function virtioPci(
  device: VirtioDevice,
  { slot, barBase }: { readonly slot: number; readonly barBase: number },
): DeviceDefinition<ReturnType<typeof fieldsFor>> {
  const about = functionOf(device, slot, barBase);
  const fixed: Fixed = {
    device,
    offered: featureWords(device),
    initial: initialConfig(about),
    writable: writableBits(about),
  };
  return defineDevice({
    name: device.name,
    state: fieldsFor(device.queueSizes.length),
    accessBytes: 4,
    reset(state) {
      holdOff(state, true);
      resetTransport(device, state);
      resetMsix(state);
      state.pciConfig.set(fixed.initial);
      state.windowBase = 0;
    },
    read(state, offset, sizeBytes) {
      return offset >= CONFIG_SPACE
        ? readConfigSpace(fixed, state, offset - CONFIG_SPACE, sizeBytes)
        : readBar(fixed, state, offset, sizeBytes);
    },
    write(state, offset, sizeBytes, value, port) {
      if (offset >= CONFIG_SPACE) writeConfigSpace(fixed, state, offset - CONFIG_SPACE, sizeBytes, value, port);
      else writeBar(fixed, state, offset, sizeBytes, value, port);
    },
  });
}

function readBar(fixed: Fixed, state: PciState, offset: number, sizeBytes: number): number {
  const at = offset % PAGE_BYTES;
  switch (offset - at) {
    case BAR.COMMON:
      return readCommon(fixed, state, at, sizeBytes);
    case BAR.ISR:
      // Reading acknowledges (section 4.1.4.5).
      return at === 0 ? Atomics.exchange(state.shared, SHARED.INTERRUPT, 0) : 0;
    case BAR.DEVICE:
      return readDeviceConfig(state.config, at, sizeBytes);
    case BAR.MSIX_TABLE:
      return sizeBytes === WORD_BYTES ? (state.msixTable[at / WORD_BYTES] ?? 0) : 0;
    case BAR.PBA:
      return sizeBytes === WORD_BYTES ? (state.msixPending[at / WORD_BYTES] ?? 0) : 0;
    default:
      return offset < BAR_BYTES ? 0 : allOnes(sizeBytes);
  }
}

const PAGE_BYTES = 0x1000;

function writeBar(fixed: Fixed, state: PciState, offset: number, sizeBytes: number, value: number, port: DevicePort) {
  const at = offset % PAGE_BYTES;
  switch (offset - at) {
    case BAR.COMMON:
      writeCommon(fixed, state, at, sizeBytes, value);
      return;
    case BAR.NOTIFY: {
      // Ordinary notifications do not leave the kernel; these come here when the window is somewhere odd.
      const queue = Math.floor(at / NOTIFY_MULTIPLIER);
      if (queue < fixed.device.queueSizes.length) port.pci?.notify(queue);
      return;
    }
    case BAR.DEVICE:
      writeDeviceConfig(fixed.device, state.config, at, sizeBytes, value, port);
      return;
    case BAR.MSIX_TABLE:
      if (sizeBytes === WORD_BYTES) writeTable(state, at / WORD_BYTES, value, port);
      return;
  }
}

/** Fields are accessed in their own widths, addresses by halves (section 4.1.3.1); others read as zero and change nothing. */
function readCommon({ device, offered }: Fixed, state: PciState, at: number, sizeBytes: number): number {
  if (sizeBytes !== widthOf(at)) return 0;
  switch (at) {
    case COMMON.DEVICE_FEATURE_SELECT:
      return state.deviceFeaturesSel;
    case COMMON.DEVICE_FEATURE:
      return offered[state.deviceFeaturesSel] ?? 0;
    case COMMON.DRIVER_FEATURE_SELECT:
      return state.driverFeaturesSel;
    case COMMON.DRIVER_FEATURE:
      return state.driverFeatures[state.driverFeaturesSel] ?? 0;
    case COMMON.CONFIG_MSIX_VECTOR:
      return state.vectorOf[device.queueSizes.length]!;
    case COMMON.NUM_QUEUES:
      return device.queueSizes.length;
    case COMMON.DEVICE_STATUS:
      return Atomics.load(state.shared, SHARED.STATUS) & 0xff;
    case COMMON.CONFIG_GENERATION:
      return state.configGeneration & 0xff;
    case COMMON.QUEUE_SELECT:
      return state.queueSel;
    case COMMON.QUEUE_SIZE:
      return queueWord(state, QUEUE.SIZE) ?? 0;
    case COMMON.QUEUE_MSIX_VECTOR:
      return state.queueSel < device.queueSizes.length ? state.vectorOf[state.queueSel]! : NO_VECTOR;
    case COMMON.QUEUE_ENABLE:
      return queueWord(state, QUEUE.READY) ?? 0;
    case COMMON.QUEUE_NOTIFY_OFF:
      return state.queueSel < device.queueSizes.length ? state.queueSel : 0;
    default:
      return at >= COMMON.QUEUE_DESC && at < COMMON.END ? (queueWord(state, addressWord(at)) ?? 0) : 0;
  }
}

/** QUEUE has the addresses in the same order. */
const addressWord = (at: number): number => QUEUE.DESC + (at - COMMON.QUEUE_DESC) / WORD_BYTES;

function widthOf(at: number): number {
  if (at < COMMON.CONFIG_MSIX_VECTOR || at >= COMMON.QUEUE_DESC) return 4;
  return at === COMMON.DEVICE_STATUS || at === COMMON.CONFIG_GENERATION ? 1 : 2;
}

function writeCommon(fixed: Fixed, state: PciState, at: number, sizeBytes: number, value: number): void {
  const { device } = fixed;
  const queues = device.queueSizes.length;
  if (sizeBytes !== widthOf(at)) return;
  switch (at) {
    case COMMON.DEVICE_FEATURE_SELECT:
      state.deviceFeaturesSel = value;
      return;
    case COMMON.DRIVER_FEATURE_SELECT:
      state.driverFeaturesSel = value;
      return;
    case COMMON.DRIVER_FEATURE:
      setDriverFeatures(state, value);
      return;
    case COMMON.CONFIG_MSIX_VECTOR:
      setVector(state, queues, value);
      return;
    case COMMON.DEVICE_STATUS:
      if (writeStatus(fixed, state, value)) releaseVectors(state);
      return;
    case COMMON.QUEUE_SELECT:
      state.queueSel = value;
      return;
    case COMMON.QUEUE_SIZE:
      setQueueWord(device, state, QUEUE.SIZE, value);
      return;
    case COMMON.QUEUE_MSIX_VECTOR:
      if (state.queueSel < queues) setVector(state, state.queueSel, value);
      return;
    case COMMON.QUEUE_ENABLE:
      // A queue is disabled by a reset alone (section 4.1.4.3.2).
      if (value === 1) setQueueReady(device, state, value);
      return;
    default:
      if (at >= COMMON.QUEUE_DESC && at < COMMON.END) setQueueWord(device, state, addressWord(at), value);
  }
}

/** A vector that is not there is answered by none (section 4.1.5.1.2). */
function setVector({ vectorOf }: PciState, source: number, vector: number): void {
  vectorOf[source] = vector < vectorOf.length ? vector : NO_VECTOR;
}

/** The kernel learns the message before the I/O Worker can see that its vector is unmasked. */
function writeTable(state: PciState, index: number, value: number, port: DevicePort): void {
  const { msixTable } = state;
  if (index >= msixTable.length) return;
  if (index % ENTRY.WORDS !== ENTRY.CONTROL) {
    msixTable[index] = value;
    if ((msixTable[index - (index % ENTRY.WORDS) + ENTRY.CONTROL]! & 1) === 0) port.pci?.routeVectors();
    return;
  }
  if ((value & 1) === 0) port.pci?.routeVectors();
  Atomics.store(msixTable, index, value & 1);
  sendPending(state, port.sendMsi.bind(port));
}

/** Bytes beyond the first 256 are zeros: there are no extended capabilities. */
function readConfigSpace(fixed: Fixed, state: PciState, register: number, sizeBytes: number): number {
  if (isWindowData(register)) {
    const access = windowAccess(state);
    if (access === undefined) return 0;
    return readBar(fixed, state, access.offset, access.sizeBytes) % 2 ** (8 * sizeBytes);
  }
  const value = readDeviceConfig(state.pciConfig, register, sizeBytes);
  const bit = 8 * (CONFIG.STATUS - register);
  const isShown = bit >= 0 && bit < 8 * sizeBytes && hasReason(state) && !isEnabled(state);
  return isShown ? (value | (INTERRUPT_STATUS << bit)) >>> 0 : value;
}

function writeConfigSpace(
  fixed: Fixed,
  state: PciState,
  register: number,
  sizeBytes: number,
  value: number,
  port: DevicePort,
): void {
  if (isWindowData(register)) {
    const access = windowAccess(state);
    if (access === undefined || access.sizeBytes > sizeBytes) return;
    writeBar(fixed, state, access.offset, access.sizeBytes, value % 2 ** (8 * access.sizeBytes), port);
    return;
  }
  const usedLine = usesLine(state);
  for (let i = 0; i < sizeBytes && register + i < CONFIG_BYTES; i++) {
    const at = register + i;
    const bits = fixed.writable[at]!;
    state.pciConfig[at] = (state.pciConfig[at]! & ~bits) | ((value >>> (8 * i)) & bits);
  }
  followMsixControl(state, port);
  followBar(state, port);
  followBusMaster(fixed, state, port);
  if (usesLine(state) && !usedLine && hasReason(state)) port.pci?.raiseLine();
}

/** The PCI configuration access capability: its data are the registers in the BAR that it names (section 4.1.4.9). */
const isWindowData = (register: number): boolean => register === CONFIG.PCI_CFG + PCI_CFG.DATA;

function windowAccess({ pciConfig }: PciState): { offset: number; sizeBytes: number } | undefined {
  const offset = readDeviceConfig(pciConfig, CONFIG.PCI_CFG + PCI_CFG.OFFSET, 4);
  const sizeBytes = readDeviceConfig(pciConfig, CONFIG.PCI_CFG + PCI_CFG.LENGTH, 4);
  const isAccess = sizeBytes === 1 || sizeBytes === 2 || sizeBytes === 4;
  if (pciConfig[CONFIG.PCI_CFG + PCI_CFG.BAR] !== 0 || !isAccess) return undefined;
  return offset % sizeBytes === 0 && offset < BAR_BYTES ? { offset, sizeBytes } : undefined;
}

function followMsixControl(state: PciState, port: DevicePort): void {
  const control = readDeviceConfig(state.pciConfig, CONFIG.MSIX + 2, 2);
  if (control === Atomics.load(state.msixControl, 0)) return;
  port.pci?.routeVectors();
  Atomics.store(state.msixControl, 0, control);
  sendPending(state, port.sendMsi.bind(port));
}

/** The window is where the BAR says while the guest has turned memory on. */
function followBar(state: PciState, port: DevicePort): void {
  const { pciConfig, windowBase } = state;
  const decodes = (pciConfig[CONFIG.COMMAND]! & COMMAND.MEMORY) !== 0;
  const base = decodes ? readDeviceConfig(pciConfig, CONFIG.BAR0, 4) : 0;
  if (base === windowBase) return;
  state.windowBase = base;
  port.pci?.moveWindow(windowBase, base);
}

/** Without bus mastering the function leaves memory alone: its queues, and the messages of its vectors, which wait. */
function followBusMaster({ device }: Fixed, state: PciState, port: DevicePort): void {
  const isOff = (state.pciConfig[CONFIG.COMMAND]! & COMMAND.BUS_MASTER) === 0;
  if (isOff === isHeldOff(state)) return;
  holdOff(state, isOff);
  if (isOff) return;
  sendPending(state, port.sendMsi.bind(port));
  // Of what the driver has notified meanwhile.
  for (let queue = 0; queue < device.queueSizes.length; queue++) port.pci?.notify(queue);
}
