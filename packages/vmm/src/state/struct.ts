/**
 * Named fields over shared memory. A device declares its registers once; every Worker binds the same declaration
 * over the same bytes, so a register written on one vCPU is read on another, and a snapshot is a copy of names.
 */

type AnyBuffer = ArrayBufferLike;

/** One field's shape: how much room it takes, how it is read and written, how it appears in a snapshot. */
export interface Field<T, Plain = T> {
  readonly sizeBytes: number;
  readonly alignBytes: number;
  /** Scalars are read and written in place through accessors; the others are objects bound once. */
  readonly scalar: boolean;
  /** The field's object over those bytes; for a scalar, the accessors that read and write them. */
  bind(buffer: AnyBuffer, byteOffset: number): T | Accessors;
  /** A structured-cloneable copy of the field's value. */
  save(value: T): Plain;
  /** Puts a saved value back. Returns the new value for scalars; writes in place otherwise. */
  restore(value: T, plain: Plain): T;
}

type TypedView =
  | Uint8Array<AnyBuffer>
  | Uint16Array<AnyBuffer>
  | Uint32Array<AnyBuffer>
  | Int32Array<AnyBuffer>
  | Float64Array<AnyBuffer>;

type ViewConstructor<V extends TypedView> = {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: AnyBuffer, byteOffset: number, length: number): V;
};

interface Accessors {
  get(): number;
  set(value: number): void;
}

function scalar<V extends TypedView>(View: ViewConstructor<V>, accessors: (view: V) => Accessors): Field<number> {
  const sizeBytes = View.BYTES_PER_ELEMENT;
  return {
    sizeBytes,
    alignBytes: sizeBytes,
    scalar: true,
    bind: (buffer, byteOffset) => accessors(new View(buffer, byteOffset, 1)),
    save: (value) => value,
    restore: (_value, plain) => plain,
  };
}

// Each kind has accessors of its own text, as V8 keeps what it learns by function literal: shared ones would see views
// of five types, and every register access would take twice as long.

/** Unsigned 8, 16 and 32 bit registers, a signed 32 bit word, and a double (times in ns, counts up to 2^53). */
export const u8 = scalar(Uint8Array, (view) => ({
  get: () => view[0]!,
  set(value) {
    view[0] = value;
  },
}));
export const u16 = scalar(Uint16Array, (view) => ({
  get: () => view[0]!,
  set(value) {
    view[0] = value;
  },
}));
export const u32 = scalar(Uint32Array, (view) => ({
  get: () => view[0]!,
  set(value) {
    view[0] = value;
  },
}));
export const i32 = scalar(Int32Array, (view) => ({
  get: () => view[0]!,
  set(value) {
    view[0] = value;
  },
}));
export const f64 = scalar(Float64Array, (view) => ({
  get: () => view[0]!,
  set(value) {
    view[0] = value;
  },
}));

function array<V extends TypedView>(View: ViewConstructor<V>, length: number): Field<V, number[]> {
  return {
    sizeBytes: length * View.BYTES_PER_ELEMENT,
    alignBytes: View.BYTES_PER_ELEMENT,
    scalar: false,
    bind: (buffer, byteOffset) => new View(buffer, byteOffset, length),
    save: (value) => [...value],
    restore(value, plain) {
      value.set(plain);
      return value;
    },
  };
}

/** A block of `length` bytes, such as CMOS memory. */
export function bytes(length: number): Field<Uint8Array, number[]> {
  return array(Uint8Array, length);
}

/** A table of `length` 32-bit registers, such as an IOAPIC's redirection table. */
export function words(length: number): Field<Uint32Array, number[]> {
  return array(Uint32Array, length);
}

/** A table of `length` doubles, such as the times at which a timer's channels started. */
export function doubles(length: number): Field<Float64Array, number[]> {
  return array(Float64Array, length);
}

/** A first-in first-out queue of bytes; used under the owning device's lock, so it needs no atomics of its own. */
export class ByteFifo {
  readonly #cursor: Uint32Array;
  readonly #data: Uint8Array;

  constructor(buffer: AnyBuffer, byteOffset: number, capacity: number) {
    this.#cursor = new Uint32Array(buffer, byteOffset, 2);
    this.#data = new Uint8Array(buffer, byteOffset + 8, capacity);
  }

  get capacity(): number {
    return this.#data.length;
  }

  get length(): number {
    return this.#cursor[1]!;
  }

  /** Appends a byte; false when full, and then nothing changes. */
  push(byte: number): boolean {
    const length = this.#cursor[1]!;
    if (length === this.#data.length) return false;
    this.#data[(this.#cursor[0]! + length) % this.#data.length] = byte;
    this.#cursor[1] = length + 1;
    return true;
  }

  /** Takes the oldest byte; -1 when empty. */
  shift(): number {
    const length = this.#cursor[1]!;
    if (length === 0) return -1;
    const head = this.#cursor[0]!;
    this.#cursor[0] = (head + 1) % this.#data.length;
    this.#cursor[1] = length - 1;
    return this.#data[head]!;
  }

  /** The oldest byte, left where it is; -1 when empty. */
  peek(): number {
    return this.#cursor[1]! === 0 ? -1 : this.#data[this.#cursor[0]!]!;
  }

  clear(): void {
    this.#cursor[0] = 0;
    this.#cursor[1] = 0;
  }

  toArray(): number[] {
    return Array.from({ length: this.length }, (_, i) => this.#data[(this.#cursor[0]! + i) % this.#data.length]!);
  }
}

/** A byte FIFO of `capacity` bytes as a field. */
export function fifo(capacity: number): Field<ByteFifo, number[]> {
  return {
    sizeBytes: 8 + capacity,
    alignBytes: 4,
    scalar: false,
    bind: ((buffer: AnyBuffer, byteOffset: number) =>
      new ByteFifo(buffer, byteOffset, capacity)) as unknown as Field<ByteFifo>["bind"],
    save: (value) => value.toArray(),
    restore(value, plain) {
      value.clear();
      for (const byte of plain) value.push(byte);
      return value;
    },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: a table of fields holds fields of every type
export type Fields = Record<string, Field<any, any>>;
export type ValueOf<F> = F extends Field<infer T, infer _P> ? T : never;
/** A bound struct: scalars read and write as plain properties. */
export type Struct<F extends Fields> = { -readonly [K in keyof F]: ValueOf<F[K]> };
/** What `save` gives: plain values that survive JSON. */
export type Saved<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer _T, infer P> ? P : never };

export interface StructType<F extends Fields> {
  readonly fields: F;
  readonly sizeBytes: number;
  readonly alignBytes: number;
  /** Binds the fields over `buffer` at `byteOffset`, which must be a multiple of `alignBytes`. */
  bind(buffer: AnyBuffer, byteOffset: number): Struct<F>;
  save(struct: Struct<F>): Saved<F>;
  restore(struct: Struct<F>, saved: Saved<F>): void;
}

const alignUp = (value: number, alignBytes: number): number => Math.ceil(value / alignBytes) * alignBytes;

/** Lays the fields out in the order they are declared, each at its natural alignment. */
export function defineStruct<F extends Fields>(fields: F): StructType<F> {
  const names = Object.keys(fields);
  const offsets = new Map<string, number>();
  let sizeBytes = 0;
  let alignBytes = 1;
  for (const name of names) {
    const field = fields[name]!;
    sizeBytes = alignUp(sizeBytes, field.alignBytes);
    offsets.set(name, sizeBytes);
    sizeBytes += field.sizeBytes;
    alignBytes = Math.max(alignBytes, field.alignBytes);
  }

  return {
    fields,
    sizeBytes,
    alignBytes,
    bind(buffer, byteOffset) {
      if (byteOffset % alignBytes !== 0) {
        throw new RangeError(`a struct aligned to ${alignBytes} bytes cannot stand at offset ${byteOffset}`);
      }
      const bound: object = {};
      for (const name of names) {
        const field = fields[name]!;
        const value = field.bind(buffer, byteOffset + offsets.get(name)!);
        Object.defineProperty(bound, name, { enumerable: true, ...(field.scalar ? (value as Accessors) : { value }) });
      }
      return bound as Struct<F>;
    },
    save(struct) {
      return Object.fromEntries(names.map((name) => [name, fields[name]!.save(struct[name])])) as Saved<F>;
    },
    restore(struct, saved) {
      for (const name of names) {
        const field = fields[name]!;
        const value = field.restore(struct[name], saved[name]);
        if (field.scalar) struct[name as keyof F] = value;
      }
    },
  };
}
