/**
 * How 9P puts values into bytes: little-endian integers; text as size[2] and bytes; a qid as type[1] version[4] path[8]
 * (Plan 9 manual, intro(5)). Text stays bytes, since names of files need not be UTF-8.
 */
import { EBADMSG, EMSGSIZE } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";

/** What the server calls a file: the same for every name of it, and for no other file. */
export interface Qid {
  readonly type: number;
  readonly version: number;
  readonly path: bigint;
}

/** QTDIR, QTSYMLINK, QTFILE. */
export const QidType = { directory: 0x80, symlink: 0x02, file: 0x00 } as const;

/** Takes values off private bytes, one after the other. EBADMSG where there are none. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get at(): number {
    return this.#at;
  }

  get rest(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#view.getUint8(this.#next(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#next(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#next(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#next(8), true);
  }
  bytes(length: number): Uint8Array {
    const at = this.#next(length);
    return this.#bytes.subarray(at, at + length);
  }

  #next(length: number): number {
    const at = this.#at;
    if (length > this.rest) throw new ShareError(EBADMSG, "the message is shorter than its fields");
    this.#at += length;
    return at;
  }
}

/** Puts values into bytes, one after the other. EMSGSIZE when they are full. */
export class Writer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get at(): number {
    return this.#at;
  }

  u8(value: number): void {
    this.#view.setUint8(this.#next(1), value);
  }
  u16(value: number): void {
    this.#view.setUint16(this.#next(2), value, true);
  }
  u32(value: number): void {
    this.#view.setUint32(this.#next(4), value, true);
  }
  u64(value: bigint): void {
    this.#view.setBigUint64(this.#next(8), value, true);
  }
  bytes(value: Uint8Array): void {
    this.#bytes.set(value, this.#next(value.length));
  }

  #next(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw new ShareError(EMSGSIZE, "the message is longer than was agreed");
    this.#at += length;
    return at;
  }
}

/** One kind of field. */
export interface Field<V> {
  read(from: Reader): V;
  write(to: Writer, value: V): void;
}

export const u8: Field<number> = { read: (from) => from.u8(), write: (to, value) => to.u8(value) };
export const u16: Field<number> = { read: (from) => from.u16(), write: (to, value) => to.u16(value) };
export const u32: Field<number> = { read: (from) => from.u32(), write: (to, value) => to.u32(value) };
export const u64: Field<bigint> = { read: (from) => from.u64(), write: (to, value) => to.u64(value) };

/** At most 65535 bytes. */
export const text: Field<Uint8Array> = {
  read: (from) => from.bytes(from.u16()),
  write(to, value) {
    if (value.length > 0xffff) throw new ShareError(EMSGSIZE, "a text has at most 65535 bytes");
    to.u16(value.length);
    to.bytes(value);
  },
};

export const qid: Field<Qid> = {
  read: (from) => ({ type: from.u8(), version: from.u32(), path: from.u64() }),
  write(to, value) {
    to.u8(value.type);
    to.u32(value.version);
    to.u64(value.path);
  },
};

/** A count[2] and so many of `field`, at most `limit`. */
export function list<V>(field: Field<V>, limit: number): Field<V[]> {
  return {
    read(from) {
      const count = from.u16();
      if (count > limit) throw new ShareError(EBADMSG, `a list of ${count}, where ${limit} are the most`);
      return Array.from({ length: count }, () => field.read(from));
    },
    write(to, values) {
      to.u16(values.length);
      for (const value of values) field.write(to, value);
    },
  };
}
