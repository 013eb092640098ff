/** Names (ACPI 6.5, section 20.2.2). */
import { ascii, concat } from "../../bytes.js";
import { AmlError } from "./errors.js";

const NULL_NAME = 0x00;
const DUAL_NAME_PREFIX = 0x2e;
const MULTI_NAME_PREFIX = 0x2f;
const MAX_SEGMENTS = 0xff;

const SEGMENT = /^[A-Z_][A-Z0-9_]{0,3}$/;
/** The root, or any number of parents, and the path from there. */
const NAME_STRING = /^(\\|\^*)(.*)$/s;

/** One segment of a name: one to four of `A-Z`, `0-9` and `_`, no digit first. Shorter ones end in `_`. */
export function nameSegment(name: string): Uint8Array {
  if (!SEGMENT.test(name)) throw new AmlError(`${JSON.stringify(name)} is no name of one to four of A-Z, 0-9 and _`);
  return ascii(name.padEnd(4, "_"));
}

/**
 * A name as ASL writes it: `COM1`, `\_SB.PCI0.COM1`, `^^PCI0`; `\` alone is the root. Throws an AmlError when a segment
 * is none, or when there are more than 255.
 */
export function nameString(path: string): Uint8Array {
  const [, prefix, rest] = NAME_STRING.exec(path)!;
  if (prefix === "" && rest === "") throw new AmlError("a name has at least one segment");
  const segments = rest === "" ? [] : rest!.split(".").map(nameSegment);
  return concat([ascii(prefix!), pathPrefix(segments.length), ...segments]);
}

function pathPrefix(segments: number): Uint8Array {
  if (segments === 0) return Uint8Array.of(NULL_NAME);
  if (segments === 1) return new Uint8Array(0);
  if (segments === 2) return Uint8Array.of(DUAL_NAME_PREFIX);
  if (segments <= MAX_SEGMENTS) return Uint8Array.of(MULTI_NAME_PREFIX, segments);
  throw new AmlError(`a name of ${segments} segments is too long for AML`);
}
