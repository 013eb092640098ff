/** Operation regions and the fields in them (ACPI 6.5, section 20.2.5.2; keywords in section 19.2). */
import { concat } from "../../bytes.js";
import { integer } from "./data.js";
import { AmlError } from "./errors.js";
import { nameSegment, nameString } from "./name.js";
import { packaged, pkgInteger } from "./pkg-length.js";

const OPERATION_REGION_OP = [0x5b, 0x80];
const FIELD_OP = [0x5b, 0x81];
const RESERVED_FIELD = 0x00;

export const REGION_SPACE = {
  SYSTEM_MEMORY: 0,
  SYSTEM_IO: 1,
  PCI_CONFIG: 2,
  EMBEDDED_CONTROL: 3,
  SMBUS: 4,
  SYSTEM_CMOS: 5,
} as const;

/** `OperationRegion (path, space, offset, length)`; offset and length in bytes. */
export function operationRegion(
  path: string,
  space: keyof typeof REGION_SPACE,
  offset: number | bigint,
  length: number | bigint,
): Uint8Array {
  const opening = Uint8Array.from(OPERATION_REGION_OP);
  return concat([opening, nameString(path), Uint8Array.of(REGION_SPACE[space]), integer(offset), integer(length)]);
}

/** AccessType, LockRule and UpdateRule in the order of their values. */
const ACCESS_TYPES = ["AnyAcc", "ByteAcc", "WordAcc", "DWordAcc", "QWordAcc", "BufferAcc"] as const;
const UPDATE_RULES = ["Preserve", "WriteAsOnes", "WriteAsZeros"] as const;
const LOCK = 1 << 4;
const UPDATE_RULE_SHIFT = 5;

export interface FieldOptions {
  readonly access: (typeof ACCESS_TYPES)[number];
  /** Whether an access takes the global lock; it does not when left out. */
  readonly lock?: boolean;
  /** What happens to the other bits of a register that is written in part; they are preserved when left out. */
  readonly update?: (typeof UPDATE_RULES)[number];
}

/** So many bits with a name of one segment, or without one when nothing uses them. */
export interface FieldElement {
  readonly name?: string;
  readonly bits: number;
}

/** `Field (region, ...) { elements }`, the lowest bit first. */
export function field(region: string, options: FieldOptions, elements: readonly FieldElement[]): Uint8Array {
  const { access, lock = false, update = "Preserve" } = options;
  const rule = UPDATE_RULES.indexOf(update) << UPDATE_RULE_SHIFT;
  const flags = ACCESS_TYPES.indexOf(access) | (lock ? LOCK : 0) | rule;
  return packaged(FIELD_OP, [nameString(region), Uint8Array.of(flags), ...elements.map(fieldElement)]);
}

function fieldElement({ name, bits }: FieldElement): Uint8Array {
  if (bits === 0 && name !== undefined) throw new AmlError(`the field ${name} has no bits`);
  return concat([name === undefined ? Uint8Array.of(RESERVED_FIELD) : nameSegment(name), pkgInteger(bits)]);
}
