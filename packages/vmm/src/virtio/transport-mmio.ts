/**
 * Virtio over MMIO (virtio 1.2, section 4.2): a device's registers as a window that vCPUs read and write. All state is in
 * shared memory, so the I/O Worker that serves the queues sees what the driver has set up without being told.
 */
import { type DeviceDefinition, type DevicePort, defineDevice } from "../devices/device.js";
import type { VirtioDevice } from "./device.js";
import {
  featureWords,
  QUEUE,
  queueWord,
  readDeviceConfig,
  resetTransport,
  SHARED,
  setDriverFeatures,
  setQueueReady,
  setQueueWord,
  type Transport,
  type TransportState,
  transportFields,
  writeDeviceConfig,
  writeStatus,
} from "./transport.js";

/** Register offsets (section 4.2.2). */
export const MMIO = {
  MAGIC_VALUE: 0x000,
  VERSION: 0x004,
  DEVICE_ID: 0x008,
  VENDOR_ID: 0x00c,
  DEVICE_FEATURES: 0x010,
  DEVICE_FEATURES_SEL: 0x014,
  DRIVER_FEATURES: 0x020,
  DRIVER_FEATURES_SEL: 0x024,
  QUEUE_SEL: 0x030,
  QUEUE_SIZE_MAX: 0x034,
  QUEUE_SIZE: 0x038,
  QUEUE_READY: 0x044,
  QUEUE_NOTIFY: 0x050,
  INTERRUPT_STATUS: 0x060,
  INTERRUPT_ACK: 0x064,
  STATUS: 0x070,
  QUEUE_DESC: 0x080,
  QUEUE_DRIVER: 0x090,
  QUEUE_DEVICE: 0x0a0,
  CONFIG_GENERATION: 0x0fc,
  CONFIG: 0x100,
} as const;

export const MMIO_SIZE_BYTES = 0x1000;
const MAGIC = 0x7472_6976;
/** "2 for non-legacy devices". */
const VERSION = 2;
/** "TKVM"; the register means nothing to drivers. */
const VENDOR_ID = 0x4d56_4b54;

/** The register window of `device`. */
export function virtioMmio(device: VirtioDevice): DeviceDefinition<ReturnType<typeof transportFields>> {
  const offered = featureWords(device);
  return defineDevice({
    name: device.name,
    state: transportFields(device.queueSizes.length),
    accessBytes: 4,
    reset: (state) => resetTransport(device, state),
    read: (state, offset, sizeBytes) => read({ device, offered }, state, offset, sizeBytes),
    write: (state, offset, sizeBytes, value, port) => write({ device, offered }, state, offset, sizeBytes, value, port),
  });
}

/** Registers are read and written by aligned 32-bit accesses (section 4.2.2.2); others read as zero and change nothing. */
function read({ device, offered }: Transport, state: TransportState, offset: number, sizeBytes: number): number {
  if (offset >= MMIO.CONFIG) return readDeviceConfig(state.config, offset - MMIO.CONFIG, sizeBytes);
  if (sizeBytes !== 4) return 0;
  switch (offset) {
    case MMIO.MAGIC_VALUE:
      return MAGIC;
    case MMIO.VERSION:
      return VERSION;
    case MMIO.DEVICE_ID:
      return device.deviceId;
    case MMIO.VENDOR_ID:
      return VENDOR_ID;
    case MMIO.DEVICE_FEATURES:
      return offered[state.deviceFeaturesSel] ?? 0;
    case MMIO.QUEUE_SIZE_MAX:
      return device.queueSizes[state.queueSel] ?? 0;
    case MMIO.QUEUE_READY:
      return queueWord(state, QUEUE.READY) ?? 0;
    case MMIO.INTERRUPT_STATUS:
      return Atomics.load(state.shared, SHARED.INTERRUPT);
    case MMIO.STATUS:
      return Atomics.load(state.shared, SHARED.STATUS);
    case MMIO.CONFIG_GENERATION:
      return state.configGeneration;
    default:
      return 0;
  }
}

function write(
  fixed: Transport,
  state: TransportState,
  offset: number,
  sizeBytes: number,
  value: number,
  port: DevicePort,
): void {
  if (offset >= MMIO.CONFIG) {
    writeDeviceConfig(fixed.device, state.config, offset - MMIO.CONFIG, sizeBytes, value, port);
    return;
  }
  if (sizeBytes !== 4) return;
  switch (offset) {
    case MMIO.DEVICE_FEATURES_SEL:
      state.deviceFeaturesSel = value;
      return;
    case MMIO.DRIVER_FEATURES_SEL:
      state.driverFeaturesSel = value;
      return;
    case MMIO.DRIVER_FEATURES:
      setDriverFeatures(state, value);
      return;
    case MMIO.QUEUE_SEL:
      state.queueSel = value;
      return;
    case MMIO.QUEUE_NOTIFY:
      // An ioeventfd takes these before they leave the kernel; one that comes here names a queue that is not there.
      return;
    case MMIO.INTERRUPT_ACK:
      Atomics.and(state.shared, SHARED.INTERRUPT, ~value);
      return;
    case MMIO.STATUS:
      if (writeStatus(fixed, state, value)) port.setIrq(0);
      return;
    default:
      writeQueue(fixed.device, state, offset, value);
  }
}

/** The queue's registers are words in the order of QUEUE's, but for its size and whether it is ready. */
function writeQueue(device: VirtioDevice, state: TransportState, offset: number, value: number): void {
  switch (offset) {
    case MMIO.QUEUE_READY:
      setQueueReady(device, state, value);
      return;
    case MMIO.QUEUE_SIZE:
      setQueueWord(device, state, QUEUE.SIZE, value);
      return;
    case MMIO.QUEUE_DESC:
    case MMIO.QUEUE_DESC + 4:
      setQueueWord(device, state, QUEUE.DESC + (offset - MMIO.QUEUE_DESC) / 4, value);
      return;
    case MMIO.QUEUE_DRIVER:
    case MMIO.QUEUE_DRIVER + 4:
      setQueueWord(device, state, QUEUE.DRIVER + (offset - MMIO.QUEUE_DRIVER) / 4, value);
      return;
    case MMIO.QUEUE_DEVICE:
    case MMIO.QUEUE_DEVICE + 4:
      setQueueWord(device, state, QUEUE.DEVICE + (offset - MMIO.QUEUE_DEVICE) / 4, value);
      return;
  }
}
