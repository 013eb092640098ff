/**
 * Who may open an image besides us. Byte-range locks on the image's file, the same bytes that QEMU uses, so that a machine of
 * either kind keeps the other out: an image that is written has one user, an image that is only read has any number.
 *
 * For each right r, a lock on byte 100 + r says "I use it", one on byte 200 + r says "nobody else may". All are read locks,
 * taken first and examined then: of two that open at the same moment both may fail, never both succeed.
 */
import { isLockedByOthers, tryLock } from "@tools-kvm/kvm-binding";
import { DiskError, errnoOf } from "./errors.js";

const USED = 100;
const DENIED = 200;
const RIGHT = { read: 0, write: 1, resize: 3 } as const;

/**
 * Locks an open image, until its descriptor is closed. A reader refuses writers, a writer refuses writers and readers.
 * @throws DiskError EBUSY when somebody else has it, ENOLCK where the file system has no locks
 */
export function lockImage(fd: number, path: string, readonly: boolean): void {
  const used = readonly ? [RIGHT.read] : [RIGHT.read, RIGHT.write, RIGHT.resize];
  const denied = readonly ? [RIGHT.write, RIGHT.resize] : [RIGHT.read, RIGHT.write, RIGHT.resize];
  const free = (byte: number) => !isLockedByOthers(fd, byte, 1);
  try {
    const taken = [...used.map((r) => USED + r), ...denied.map((r) => DENIED + r)].every((offsetBytes) =>
      tryLock(fd, { exclusive: false, offsetBytes, lengthBytes: 1 }),
    );
    if (taken && used.every((r) => free(DENIED + r)) && denied.every((r) => free(USED + r))) return;
  } catch (error) {
    throw new DiskError("ENOLCK", `${path} cannot be locked (${errnoOf(error)}): its file system has no locks`, {
      cause: error,
    });
  }
  throw new DiskError(
    "EBUSY",
    readonly ? `${path} is being written by another process` : `${path} is in use by another process`,
  );
}
