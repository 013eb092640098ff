/**
 * What a disk image needs of its file and node:fs lacks. All take the number of an open descriptor, of a regular file or block
 * device, and all throw KvmError: `INVALID` for a range that is none, or that leaves a regular file; `ERRNO` for what the kernel
 * refuses.
 */
import { native } from "./load-native.js";

/** Gives a range back to the file system or device (fallocate(2), FALLOC_FL_PUNCH_HOLE): it reads as zeros. EOPNOTSUPP where that cannot be. */
export function punchHole(fd: number, offsetBytes: number, lengthBytes: number): void {
  native.filePunchHole(fd, offsetBytes, lengthBytes);
}

/** Makes a range read as zeros and keeps its space reserved (FALLOC_FL_ZERO_RANGE). EOPNOTSUPP where that cannot be. */
export function zeroRange(fd: number, offsetBytes: number, lengthBytes: number): void {
  native.fileZeroRange(fd, offsetBytes, lengthBytes);
}

/**
 * Takes an open file description lock (fcntl(2), F_OFD_SETLK) on a range, which need not exist in the file, without waiting.
 * It ends with the last descriptor of that open file, and keeps out other threads of this process as well as other processes.
 * @returns whether it was got
 */
export function tryLock(fd: number, o: { exclusive: boolean; offsetBytes: number; lengthBytes: number }): boolean {
  return native.fileLock(fd, o.exclusive, o.offsetBytes, o.lengthBytes);
}

/** Whether anybody else, by another open of the file, has a lock of either kind on some byte of the range (F_OFD_GETLK). */
export function isLockedByOthers(fd: number, offsetBytes: number, lengthBytes: number): boolean {
  return native.fileLocked(fd, offsetBytes, lengthBytes);
}

/** How many bytes the first byte of `view` lies past a page boundary of this process, 0 to 4095: what O_DIRECT asks about. */
export function pageMisalignment(view: ArrayBufferView): number {
  return native.memoryMisalignment(view, 4096);
}
