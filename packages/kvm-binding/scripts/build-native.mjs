#!/usr/bin/env node
/**
 * Builds build/Release/kvm_binding.node with node-gyp. Does nothing when the sources, the toolchain and Node are those of the last build,
 * and says nothing unless it fails.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const buildFolder = join(packageFolder, "build");
const product = join(buildFolder, "Release/kvm_binding.node");
const stampFile = join(buildFolder, "built-from");
const lockFolder = join(buildFolder, ".lock");
const STALE_LOCK_MS = 5 * 60_000;

function fingerprint() {
  const hash = createHash("sha256");
  hash.update(`${process.version} ${process.arch} ${process.platform}\n`);
  const inputs = [
    "binding.gyp",
    "scripts/build-native.mjs",
    ...readdirSync(join(packageFolder, "native"), { recursive: true })
      .map((file) => join("native", file))
      .filter((file) => /\.(cc|h)$/.test(file)),
  ];
  for (const file of inputs.sort()) hash.update(`${file}\n`).update(readFileSync(join(packageFolder, file)));
  return hash.digest("hex");
}

function upToDate(stamp) {
  return existsSync(product) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp;
}

/** One build at a time: two terminals, or nx and a person, may ask at once. */
function withLock(action) {
  mkdirSync(buildFolder, { recursive: true });
  for (;;) {
    try {
      mkdirSync(lockFolder);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      try {
        if (Date.now() - statSync(lockFolder).mtimeMs > STALE_LOCK_MS) rmSync(lockFolder, { recursive: true });
      } catch {}
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    }
  }
  try {
    return action();
  } finally {
    rmSync(lockFolder, { recursive: true, force: true });
  }
}

function build() {
  const stamp = fingerprint();
  if (upToDate(stamp)) return 0;
  const gyp = createRequire(import.meta.url).resolve("node-gyp/bin/node-gyp.js");
  const prefix = dirname(dirname(process.execPath));
  // Node's own headers beside its binary spare node-gyp a download.
  const nodedir = existsSync(join(prefix, "include/node/node_api.h")) ? [`--nodedir=${prefix}`] : [];
  const run = spawnSync(process.execPath, [gyp, "configure", "build", "--silent", "-j", "max", ...nodedir], {
    cwd: packageFolder,
    encoding: "utf8",
    env: { ...process.env, MAKEFLAGS: "--no-print-directory" },
  });
  if (run.status !== 0) {
    process.stderr.write(run.stdout + run.stderr);
    process.stderr.write(
      "The native part of @tools-kvm/kvm-binding did not build; it needs a C++20 compiler, make and python3:\n",
    );
    process.stderr.write("  apt-get install -y g++ make python3\n");
    return 1;
  }
  writeFileSync(stampFile, stamp);
  return 0;
}

process.exitCode = upToDate(fingerprint()) ? 0 : withLock(build);
