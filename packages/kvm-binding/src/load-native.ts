/** Finds and loads the native part, and teaches it to throw KvmError. */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { KvmError, type KvmErrorCode } from "./error.js";
import type { Native } from "./native.d.ts";

// By name and not by this file's place: the vmm command carries this code inside files of its own.
const packageJson = createRequire(import.meta.url).resolve("@tools-kvm/kvm-binding/package.json");

function load(): Native {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new KvmError(
      "UNSUPPORTED",
      "load",
      0,
      `KVM needs Linux on x86-64; this is ${process.platform} on ${process.arch}`,
    );
  }
  const require = createRequire(packageJson);
  try {
    return require("./build/Release/kvm_binding.node") as Native; // what npm run build made: no search, which every Worker would repeat
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw broken(error);
  }
  try {
    return require("node-gyp-build")(dirname(packageJson)) as Native;
  } catch (error) {
    throw broken(error);
  }
}

function broken(cause: unknown): KvmError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const detail = `the native part of @tools-kvm/kvm-binding did not load; build it with: npm run build (${why})`;
  return new KvmError("UNSUPPORTED", "load", 0, detail, { cause });
}

export const native: Native = load();

native.setErrorFactory((code, ioctl, errno, detail) => new KvmError(code as KvmErrorCode, ioctl, errno, detail));
