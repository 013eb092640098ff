/** What the last whole run found on this host: a small file that `vmm doctor` reads (its half: vmm's doctor/kernel-tests.ts). */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { homedir, release } from "node:os";
import { dirname, join } from "node:path";
import type { KvmKind } from "./kind.js";
import { type Judged, totalsOf } from "./verdict.js";

/** $XDG_STATE_HOME/tools-kvm/kernel-tests.json, as the XDG Base Directory Specification has it. */
export function lastResultPath(env: NodeJS.ProcessEnv = process.env): string {
  const state = env.XDG_STATE_HOME;
  return join(state?.startsWith("/") ? state : join(homedir(), ".local/state"), "tools-kvm/kernel-tests.json");
}

/** Writes the file, whole or not at all. */
export function writeLastResult(judged: readonly Judged[], kind: KvmKind, path = lastResultPath()): void {
  const { pass, fail, skip, xfail } = totalsOf(judged);
  const ids = (wanted: (one: Judged) => boolean) => judged.filter(wanted).map(({ test }) => test.id);
  const result = {
    version: 1,
    at: new Date().toISOString(),
    kernel: release(),
    kind,
    passed: pass,
    failed: fail,
    expectedFailures: xfail,
    skipped: skip,
    unexpectedFailures: ids(({ verdict }) => verdict === "fail"),
    unexpectedPasses: ids(({ unexpectedPass }) => unexpectedPass),
  };
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const unfinished = `${path}.${process.pid}`;
  writeFileSync(unfinished, `${JSON.stringify(result)}\n`);
  renameSync(unfinished, path);
}
