/**
 * Files named by the descriptor of a directory and one name in it: what node:fs lacks, and what a server needs that must not
 * leave a folder. Names are bytes, as the kernel has them; a name that is empty, `.`, `..`, longer than 255 bytes or has a `/` or NUL
 * in it is `INVALID` and never reaches the kernel. No call follows a symbolic link.
 *
 * Descriptors are plain numbers, O_PATH ones too unless told otherwise, and belong to the caller. All calls throw KvmError: `INVALID`, or
 * `ERRNO` with what the kernel said. Those marked (proc) reach the file by /proc/self/fd, which must be mounted.
 */
import { Statx } from "./generated/layouts.js";
import { STATX_BASIC_STATS, STATX_BTIME } from "./generated/system-constants.js";
import { native } from "./load-native.js";

/** Leaves an owner or group as it is (chown(2)). */
export const UNCHANGED_ID = 0xffff_ffff;
/** As nanoseconds: the present time, or the time left as it is (utimensat(2)). */
export const UTIME_NOW = 0x3fff_ffff;
export const UTIME_OMIT = 0x3fff_fffe;

/**
 * openat2(2), always with O_CLOEXEC.
 * @param path relative to `dirFd` as far as `resolve` (RESOLVE_BENEATH and its like) allows; may have several components
 * @param flags O_ flags below bit 32; `mode` must be 0 unless O_CREAT or O_TMPFILE is among them
 * @returns the new descriptor
 */
export function openat2(dirFd: number, path: Uint8Array, o: { flags: number; mode?: number; resolve: number }): number {
  return native.fsOpenat2(dirFd, path, o.flags, o.mode ?? 0, o.resolve);
}

/** statx(2) of a name in a directory, or with null of what `fd` itself stands for; basic fields and the time of birth. */
export function statx(fd: number, name: Uint8Array | null): Statx {
  const status = new Statx();
  native.fsStatx(fd, name, STATX_BASIC_STATS | STATX_BTIME, status.bytes);
  return status;
}

/** mkdirat(2). The process's umask applies to `mode`. */
export function mkdirat(dirFd: number, name: Uint8Array, mode: number): void {
  native.fsMkdirat(dirFd, name, mode);
}

/** mknodat(2): `mode` has the type too. The process's umask applies. */
export function mknodat(dirFd: number, name: Uint8Array, mode: number, device: { major: number; minor: number }): void {
  native.fsMknodat(dirFd, name, mode, device.major, device.minor);
}

/** symlinkat(2). `target` is any text of 1 to 4095 bytes: nothing is looked up. */
export function symlinkat(target: Uint8Array, dirFd: number, name: Uint8Array): void {
  native.fsSymlinkat(target, dirFd, name);
}

/** Where the symbolic link points that an O_PATH | O_NOFOLLOW descriptor stands for (readlinkat(2)). */
export function readlinkat(fd: number): Uint8Array {
  const target = new Uint8Array(4096);
  return target.slice(0, native.fsReadlinkat(fd, target));
}

/** linkat(2): one more name for the file behind `fd`, be it a symbolic link (proc). ENOENT when it has no name left. */
export function linkat(fd: number, dirFd: number, name: Uint8Array): void {
  native.fsLinkat(fd, dirFd, name);
}

/** unlinkat(2); with `directory`, an empty directory (AT_REMOVEDIR). */
export function unlinkat(dirFd: number, name: Uint8Array, o: { directory: boolean }): void {
  native.fsUnlinkat(dirFd, name, o.directory);
}

/** renameat2(2), flags RENAME_. */
export function renameat2(fromDirFd: number, from: Uint8Array, toDirFd: number, to: Uint8Array, flags = 0): void {
  native.fsRenameat2(fromDirFd, from, toDirFd, to, flags);
}

/** The file's mode, whatever the umask (proc). EOPNOTSUPP for a symbolic link. */
export function fchmod(fd: number, mode: number): void {
  native.fsFchmod(fd, mode);
}

/** fchownat(2) of the file itself; UNCHANGED_ID leaves either. */
export function fchownat(fd: number, uid: number, gid: number): void {
  native.fsFchownat(fd, uid, gid);
}

/** utimensat(2) of the file itself. Seconds since 1970; nanoseconds, or UTIME_NOW, UTIME_OMIT. */
export function utimensat(
  fd: number,
  atime: { sec: number | bigint; nsec: number },
  mtime: { sec: number | bigint; nsec: number },
): void {
  native.fsUtimensat(fd, atime.sec, atime.nsec, mtime.sec, mtime.nsec);
}

/**
 * getdents64(2) on an open directory (not O_PATH).
 * @param offset a `d_off` of an earlier record, 0 for the beginning, null to go on
 * @param into private memory for struct linux_dirent64 records; EINVAL when not even one fits
 * @returns bytes of records; 0 at the end
 */
export function getdents64(fd: number, offset: number | bigint | null, into: Uint8Array): number {
  return native.fsGetdents64(fd, offset, into);
}

/** getxattr(2) (proc): bytes of the value. An empty `into` only asks how many; ERANGE when it is too small. */
export function getxattr(fd: number, name: Uint8Array, into: Uint8Array): number {
  return native.fsGetxattr(fd, name, into);
}

/** listxattr(2) (proc): bytes of the names, each ended by NUL. */
export function listxattr(fd: number, into: Uint8Array): number {
  return native.fsListxattr(fd, into);
}

/** setxattr(2) (proc), flags XATTR_CREATE or XATTR_REPLACE. */
export function setxattr(fd: number, name: Uint8Array, value: Uint8Array, flags = 0): void {
  native.fsSetxattr(fd, name, value, flags);
}

/** removexattr(2) (proc). */
export function removexattr(fd: number, name: Uint8Array): void {
  native.fsRemovexattr(fd, name);
}

/** struct statfs (statfs(2)): sizes in blocks of `bsize` bytes. */
export interface FileSystemStatus {
  readonly type: bigint;
  readonly bsize: bigint;
  readonly blocks: bigint;
  readonly bfree: bigint;
  readonly bavail: bigint;
  readonly files: bigint;
  readonly ffree: bigint;
  readonly fsid: bigint;
  readonly namelen: bigint;
}

/** fstatfs(2). */
export function fstatfs(fd: number): FileSystemStatus {
  const [type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen] = native.fsFstatfs(fd);
  return { type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen };
}
