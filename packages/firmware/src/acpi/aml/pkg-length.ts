/** Package lengths (ACPI 6.5, section 20.2.4). */
import { concat } from "../../bytes.js";
import { AmlError } from "./errors.js";

/** Encodings by length: how large a value each of them holds. The lead byte keeps two bits for how many bytes follow. */
const LIMITS = [2 ** 6, 2 ** 12, 2 ** 20, 2 ** 28] as const;

/**
 * A number in the shortest PkgLength encoding, as it is: the bit width of a field's element is one of these. At most
 * 2^28 - 1.
 */
export function pkgInteger(value: number): Uint8Array {
  const following = LIMITS.findIndex((limit) => value < limit);
  if (following < 0 || value < 0 || !Number.isInteger(value))
    throw new AmlError(`${value} is too large for a PkgLength`);
  if (following === 0) return Uint8Array.of(value);
  const encoded = [(following << 6) | (value & 0x0f)];
  for (let shift = 4; encoded.length <= following; shift += 8) encoded.push((value >>> shift) & 0xff);
  return Uint8Array.from(encoded);
}

/** The PkgLength before `contentBytes` of content. It counts itself, too. */
export function pkgLength(contentBytes: number): Uint8Array {
  for (let own = 1; own <= LIMITS.length; own++) {
    if (contentBytes + own < LIMITS[own - 1]!) return pkgInteger(contentBytes + own);
  }
  throw new AmlError(`a package of ${contentBytes} bytes is too long for AML`);
}

/** An opcode, the length of all that follows it, and that. */
export function packaged(opcode: readonly number[], content: readonly Uint8Array[]): Uint8Array {
  const body = concat(content);
  return concat([Uint8Array.from(opcode), pkgLength(body.length), body]);
}
