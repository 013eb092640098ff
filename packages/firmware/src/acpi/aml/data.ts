/** Data objects: integers, strings, buffers, packages (ACPI 6.5, section 20.2.3), and what ASL's macros make of them. */
import { ascii, concat, StructBytes } from "../../bytes.js";
import { AmlError } from "./errors.js";
import { packaged } from "./pkg-length.js";

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const ONES_OP = 0xff;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const QWORD_PREFIX = 0x0e;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;

/** Every bit of an integer, in tables of revision 2 and later. */
export const ONES = 0xffff_ffff_ffff_ffffn;

const PREFIXES = [
  { prefix: BYTE_PREFIX, sizeBytes: 1 },
  { prefix: WORD_PREFIX, sizeBytes: 2 },
  { prefix: DWORD_PREFIX, sizeBytes: 4 },
  { prefix: QWORD_PREFIX, sizeBytes: 8 },
] as const;

/** An integer from 0 to 2^64 - 1 in its shortest encoding. A number must be a safe integer. */
export function integer(value: number | bigint): Uint8Array {
  const exact = typeof value === "number" && !Number.isSafeInteger(value) ? -1n : BigInt(value);
  if (exact < 0n || exact > ONES) throw new AmlError(`${value} is no integer from 0 to 2^64 - 1`);
  if (exact === 0n) return Uint8Array.of(ZERO_OP);
  if (exact === 1n) return Uint8Array.of(ONE_OP);
  if (exact === ONES) return Uint8Array.of(ONES_OP);
  const { prefix, sizeBytes } = PREFIXES.find(({ sizeBytes }) => exact < 1n << BigInt(8 * sizeBytes))!;
  return Uint8Array.of(prefix, ...littleEndian(exact, sizeBytes));
}

function littleEndian(value: bigint, sizeBytes: number): number[] {
  return Array.from({ length: sizeBytes }, (_, index) => Number((value >> BigInt(8 * index)) & 0xffn));
}

/** ASCII without the character NUL, which ends it. */
export function string(text: string): Uint8Array {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: AML allows them
  if (!/^[\x01-\x7f]*$/.test(text)) throw new AmlError(`${JSON.stringify(text)} is no string of ASCII without NUL`);
  return concat([Uint8Array.of(STRING_PREFIX), ascii(text), Uint8Array.of(0)]);
}

export function buffer(bytes: Uint8Array): Uint8Array {
  return packaged([BUFFER_OP], [integer(bytes.length), bytes]);
}

/** At most 255 data objects or names of objects. */
export function packageOf(...elements: readonly Uint8Array[]): Uint8Array {
  if (elements.length > 0xff) throw new AmlError(`a package of ${elements.length} elements: 255 is the most`);
  return packaged([PACKAGE_OP], [Uint8Array.of(elements.length), ...elements]);
}

const EISA_ID = /^[A-Z]{3}[0-9A-F]{4}$/;

/** An EISA identifier such as `PNP0501` as the 32-bit integer that stands for it (ACPI 6.5, section 19.6.37, EISAID). */
export function eisaId(text: string): Uint8Array {
  if (!EISA_ID.test(text))
    throw new AmlError(`${JSON.stringify(text)} is no EISA id: three of A-Z, four of 0-9 and A-F`);
  const [first, second, third] = ascii(text).map((letter) => letter - 0x40);
  const vendor = (first! << 10) | (second! << 5) | third!;
  const product = Number.parseInt(text.slice(3), 16);
  // Bytes are in the order in which one reads them.
  return Uint8Array.of(DWORD_PREFIX, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff);
}

const UUID = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/i;

/** A UUID as a buffer; its first three groups are little-endian (ACPI 6.5, section 19.6.143, ToUUID). */
export function uuid(text: string): Uint8Array {
  const groups = UUID.exec(text)?.slice(1);
  if (groups === undefined) throw new AmlError(`${JSON.stringify(text)} is no UUID`);
  const [low, mid, high, clock, node] = groups.map((group) => Number.parseInt(group, 16));
  const bytes = new StructBytes(16).u32(0, low!).u16(4, mid!).u16(6, high!);
  const bigEndian = (value: number, sizeBytes: number) =>
    Uint8Array.from(littleEndian(BigInt(value), sizeBytes)).reverse();
  return buffer(bytes.set(8, bigEndian(clock!, 2)).set(10, bigEndian(node!, 6)).bytes);
}
