/**
 * A C struct as a view over bytes. The classes in generated/layouts.ts derive from it: `regs.rip` reads and writes the bytes
 * in place, so that one buffer goes to the kernel and back without a conversion.
 */

import { KvmError } from "./error.js";

/** What a plain object may say about a struct: numbers for any width, bigint where 64 bits are needed, parts as objects. */
export type StructInit<T> = {
  -readonly [K in keyof T as T[K] extends (...args: never[]) => unknown ? never : K]?: T[K] extends number
    ? number
    : T[K] extends bigint
      ? bigint | number
      : T[K] extends BigUint64Array
        ? ArrayLike<bigint | number>
        : T[K] extends Uint8Array | Uint16Array | Uint32Array | Int32Array
          ? ArrayLike<number>
          : T[K] extends readonly (infer E)[]
            ? readonly StructInit<E>[]
            : StructInit<T[K]>;
};

interface StructClass<T> {
  new (bytes?: Uint8Array): T;
  readonly sizeBytes: number;
}

type NumberArrayClass<T> = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => T;

type NumberArray = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

function cannotHold(what: string, value: unknown): never {
  throw new KvmError("INVALID", what, 0, `${value} does not fit`);
}

/** A whole number as a bigint; TypeError for what is no number, INVALID for what is not whole. */
export function toBigInt(value: unknown, what: string): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value !== "number") throw new TypeError(`${what} must be a number or a bigint`);
  if (!Number.isInteger(value)) throw new KvmError("INVALID", what, 0, `${value} is not a whole number`);
  return BigInt(value);
}

/** An array or typed array, or TypeError. */
export function listOf<T extends ArrayLike<unknown>>(values: T, what: string): T {
  if (!Array.isArray(values) && !(ArrayBuffer.isView(values) && "length" in values))
    throw new TypeError(`${what} must be an array`);
  return values;
}

/** One 32-bit or 64-bit number as the bytes of an ioctl's argument. */
export function u32Bytes(value: number, what: string): Uint8Array {
  if (typeof value !== "number") throw new TypeError(`${what} must be a number`);
  const word = new Uint32Array([value]);
  if (word[0] !== value) cannotHold(what, value);
  return new Uint8Array(word.buffer);
}

export function u64Bytes(value: bigint | number, what: string): Uint8Array {
  const wide = toBigInt(value, what);
  const word = new BigUint64Array([wide]);
  if (word[0] !== wide) cannotHold(what, value);
  return new Uint8Array(word.buffer);
}

function assignEach(field: readonly StructView[] | NumberArray, values: unknown, what: string): void {
  const list = listOf(values as ArrayLike<unknown>, what);
  if (list.length > field.length)
    throw new KvmError("INVALID", what, 0, `${list.length} values for ${field.length} places`);
  for (let i = 0; i < list.length; i++) {
    const place = field[i];
    if (place instanceof StructView) {
      place.assign(list[i] as never);
    } else {
      const value = field instanceof BigUint64Array ? toBigInt(list[i], what) : list[i];
      (field as unknown[])[i] = value;
      if (field[i] !== value) cannotHold(what, value);
    }
  }
}

export class StructView {
  static readonly sizeBytes: number = 0;
  static readonly fields: readonly string[] = [];

  /** The struct's bytes. Writes through here and through the fields are the same thing. */
  readonly bytes: Uint8Array;
  protected readonly view: DataView;

  /** A view over `bytes` (at least the struct's size; longer is cut), or over new zeroed bytes. */
  constructor(bytes?: Uint8Array) {
    const size = (this.constructor as typeof StructView).sizeBytes;
    if (bytes === undefined) {
      this.bytes = new Uint8Array(size);
    } else if (bytes.byteLength < size) {
      throw new KvmError("INVALID", this.constructor.name, 0, `it is ${size} bytes, not ${bytes.byteLength}`);
    } else {
      this.bytes = bytes.byteLength === size ? bytes : bytes.subarray(0, size);
    }
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, size);
  }

  /** A new struct with the given fields set and the rest zero: `Regs.from({ rip: 0x1000, rflags: 2 })`. */
  static from<T extends StructView>(this: StructClass<T>, init: StructInit<T>): T {
    return new this().assign(init);
  }

  /**
   * Sets the fields that `init` names.
   * @throws TypeError for an unknown field or a value of the wrong type; KvmError `INVALID` for a value that the field cannot hold
   */
  assign(init: StructInit<this>): this {
    const fields = (this.constructor as typeof StructView).fields;
    const self = this as unknown as Record<string, unknown>;
    for (const [name, value] of Object.entries(init as Record<string, unknown>)) {
      const what = `${this.constructor.name}.${name}`;
      if (!fields.includes(name)) throw new TypeError(`${this.constructor.name} has no field ${name}`);
      const current = self[name];
      if (typeof current === "bigint") {
        const wide = toBigInt(value, what);
        self[name] = wide;
        if (self[name] !== wide) cannotHold(what, wide);
      } else if (typeof current === "number") {
        if (typeof value !== "number") throw new TypeError(`${what} must be a number`);
        self[name] = value;
        if (self[name] !== value) cannotHold(what, value);
      } else if (current instanceof StructView) {
        current.assign(value as never);
      } else {
        assignEach(current as StructView[] | NumberArray, value, what);
      }
    }
    return this;
  }

  /** An independent copy. */
  clone(): this {
    return new (this.constructor as StructClass<this>)(this.bytes.slice());
  }

  /** All fields as plain values: for logs, tests and JSON-like output (64-bit fields are bigint). */
  toObject(): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    for (const name of (this.constructor as typeof StructView).fields) {
      const value = (this as unknown as Record<string, unknown>)[name];
      if (value instanceof StructView) out[name] = value.toObject();
      else if (Array.isArray(value)) out[name] = value.map((v: StructView) => v.toObject());
      else out[name] = ArrayBuffer.isView(value) ? Array.from(value as Uint8Array) : value;
    }
    return out;
  }

  protected part<T>(type: StructClass<T>, offset: number): T {
    return new type(this.bytes.subarray(offset, offset + type.sizeBytes));
  }

  protected parts<T>(type: StructClass<T>, offset: number, count: number): readonly T[] {
    return Array.from({ length: count }, (_, i) => this.part(type, offset + i * type.sizeBytes));
  }

  protected numbers<T>(type: NumberArrayClass<T>, offset: number, count: number): T {
    return new type(this.bytes.buffer, this.bytes.byteOffset + offset, count);
  }
}
