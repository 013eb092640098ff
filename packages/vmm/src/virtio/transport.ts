/**
 * What a virtio device's driver sets up, whatever bus it stands on (virtio 1.2, chapters 2 and 3): status, features, queues and
 * configuration, as state in shared memory. A transport is only where each of these is found among its registers.
 */
import type { DevicePort } from "../devices/device.js";
import { bytes, type Struct, u32, words } from "../state/struct.js";
import type { VirtioDevice } from "./device.js";
import { FEATURE, INTERRUPT, STATUS } from "./ids.js";

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
  /** Not 0 while the bus keeps the device away from memory: it looks at no queue. */
  HELD_OFF: 4,
  WORDS: 5,
} as const;

export const transportFields = (queues: number) => ({
  shared: words(SHARED.WORDS),
  deviceFeaturesSel: u32,
  driverFeaturesSel: u32,
  driverFeatures: words(FEATURE_WORDS),
  queueSel: u32,
  queues: words(QUEUE.WORDS * queues),
  configGeneration: u32,
  config: bytes(MOST_CONFIG_BYTES),
});

export type TransportState = Struct<ReturnType<typeof transportFields>>;

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

export function hasFeature({ driverFeatures }: Pick<TransportState, "driverFeatures">, feature: number): boolean {
  return (driverFeatures[feature >> 5]! & (1 << (feature & 31))) !== 0;
}

export interface Transport {
  readonly device: VirtioDevice;
  readonly offered: readonly [number, number];
}

/** As after power-on. Waits until nobody is at the queues. */
export function resetTransport({ config, queueSizes, keptConfig = [0, 0] }: VirtioDevice, state: TransportState): void {
  const { shared } = state;
  // From here on the I/O Worker begins nothing new; what it is at, it ends first.
  Atomics.store(shared, SHARED.STATUS, 0);
  const isFirst = Atomics.add(shared, SHARED.EPOCH, 1) === 0;
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
  const kept = state.config.slice(...keptConfig);
  state.config.fill(0);
  state.config.set(config);
  if (!isFirst) state.config.set(kept, keptConfig[0]);
  Atomics.store(shared, SHARED.INTERRUPT, 0);
  releaseQueues(shared);
}

/** The bus lets the device reach memory from now on, or not any more: then nobody is at the queues when this returns. */
export function holdOff({ shared }: Pick<TransportState, "shared">, isHeldOff: boolean): void {
  Atomics.store(shared, SHARED.HELD_OFF, isHeldOff ? 1 : 0);
  if (!isHeldOff) return;
  holdQueues(shared);
  releaseQueues(shared);
}

export function isHeldOff({ shared }: Pick<TransportState, "shared">): boolean {
  return Atomics.load(shared, SHARED.HELD_OFF) !== 0;
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

/** Writes to what the driver accepts of the word that it has selected: fixed once the device has agreed (section 3.1.1). */
export function setDriverFeatures(state: TransportState, value: number): void {
  if (state.driverFeaturesSel >= FEATURE_WORDS || hasStatus(state, STATUS.FEATURES_OK)) return;
  state.driverFeatures[state.driverFeaturesSel] = value;
}

/** Of the selected queue; undefined when there is no such queue. */
export function queueWord({ queues, queueSel }: TransportState, field: number): number | undefined {
  return queues[QUEUE.WORDS * queueSel + field];
}

/** A new value for SIZE, or for a half of an address, of the selected queue. One in use is left as it is. */
export function setQueueWord({ queueSizes }: VirtioDevice, state: TransportState, field: number, value: number): void {
  const most = queueSizes[state.queueSel];
  if (most === undefined || queueWord(state, QUEUE.READY) !== 0) return;
  // A packed queue need not be a power of two (section 2.8.10.1).
  const fits = value >= 1 && value <= most && (hasFeature(state, FEATURE.RING_PACKED) || (value & (value - 1)) === 0);
  if (field !== QUEUE.SIZE || fits) state.queues[QUEUE.WORDS * state.queueSel + field] = value;
}

export function setQueueReady(
  { queueSizes }: VirtioDevice,
  { queues, queueSel, shared }: TransportState,
  ready: number,
): void {
  if (queueSel >= queueSizes.length) return;
  queues[QUEUE.WORDS * queueSel + QUEUE.READY] = ready & 1;
  Atomics.add(shared, SHARED.EPOCH, 1);
  // A driver that takes its queue away may use the memory at once.
  holdQueues(shared);
  releaseQueues(shared);
}

/** A driver's write to the configuration space: only what is the driver's changes. A character of an emergency is emitted. */
export function writeDeviceConfig(
  { driverConfig = [0, 0], emergencyWrite }: VirtioDevice,
  config: Uint8Array,
  at: number,
  sizeBytes: number,
  value: number,
  port: Pick<DevicePort, "emit">,
): void {
  const [from, to] = driverConfig;
  if (at === emergencyWrite) port.emit(value & 0xff);
  for (let i = 0; i < sizeBytes; i++) if (at + i >= from && at + i < to) config[at + i] = value >>> (8 * i);
}

/** Bytes of the configuration space; zeros beyond its end. */
export function readDeviceConfig(config: Uint8Array, at: number, sizeBytes: number): number {
  let value = 0;
  for (let i = sizeBytes - 1; i >= 0; i--) value = value * 256 + (config[at + i] ?? 0);
  return value;
}

function hasStatus({ shared }: TransportState, bit: number): boolean {
  return (Atomics.load(shared, SHARED.STATUS) & bit) !== 0;
}

/** True when the driver has reset the device. */
export function writeStatus({ device, offered }: Transport, state: TransportState, value: number): boolean {
  if (value === 0) {
    resetTransport(device, state);
    return true;
  }
  const { driverFeatures, shared } = state;
  const unknown = driverFeatures.some((word, index) => (word & ~offered[index]!) !== 0);
  // FEATURES_OK stays clear unless the device can work with what was chosen (section 3.1.1, step 6).
  const acceptable = !unknown && hasFeature(state, FEATURE.VERSION_1);
  const wanted = acceptable ? value : value & ~STATUS.FEATURES_OK;
  // Only with bits that are the driver's, one by one: the device may say DEVICE_NEEDS_RESET at the same moment.
  Atomics.and(shared, SHARED.STATUS, wanted | ~DRIVER_STATUS);
  Atomics.or(shared, SHARED.STATUS, wanted & DRIVER_STATUS);
  return false;
}

/** Notes why the driver is about to be interrupted. */
export function noteInterrupt({ shared }: Pick<TransportState, "shared">, why: number = INTERRUPT.USED_BUFFER): void {
  Atomics.or(shared, SHARED.INTERRUPT, why);
}

/** The device gives up: the driver has done what it must not (section 2.1.2). */
export function needReset({ shared }: Pick<TransportState, "shared">): void {
  Atomics.or(shared, SHARED.STATUS, STATUS.DEVICE_NEEDS_RESET);
  Atomics.or(shared, SHARED.INTERRUPT, INTERRUPT.CONFIGURATION_CHANGE);
}
