/** The block device (virtio 1.2, section 5.2): what its driver is told. */
import type { VirtioDevice } from "../../device.js";
import { DEVICE_ID } from "../../ids.js";

export const BLOCK_FEATURE = {
  SEG_MAX: 2,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  TOPOLOGY: 10,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
} as const;

/** All offsets and lengths on the wire are in these, whatever the block size (section 5.2.6). */
export const SECTOR_BYTES = 512;
export const QUEUE_SIZE = 256;
/** Header and status take two descriptors of a chain. */
const SEG_MAX = QUEUE_SIZE - 2;
/** What one discard or write-zeroes request may cover: 1 GiB. */
export const MOST_RANGE_SECTORS = 2 ** 30 / SECTOR_BYTES;
export const MOST_RANGES = 16;

/** Offsets in the configuration space (section 5.2.4). */
const CONFIG = {
  CAPACITY: 0,
  SEG_MAX: 12,
  BLK_SIZE: 20,
  NUM_QUEUES: 34,
  MAX_DISCARD_SECTORS: 36,
  MAX_DISCARD_SEG: 40,
  DISCARD_SECTOR_ALIGNMENT: 44,
  MAX_WRITE_ZEROES_SECTORS: 48,
  MAX_WRITE_ZEROES_SEG: 52,
  WRITE_ZEROES_MAY_UNMAP: 56,
  BYTES: 60,
} as const;

export interface BlockTraits {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readonly: boolean;
  /** Request queues, 1 to 64. */
  readonly queues: number;
}

/** What lies behind the last whole sector cannot be reached. */
export function capacitySectors(sizeBytes: number): number {
  return Math.floor(sizeBytes / SECTOR_BYTES);
}

export function blockDevice({ name, sizeBytes, readonly, queues }: BlockTraits): VirtioDevice {
  const config = new Uint8Array(CONFIG.BYTES);
  const view = new DataView(config.buffer);
  view.setBigUint64(CONFIG.CAPACITY, BigInt(capacitySectors(sizeBytes)), true);
  view.setUint32(CONFIG.SEG_MAX, SEG_MAX, true);
  view.setUint32(CONFIG.BLK_SIZE, SECTOR_BYTES, true);
  view.setUint16(CONFIG.NUM_QUEUES, queues, true);
  view.setUint32(CONFIG.MAX_DISCARD_SECTORS, MOST_RANGE_SECTORS, true);
  view.setUint32(CONFIG.MAX_DISCARD_SEG, MOST_RANGES, true);
  view.setUint32(CONFIG.DISCARD_SECTOR_ALIGNMENT, 1, true);
  view.setUint32(CONFIG.MAX_WRITE_ZEROES_SECTORS, MOST_RANGE_SECTORS, true);
  view.setUint32(CONFIG.MAX_WRITE_ZEROES_SEG, MOST_RANGES, true);
  view.setUint8(CONFIG.WRITE_ZEROES_MAY_UNMAP, 1);
  const { SEG_MAX: SEG, BLK_SIZE, FLUSH, MQ, RO, DISCARD, WRITE_ZEROES } = BLOCK_FEATURE;
  return {
    name,
    deviceId: DEVICE_ID.BLOCK,
    features: [SEG, BLK_SIZE, FLUSH, ...(queues > 1 ? [MQ] : []), ...(readonly ? [RO] : [DISCARD, WRITE_ZEROES])],
    queueSizes: new Array<number>(queues).fill(QUEUE_SIZE),
    config,
  };
}
