import { EINVAL, errnoNames, KvmError } from "@tools-kvm/kvm-binding";

/** A refusal that goes to the client as Rlerror. `errno` is Linux's number, which is what 9P2000.L carries. */
export class ShareError extends Error {
  override readonly name = "ShareError";

  constructor(
    readonly errno: number,
    detail: string,
  ) {
    super(`${errnoNames.get(errno) ?? `errno ${errno}`}: ${detail}`);
  }
}

/**
 * The number for Rlerror of a failure of this folder, the binding or node:fs; undefined for anything else, which is a defect of
 * the server and not of what the client said.
 */
export function errnoOf(error: unknown): number | undefined {
  if (error instanceof ShareError) return error.errno;
  if (error instanceof KvmError) return error.code === "INVALID" ? EINVAL : error.errno || undefined;
  const { errno } = error as { errno?: unknown }; // node:fs: libuv's, which is negative
  return typeof errno === "number" && errno < 0 ? -errno : undefined;
}
