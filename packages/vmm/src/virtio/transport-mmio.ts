/**
 * Virtio over MMIO (virtio 1.2, section 4.2): a device's registers as a window that vCPUs read and write. All state is in
 * shared memory, so the I/O Worker that serves the queues sees what the driver has set up without being told.
 */
import { type DeviceDefinition, type DevicePort, defineDevice } from "../devices/device.js";
import { bytes, type Struct, u32, words } from "../state/struct.js";
import type { VirtioDevice } from "./device.js";
import { FEATURE, INTERRUPT, STATUS } from "./ids.js";

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

/** Words of a queue's registers in `queues`. */
export const QUEUE = { SIZE: 0, READY: 1, DESC: 2, DRIVER: 4, DEVICE: 6, WORDS: 8 } as const;
const FEATURE_WORDS = 2;
/** Config accesses of a driver may have any width; the window takes them byte by byte. */
const MOST_CONFIG_BYTES = 256;

/** Index of each word in `shared`, which the vCPUs' threads and the I/O Worker change with atomics. */
export const SHARED = {
  STATUS: 0,
  INTERRUPT: 1,
  /** Counts what makes queues that were set up worthless: resets and changes of QueueReady. */
  EPOCH: 2,
  /** A lock: held by the I/O Worker while it is at the queues, and by a reset, which waits for it. */
  BUSY: 3,
  WORDS: 4,
} as const;

const fieldsFor = (queues: number) => ({
  shared: words(SHARED.WORDS),
  deviceFeaturesSel: u32,
  driverFeaturesSel: u32,
  driverFeatures: words(FEATURE_WORDS),
  queueSel: u32,
  queues: words(QUEUE.WORDS * queues),
  configGeneration: u32,
  config: bytes(MOST_CONFIG_BYTES),
});

export type MmioState = Struct<ReturnType<typeof fieldsFor>>;

/** The status bits that drivers set: all but DEVICE_NEEDS_RESET. */
const DRIVER_STATUS = 0xff & ~STATUS.DEVICE_NEEDS_RESET;

/** What every device offers beside its own features. */
const COMMON_FEATURES = [FEATURE.VERSION_1, FEATURE.RING_INDIRECT_DESC, FEATURE.RING_EVENT_IDX];

/** The features as two words. */
export function featureWords({ features }: VirtioDevice): [number, number] {
  const mask: [number, number] = [0, 0];
  for (const feature of [...COMMON_FEATURES, ...features]) mask[feature >> 5]! |= 1 << (feature & 31);
  return [mask[0] >>> 0, mask[1] >>> 0];
}

export function hasFeature({ driverFeatures }: Pick<MmioState, "driverFeatures">, feature: number): boolean {
  return (driverFeatures[feature >> 5]! & (1 << (feature & 31))) !== 0;
}

/** The register window of `device`. */
export function virtioMmio(device: VirtioDevice): DeviceDefinition<ReturnType<typeof fieldsFor>> {
  const offered = featureWords(device);
  return defineDevice({
    name: device.name,
    state: fieldsFor(device.queueSizes.length),
    accessBytes: 4,
    reset: (state) => resetState(device, state),
    read: (state, offset, sizeBytes) => read({ device, offered }, state, offset, sizeBytes),
    write: (state, offset, sizeBytes, value, port) => write({ device, offered }, state, offset, sizeBytes, value, port),
  });
}

interface Fixed {
  readonly device: VirtioDevice;
  readonly offered: readonly [number, number];
}

function resetState({ config, queueSizes }: VirtioDevice, state: MmioState): void {
  const { shared } = state;
  // From here on the I/O Worker begins nothing new; what it is at, it ends first.
  Atomics.store(shared, SHARED.STATUS, 0);
  Atomics.add(shared, SHARED.EPOCH, 1);
  holdQueues(shared);
  state.queues.fill(0);
  queueSizes.forEach((size, index) => {
    state.queues[QUEUE.WORDS * index + QUEUE.SIZE] = size;
  });
  state.driverFeatures.fill(0);
  state.deviceFeaturesSel = 0;
  state.driverFeaturesSel = 0;
  state.queueSel = 0;
  state.configGeneration = 0;
  state.config.fill(0);
  state.config.set(config);
  Atomics.store(shared, SHARED.INTERRUPT, 0);
  releaseQueues(shared);
}

const FREE = 0;
const HELD = 1;

/** The same words as Atomics.wait wants them; a view costs more than taking the lock. */
const signedWords = new WeakMap<Uint32Array, Int32Array>();

function busyWord(shared: Uint32Array): Int32Array {
  let words = signedWords.get(shared);
  if (words === undefined) {
    words = new Int32Array(shared.buffer, shared.byteOffset, shared.length);
    signedWords.set(shared, words);
  }
  return words;
}

/** Keeps everybody else away from the queues. Seldom contended: a reset or a pause meets the I/O Worker. */
export function holdQueues(shared: Uint32Array): void {
  while (!tryHoldQueues(shared)) Atomics.wait(busyWord(shared), SHARED.BUSY, HELD);
}

/** The same without waiting: false when somebody else is at them. */
export function tryHoldQueues(shared: Uint32Array): boolean {
  return Atomics.compareExchange(shared, SHARED.BUSY, FREE, HELD) === FREE;
}

/** Resolves when nobody may be at the queues any more, or after `timeoutMs`. */
export async function untilQueuesFree(shared: Uint32Array, timeoutMs: number): Promise<void> {
  const change = Atomics.waitAsync(busyWord(shared), SHARED.BUSY, HELD, timeoutMs);
  if (change.async) await change.value;
}

export function releaseQueues(shared: Uint32Array): void {
  Atomics.store(shared, SHARED.BUSY, FREE);
  // All of them: one that waits asynchronously may have been given up meanwhile.
  Atomics.notify(busyWord(shared), SHARED.BUSY);
}

/** Registers are read and written by aligned 32-bit accesses (section 4.2.2.2); others read as zero and change nothing. */
function read({ device, offered }: Fixed, state: MmioState, offset: number, sizeBytes: number): number {
  if (offset >= MMIO.CONFIG) return readConfig(state.config, offset - MMIO.CONFIG, sizeBytes);
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
      return state.queues[QUEUE.WORDS * state.queueSel + QUEUE.READY] ?? 0;
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

function readConfig(config: Uint8Array, at: number, sizeBytes: number): number {
  let value = 0;
  for (let i = sizeBytes - 1; i >= 0; i--) value = value * 256 + (config[at + i] ?? 0);
  return value;
}

function write(
  fixed: Fixed,
  state: MmioState,
  offset: number,
  sizeBytes: number,
  value: number,
  port: DevicePort,
): void {
  if (sizeBytes !== 4 || offset >= MMIO.CONFIG) return;
  switch (offset) {
    case MMIO.DEVICE_FEATURES_SEL:
      state.deviceFeaturesSel = value;
      return;
    case MMIO.DRIVER_FEATURES_SEL:
      state.driverFeaturesSel = value;
      return;
    case MMIO.DRIVER_FEATURES:
      // Fixed once the device has accepted them (section 3.1.1).
      if (state.driverFeaturesSel < FEATURE_WORDS && !hasStatus(state, STATUS.FEATURES_OK))
        state.driverFeatures[state.driverFeaturesSel] = value;
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
      writeStatus(fixed, state, value, port);
      return;
    default:
      writeQueue(fixed.device, state, offset, value);
  }
}

function hasStatus({ shared }: MmioState, bit: number): boolean {
  return (Atomics.load(shared, SHARED.STATUS) & bit) !== 0;
}

function writeStatus({ device, offered }: Fixed, state: MmioState, value: number, port: DevicePort): void {
  if (value === 0) {
    resetState(device, state);
    port.setIrq(0);
    return;
  }
  const { driverFeatures, shared } = state;
  const unknown = driverFeatures.some((word, index) => (word & ~offered[index]!) !== 0);
  // FEATURES_OK stays clear unless the device can work with what was chosen (section 3.1.1, step 6).
  const acceptable = !unknown && hasFeature(state, FEATURE.VERSION_1);
  const wanted = acceptable ? value : value & ~STATUS.FEATURES_OK;
  // Only with bits that are the driver's, one by one: the device may say DEVICE_NEEDS_RESET at the same moment.
  Atomics.and(shared, SHARED.STATUS, wanted | ~DRIVER_STATUS);
  Atomics.or(shared, SHARED.STATUS, wanted & DRIVER_STATUS);
}

function writeQueue({ queueSizes }: VirtioDevice, state: MmioState, offset: number, value: number): void {
  const most = queueSizes[state.queueSel];
  if (most === undefined) return;
  const { queues, shared } = state;
  const at = QUEUE.WORDS * state.queueSel;
  if (offset === MMIO.QUEUE_READY) {
    queues[at + QUEUE.READY] = value & 1;
    Atomics.add(shared, SHARED.EPOCH, 1);
    // A driver that takes its queue away may use the memory at once.
    holdQueues(shared);
    releaseQueues(shared);
    return;
  }
  // A queue in use is left as it is (section 4.2.2.2).
  if (queues[at + QUEUE.READY] !== 0) return;
  switch (offset) {
    case MMIO.QUEUE_SIZE:
      // A packed queue need not be a power of two (section 2.8.10.1).
      if (value >= 1 && value <= most && (hasFeature(state, FEATURE.RING_PACKED) || (value & (value - 1)) === 0))
        queues[at + QUEUE.SIZE] = value;
      return;
    case MMIO.QUEUE_DESC:
    case MMIO.QUEUE_DESC + 4:
      queues[at + QUEUE.DESC + (offset - MMIO.QUEUE_DESC) / 4] = value;
      return;
    case MMIO.QUEUE_DRIVER:
    case MMIO.QUEUE_DRIVER + 4:
      queues[at + QUEUE.DRIVER + (offset - MMIO.QUEUE_DRIVER) / 4] = value;
      return;
    case MMIO.QUEUE_DEVICE:
    case MMIO.QUEUE_DEVICE + 4:
      queues[at + QUEUE.DEVICE + (offset - MMIO.QUEUE_DEVICE) / 4] = value;
      return;
  }
}

/** Notes why the driver is about to be interrupted. */
export function noteInterrupt({ shared }: Pick<MmioState, "shared">, why: number = INTERRUPT.USED_BUFFER): void {
  Atomics.or(shared, SHARED.INTERRUPT, why);
}

/** The device gives up: the driver has done what it must not (section 2.1.2). */
export function needReset({ shared }: Pick<MmioState, "shared">): void {
  Atomics.or(shared, SHARED.STATUS, STATUS.DEVICE_NEEDS_RESET);
  Atomics.or(shared, SHARED.INTERRUPT, INTERRUPT.CONFIGURATION_CHANGE);
}
