/**
 * The qid of a file. Its path is the inode's number and, for what is mounted inside the folder, a small number for the device, as
 * inode numbers of two file systems may be the same. Its version tells a file from an earlier one with the same inode number: it is made
 * of the time of birth. It does not change when the file does: Linux takes a cached inode with another version for another file, and would
 * then keep two caches for two names of one file.
 */
import { constants } from "node:fs";
import type { Statx } from "@tools-kvm/kvm-binding";
import { type Qid, QidType } from "./wire.js";

const INODE_BITS = 48n;
const INODE_MASK = (1n << INODE_BITS) - 1n;
const HASHED_DEVICE = 0xffffn;
const MASK_64 = (1n << 64n) - 1n;

export class QidMaker {
  /** The share's own device is 0. */
  readonly #devices = new Map<string, bigint>();

  constructor(root: Statx) {
    this.#devices.set(deviceOf(root), 0n);
  }

  of(status: Statx): Qid {
    return {
      type: qidTypeOf(status.stxMode),
      version: Number(BigInt.asUintN(32, mix((status.stxBtimeTvSec << 30n) ^ BigInt(status.stxBtimeTvNsec)))),
      path: this.path(deviceOf(status), status.stxIno),
    };
  }

  /** What directory entries have: no more than a number. */
  path(device: string, ino: bigint): bigint {
    const index = this.#index(device);
    if (ino <= INODE_MASK && index < HASHED_DEVICE) return (index << INODE_BITS) | ino;
    return (HASHED_DEVICE << INODE_BITS) | (mix(ino ^ mix(index)) & INODE_MASK);
  }

  #index(device: string): bigint {
    const known = this.#devices.get(device);
    if (known !== undefined) return known;
    const index = BigInt(this.#devices.size);
    this.#devices.set(device, index);
    return index;
  }
}

/** "major:minor" of the device that the file is on. */
export function deviceOf(status: Statx): string {
  return `${status.stxDevMajor}:${status.stxDevMinor}`;
}

export function qidTypeOf(mode: number): number {
  const format = mode & constants.S_IFMT;
  if (format === constants.S_IFDIR) return QidType.directory;
  return format === constants.S_IFLNK ? QidType.symlink : QidType.file;
}

/** Spreads 64 bits over 64 bits, one to one (the finalizer of MurmurHash3). */
function mix(value: bigint): bigint {
  let x = value & MASK_64;
  x = ((x ^ (x >> 33n)) * 0xff51afd7ed558ccdn) & MASK_64;
  x = ((x ^ (x >> 33n)) * 0xc4ceb9fe1a85ec53n) & MASK_64;
  return x ^ (x >> 33n);
}
