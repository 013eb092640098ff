/** Statements (ACPI 6.5, section 20.2.5.3). */
import { concat } from "../../bytes.js";
import { packaged } from "./pkg-length.js";

const NOTIFY_OP = 0x86;
const IF_OP = 0xa0;
const ELSE_OP = 0xa1;
const WHILE_OP = 0xa2;
const RETURN_OP = 0xa4;

/** `If (condition) { contents }`. */
export function ifThen(condition: Uint8Array, ...contents: readonly Uint8Array[]): Uint8Array {
  return packaged([IF_OP], [condition, ...contents]);
}

/** `Else { contents }`, right behind the If it belongs to. */
export function elseThen(...contents: readonly Uint8Array[]): Uint8Array {
  return packaged([ELSE_OP], contents);
}

/** `While (condition) { contents }`. */
export function whileLoop(condition: Uint8Array, ...contents: readonly Uint8Array[]): Uint8Array {
  return packaged([WHILE_OP], [condition, ...contents]);
}

/** `Return (value)`. */
export function returns(value: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(RETURN_OP), value]);
}

/** `Notify (object, value)`; the values are in ACPI 6.5, section 5.6.6. */
export function notify(object: Uint8Array, value: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(NOTIFY_OP), object, value]);
}
