/**
 * Several initial ramdisks as one: the kernel unpacks archives one after the other, whatever they are compressed with,
 * as long as each begins at a multiple of four (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
 */
import type { BootModule } from "../load.js";

const ALIGN_BYTES = 4;

/** None, or one module with all the others' bytes in it. */
export function concatenateInitrds(modules: readonly BootModule[]): BootModule[] {
  if (modules.length <= 1) return [...modules];
  const starts: number[] = [];
  let sizeBytes = 0;
  for (const { bytes } of modules) {
    starts.push(sizeBytes);
    sizeBytes += Math.ceil(bytes.length / ALIGN_BYTES) * ALIGN_BYTES;
  }
  const all = new Uint8Array(sizeBytes);
  modules.forEach(({ bytes }, index) => {
    all.set(bytes, starts[index]!);
  });
  return [{ bytes: all, commandLine: modules[0]!.commandLine }];
}
