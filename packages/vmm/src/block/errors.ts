/** What went wrong with a disk or its file, in one line. `code` is an errno name: "EIO", "EROFS", "ENOTSUP". */
export class DiskError extends Error {
  override readonly name = "DiskError";

  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The errno name of a failure of node:fs, of the binding or of this folder; "" for anything else. */
export function errnoOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return "";
  const { code, errnoName } = error as { code?: unknown; errnoName?: unknown };
  if (typeof errnoName === "string") return errnoName;
  return typeof code === "string" ? code : "";
}

/** Throws EINVAL for a range that is not inside a disk of `sizeBytes`. */
export function checkRange(offset: number, lengthBytes: number, sizeBytes: number): void {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(lengthBytes) ||
    offset < 0 ||
    lengthBytes < 0 ||
    offset > sizeBytes - lengthBytes
  ) {
    throw new DiskError("EINVAL", `bytes ${offset} to ${offset + lengthBytes} are not on a disk of ${sizeBytes} bytes`);
  }
}
