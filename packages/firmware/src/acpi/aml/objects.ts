/** Named objects and the scopes that hold them (ACPI 6.5, sections 20.2.5.1 and 20.2.5.2). */
import { concat } from "../../bytes.js";
import { AmlError } from "./errors.js";
import { nameString } from "./name.js";
import { packaged } from "./pkg-length.js";

const NAME_OP = 0x08;
const SCOPE_OP = 0x10;
const METHOD_OP = 0x14;
const DEVICE_OP = [0x5b, 0x82];

const SERIALIZED = 1 << 3;
const SYNC_LEVEL_SHIFT = 4;

/** `Name (path, value)`. */
export function name(path: string, value: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(NAME_OP), nameString(path), value]);
}

/** `Scope (path) { contents }`: what is inside is added to an object that exists. */
export function scope(path: string, ...contents: readonly Uint8Array[]): Uint8Array {
  return packaged([SCOPE_OP], [nameString(path), ...contents]);
}

/** `Device (path) { contents }`. */
export function device(path: string, ...contents: readonly Uint8Array[]): Uint8Array {
  return packaged(DEVICE_OP, [nameString(path), ...contents]);
}

export interface MethodOptions {
  /** How many arguments it takes, 0 to 7; none when left out. */
  readonly args?: number;
  /** One caller at a time: a must for a method that creates named objects. */
  readonly serialized?: boolean;
  /** Of a serialized method, 0 to 15. */
  readonly syncLevel?: number;
}

/** `Method (path, args, ...) { contents }`. */
export function method(path: string, options: MethodOptions, ...contents: readonly Uint8Array[]): Uint8Array {
  const { args = 0, serialized = false, syncLevel = 0 } = options;
  if (!isWithin(args, 7)) throw new AmlError(`a method takes 0 to 7 arguments, not ${args}`);
  if (!isWithin(syncLevel, 15)) throw new AmlError(`a method's sync level is 0 to 15, not ${syncLevel}`);
  const flags = args | (serialized ? SERIALIZED : 0) | (syncLevel << SYNC_LEVEL_SHIFT);
  return packaged([METHOD_OP], [nameString(path), Uint8Array.of(flags), ...contents]);
}

const isWithin = (value: number, limit: number): boolean => Number.isInteger(value) && value >= 0 && value <= limit;
