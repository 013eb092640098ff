/**
 * Whether node_modules holds what package-lock.json asks for. Decided by what the two files say, not by their times, which a
 * checkout changes: npm leaves in node_modules/.package-lock.json what it put there.
 *
 * @typedef {{ version?: string, resolved?: string, link?: boolean, optional?: boolean, devOptional?: boolean, peer?: boolean }} LockEntry
 * @typedef {{ packages?: Record<string, LockEntry> }} Lock
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** @typedef {"ready" | "missing" | "outdated"} NodeModulesState */

/**
 * @param {string} root
 * @returns {NodeModulesState}
 */
export function nodeModulesState(root) {
  const installed = readLock(join(root, "node_modules/.package-lock.json"));
  if (installed === undefined) return "missing";
  return compareLocks(readLock(join(root, "package-lock.json")) ?? {}, installed);
}

/**
 * @param {Lock} wanted
 * @param {Lock} installed
 * @returns {NodeModulesState}
 */
export function compareLocks(wanted, installed) {
  const have = installed.packages ?? {};
  for (const [path, entry] of Object.entries(wanted.packages ?? {})) {
    // The folders of this tree are no packages in node_modules; a link there leads to each.
    if (!path.includes("node_modules/")) continue;
    const found = have[path];
    // What is made for another processor or system is left out, rightly.
    if (found === undefined && (entry.optional || entry.devOptional)) continue;
    if (found === undefined || found.version !== entry.version || found.resolved !== entry.resolved) return "outdated";
  }
  const unwanted = Object.keys(have).some(
    (path) => path.includes("node_modules/") && wanted.packages?.[path] === undefined,
  );
  return unwanted ? "outdated" : "ready";
}

/**
 * @param {string} path
 * @returns {Lock | undefined}
 */
function readLock(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}
