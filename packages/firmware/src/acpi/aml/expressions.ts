/** Expressions, arguments and locals (ACPI 6.5, sections 20.2.5.4, 20.2.6.1 and 20.2.6.2). */
import { concat } from "../../bytes.js";
import { AmlError } from "./errors.js";
import { nameString } from "./name.js";

const LOCAL_0_OP = 0x60;
const ARG_0_OP = 0x68;
const STORE_OP = 0x70;
const CREATE_DWORD_FIELD_OP = 0x8a;
const LNOT_OP = 0x92;
const LEQUAL_OP = 0x93;

/** The target that keeps no result. */
const NOWHERE = Uint8Array.of(0x00);

/** Opcodes of two operands and a target. */
const BINARY = {
  add: 0x72,
  subtract: 0x74,
  shiftLeft: 0x79,
  shiftRight: 0x7a,
  and: 0x7b,
  or: 0x7d,
  xor: 0x7f,
} as const;

/** `Local0` to `Local7`. */
export function local(index: number): Uint8Array {
  return numbered("Local", LOCAL_0_OP, index, 7);
}

/** `Arg0` to `Arg6`. */
export function arg(index: number): Uint8Array {
  return numbered("Arg", ARG_0_OP, index, 6);
}

function numbered(what: string, opcode: number, index: number, last: number): Uint8Array {
  if (!Number.isInteger(index) || index < 0 || index > last) throw new AmlError(`there is no ${what}${index} in AML`);
  return Uint8Array.of(opcode + index);
}

/** The object with this name, in a place where a value or an object is meant. */
export function reference(path: string): Uint8Array {
  return nameString(path);
}

/** `Store (source, target)`. */
export function store(source: Uint8Array, target: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(STORE_OP), source, target]);
}

/** An operation on two integers. Without a target its result is only the expression's value. */
function binary(operation: keyof typeof BINARY) {
  return (left: Uint8Array, right: Uint8Array, target: Uint8Array = NOWHERE): Uint8Array =>
    concat([Uint8Array.of(BINARY[operation]), left, right, target]);
}

export const add = binary("add");
export const subtract = binary("subtract");
export const shiftLeft = binary("shiftLeft");
export const shiftRight = binary("shiftRight");
export const and = binary("and");
export const or = binary("or");
export const xor = binary("xor");

/** `LEqual (left, right)`: of integers, strings or buffers. */
export function equal(left: Uint8Array, right: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(LEQUAL_OP), left, right]);
}

/** `LNot (value)`. */
export function not(value: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(LNOT_OP), value]);
}

/** `CreateDWordField (buffer, offset, path)`: names four bytes of a buffer; the offset is in bytes. */
export function createDwordField(source: Uint8Array, offset: Uint8Array, path: string): Uint8Array {
  return concat([Uint8Array.of(CREATE_DWORD_FIELD_OP), source, offset, nameString(path)]);
}
