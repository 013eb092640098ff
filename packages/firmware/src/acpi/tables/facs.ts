import { StructBytes } from "../../bytes.js";

const FACS_BYTES = 64;
const FACS_VERSION = 2;

/**
 * The firmware ACPI control structure (ACPI 6.5, section 5.2.10): room for the global lock and the waking vectors, which
 * the guest writes. It has no checksum.
 */
export function facs(): Uint8Array {
  return new StructBytes(FACS_BYTES).text(0, 4, "FACS").u32(4, FACS_BYTES).u8(32, FACS_VERSION).bytes;
}
