/**
 * A C struct as a view over bytes. The classes in generated/layouts.ts derive from it: `regs.rip` reads and writes the bytes
 * in place, so that one buffer goes to the kernel and back without a conversion.
 */

/** What a plain object may say about a struct: numbers for any width, bigint where 64 bits are needed, parts as objects. */
export type StructInit<T> = {
  -readonly [K in keyof T as T[K] extends (...args: never[]) => unknown ? never : K]?: T[K] extends number
    ? number
    : T[K] extends bigint
      ? bigint | number
      : T[K] extends BigUint64Array
        ? ArrayLike<bigint>
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
      throw new RangeError(`${this.constructor.name} is ${size} bytes, not ${bytes.byteLength}`);
    } else {
      this.bytes = bytes.byteLength === size ? bytes : bytes.subarray(0, size);
    }
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, size);
  }

  /** A new struct with the given fields set and the rest zero: `Regs.from({ rip: 0x1000, rflags: 2 })`. */
  static from<T extends StructView>(this: StructClass<T>, init: StructInit<T>): T {
    return new this().assign(init);
  }

  /** Sets the fields that `init` names. An unknown field is a TypeError. */
  assign(init: StructInit<this>): this {
    const fields = (this.constructor as typeof StructView).fields;
    const self = this as unknown as Record<string, unknown>;
    for (const [name, value] of Object.entries(init as Record<string, unknown>)) {
      if (!fields.includes(name)) throw new TypeError(`${this.constructor.name} has no field ${name}`);
      const current = self[name];
      if (typeof current === "bigint") self[name] = BigInt(value as bigint | number);
      else if (typeof current === "number") self[name] = value;
      else if (current instanceof StructView) current.assign(value as never);
      else if (Array.isArray(current))
        (value as unknown[]).forEach((v, i) => void (current[i] as StructView).assign(v as never));
      else if (current instanceof BigUint64Array) current.set(Array.from(value as ArrayLike<bigint | number>, BigInt));
      else (current as Uint8Array).set(value as ArrayLike<number>);
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
