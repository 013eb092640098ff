/** `--balloon [SIZE]`, and the size of `vmm balloon`. */
import { type BalloonSpec, formatSize, PAGE_BYTES, parseSize } from "../machine/spec.js";
import { CliError } from "./errors.js";

/** Throws CliError. */
export function balloonSpec(text: string): BalloonSpec {
  return { kind: "balloon", sizeBytes: balloonBytes("--balloon", text) };
}

/** Whole pages. Throws CliError, which names `what`. */
export function balloonBytes(what: string, text: string): number {
  const sizeBytes = parseSize(text);
  if (sizeBytes === undefined) throw new CliError(`${what} ${text}: not a size such as 512M or 2G`);
  if (sizeBytes % PAGE_BYTES !== 0) throw new CliError(`${what} ${text}: not a whole number of 4 KiB pages`);
  return sizeBytes;
}

/** Throws CliError when a guest of `memoryBytes` is to give back all that it has. */
export function checkBalloon({ sizeBytes }: BalloonSpec, memoryBytes: number): void {
  if (sizeBytes >= memoryBytes) {
    throw new CliError(
      `--balloon ${formatSize(sizeBytes)}: the guest has ${formatSize(memoryBytes)}, and cannot give back all of it`,
    );
  }
}
