/** What a file is: Tgetattr, Tsetattr, Tstatfs. */
import { closeSync, constants, ftruncateSync } from "node:fs";
import { EFBIG, EINVAL, fsAt, STATX_BTIME } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import type { Fid } from "./fids.js";
import { storedMode } from "./ownership.js";
import { checkWritable, type Handlers } from "./session.js";

/** P9_STATS_BASIC and P9_STATS_BTIME. */
const STATS_BASIC = 0x7ffn;
const STATS_BTIME = 0x800n;

/** P9_ATTR_. */
const Valid = {
  ...{ mode: 0x1, uid: 0x2, gid: 0x4, size: 0x8, atime: 0x10, mtime: 0x20, ctime: 0x40 },
  ...{ atimeSet: 0x80, mtimeSet: 0x100 },
} as const;

const NANOSECONDS = 1_000_000_000n;

export const attributes: Handlers<"getattr" | "setattr" | "statfs"> = {
  getattr({ folder, fids }, { fid }) {
    const s = fids.get(fid).file.status();
    const hasBirth = (s.stxMask & STATX_BTIME) !== 0;
    return {
      valid: STATS_BASIC | (hasBirth ? STATS_BTIME : 0n),
      qid: folder.qids.of(s),
      mode: s.stxMode,
      uid: s.stxUid,
      gid: s.stxGid,
      nlink: BigInt(s.stxNlink),
      rdev: deviceNumber(s.stxRdevMajor, s.stxRdevMinor),
      size: s.stxSize,
      blksize: BigInt(s.stxBlksize),
      blocks: s.stxBlocks,
      atimeSec: seconds(s.stxAtimeTvSec),
      atimeNsec: BigInt(s.stxAtimeTvNsec),
      mtimeSec: seconds(s.stxMtimeTvSec),
      mtimeNsec: BigInt(s.stxMtimeTvNsec),
      ctimeSec: seconds(s.stxCtimeTvSec),
      ctimeNsec: BigInt(s.stxCtimeTvNsec),
      btimeSec: hasBirth ? seconds(s.stxBtimeTvSec) : 0n,
      btimeNsec: hasBirth ? BigInt(s.stxBtimeTvNsec) : 0n,
      gen: 0n,
      dataVersion: 0n,
    };
  },

  /** Owner first, as a change of it clears setuid bits; times last, as a change of size sets them. */
  setattr(session, { fid: number, valid, mode, uid, gid, size, ...times }) {
    checkWritable(session);
    const { policy } = session;
    const fid = session.fids.get(number);
    const { fd, isDirectory } = fid.file;
    if (policy.ownership === "passthrough" && (valid & (Valid.uid | Valid.gid)) !== 0) {
      fsAt.fchownat(fd, valid & Valid.uid ? uid : fsAt.UNCHANGED_ID, valid & Valid.gid ? gid : fsAt.UNCHANGED_ID);
    }
    if (valid & Valid.mode) {
      if (process.geteuid?.() !== 0) session.fids.openFiles.unpark(fid.file);
      fsAt.fchmod(fid.file.fd, storedMode(policy, mode, isDirectory));
    }
    if (valid & Valid.size) truncate(fid, size);
    if (valid & (Valid.atime | Valid.mtime)) {
      const atime = timeToSet(valid & Valid.atime, valid & Valid.atimeSet, times.atimeSec, times.atimeNsec);
      const mtime = timeToSet(valid & Valid.mtime, valid & Valid.mtimeSet, times.mtimeSec, times.mtimeNsec);
      fsAt.utimensat(fid.file.fd, atime, mtime);
    }
    if (valid === Valid.ctime) fsAt.fchownat(fd, fsAt.UNCHANGED_ID, fsAt.UNCHANGED_ID);
    return {};
  },

  statfs({ fids }, { fid }) {
    const { type, bsize, namelen, ...counts } = fsAt.fstatfs(fids.get(fid).file.fd);
    return { type: u32(type), bsize: u32(bsize), namelen: u32(namelen), ...counts };
  },
};

const u32 = (value: bigint): number => Number(BigInt.asUintN(32, value));

/** Seconds before 1970 are negative, which the wire has as two's complement. */
const seconds = (value: bigint): bigint => BigInt.asUintN(64, value);

/** A device number as Linux encodes it for user space (include/linux/kdev_t.h, new_encode_dev). */
function deviceNumber(major: number, minor: number): bigint {
  return BigInt((minor & 0xff) | ((major & 0xfff) << 8)) | (BigInt(minor & ~0xff) << 12n);
}

function timeToSet(valid: number, set: number, sec: bigint, nsec: bigint): { sec: bigint; nsec: number } {
  if (valid === 0) return { sec: 0n, nsec: fsAt.UTIME_OMIT };
  if (set === 0) return { sec: 0n, nsec: fsAt.UTIME_NOW };
  if (nsec >= NANOSECONDS) throw new ShareError(EINVAL, "a second has only so many nanoseconds");
  return { sec: BigInt.asIntN(64, sec), nsec: Number(nsec) };
}

/** Through the fid's own opening if there is one: a file that was opened for writing may be truncated, whatever its mode says by now. */
function truncate({ file, use }: Fid, size: bigint): void {
  if (!file.isRegular) throw new ShareError(EINVAL, "only a file has a length");
  if (size > Number.MAX_SAFE_INTEGER) throw new ShareError(EFBIG, "no file is that long");
  if (use?.kind === "open") {
    try {
      ftruncateSync(use.fd, Number(size));
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error; // it is open for reading only
    }
  }
  const fd = file.open(constants.O_WRONLY);
  try {
    ftruncateSync(fd, Number(size));
  } finally {
    closeSync(fd);
  }
}
