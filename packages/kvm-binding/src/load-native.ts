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
  try {
    return createRequire(packageJson)("node-gyp-build")(dirname(packageJson)) as Native;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KvmError(
      "UNSUPPORTED",
      "load",
      0,
      `the native part of @tools-kvm/kvm-binding did not load; build it with: npm run build (${why})`,
      {
        cause,
      },
    );
  }
}

export const native: Native = load();

native.setErrorFactory((code, ioctl, errno, detail) => new KvmError(code as KvmErrorCode, ioctl, errno, detail));
