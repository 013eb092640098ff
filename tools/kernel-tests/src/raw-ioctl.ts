/** Ioctls as no sane caller makes them: by native/raw-ioctl.c, since the binding refuses them before the kernel could. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export const RAW_IOCTL = fileURLToPath(new URL("raw-ioctl", import.meta.url));
const LIMIT_MS = 15_000;

/** What the helper answers to these words: lines, such as the error's name, or "OK". */
export function rawIoctl(...words: readonly (string | number)[]): string {
  return execFileSync(RAW_IOCTL, words.map(String), { encoding: "utf8", timeout: LIMIT_MS }).trim();
}
