/** Files that a lab makes for itself and finds again at its next start, by their content. */
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { LabError } from "./errors.js";

const CHECKOUT = fileURLToPath(new URL("../../../", import.meta.url));

/** A file of the cache that no start has touched for so long is removed by the next one that writes there. */
const CACHE_KEEP_MS = 14 * 24 * 3600 * 1000;

/** Beside the packages of this checkout when that can be written, otherwise in the user's own cache. */
export function cacheDirectory(): string {
  const userCache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  for (const parent of [join(CHECKOUT, "node_modules"), userCache]) {
    const directory = parent === userCache ? join(parent, "tools-kvm-lab") : join(parent, ".cache", "tools-kvm-lab");
    try {
      if (parent !== userCache) accessSync(parent, constants.W_OK);
      mkdirSync(directory, { recursive: true });
      accessSync(directory, constants.W_OK);
      return directory;
    } catch {
      // The next one, then.
    }
  }
  throw new LabError(
    `neither ${CHECKOUT}node_modules nor ${userCache} can be written`,
    "set XDG_CACHE_HOME to a folder of yours",
  );
}

/** Makes the file if it is not there, by way of a rename, so that nobody sees half of it; marks it as used. */
export function keep(path: string, content: () => Buffer): void {
  if (existsSync(path)) {
    const now = new Date();
    utimesSync(path, now, now);
    return;
  }
  mkdirSync(dirname(path), { recursive: true });
  const unfinished = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(unfinished, content());
    renameSync(unfinished, path);
  } finally {
    rmSync(unfinished, { force: true });
  }
  removeUnused(join(path, ".."));
}

function removeUnused(directory: string): void {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const modifiedMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (modifiedMs !== undefined && Date.now() - modifiedMs > CACHE_KEEP_MS)
      rmSync(path, { recursive: true, force: true });
  }
}

export function digest(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16);
}
