/** The client's handles. What each may do depends on what was made of it: a place, an open file, an extended attribute. */
import { EBADF, EMFILE, ENOSPC } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import type { HeldFile } from "./held-files.js";
import { type OpenFile, OpenFiles } from "./open-files.js";

/** The value of an attribute or the list of names, taken at Txattrwalk. */
export interface ReadAttribute {
  readonly kind: "read attribute";
  readonly value: Uint8Array;
}

/** An attribute that is being written (Txattrcreate); it is set at Tclunk. */
export interface WrittenAttribute {
  readonly kind: "written attribute";
  readonly name: Uint8Array;
  readonly value: Uint8Array;
  readonly flags: number;
  written: number;
}

export type Use = OpenFile | ReadAttribute | WrittenAttribute;

export interface Fid {
  readonly file: HeldFile;
  /** Who attached: the owner of what is created, where owners are the guest's. Undefined when the client did not say. */
  readonly uid: number | undefined;
  use: Use | undefined;
}

export interface FidLimits {
  readonly maxFids: number;
  /** With a descriptor. */
  readonly maxOpenFiles: number;
  readonly maxAttributeBytes: number;
}

export class FidTable {
  readonly #fids = new Map<number, Fid>();
  readonly #limits: FidLimits;
  readonly openFiles: OpenFiles;
  #attributeBytes = 0;

  constructor(limits: FidLimits) {
    this.#limits = limits;
    this.openFiles = new OpenFiles(limits.maxOpenFiles);
  }

  get size(): number {
    return this.#fids.size;
  }

  get(number: number): Fid {
    const fid = this.#fids.get(number);
    if (fid === undefined) throw new ShareError(EBADF, `there is no fid ${number}`);
    return fid;
  }

  /** A fid that nothing was made of yet. */
  place(number: number): Fid {
    const fid = this.get(number);
    if (fid.use !== undefined) throw new ShareError(EBADF, `fid ${number} is in use for I/O`);
    return fid;
  }

  /** A fid opened for I/O. */
  opened(number: number): { fid: Fid; open: OpenFile } {
    const fid = this.get(number);
    if (fid.use?.kind !== "open") throw new ShareError(EBADF, `fid ${number} is not open`);
    return { fid, open: fid.use };
  }

  /** EBADF, EMFILE when no fid of that number can be added. */
  checkFree(number: number): void {
    if (this.#fids.has(number)) throw new ShareError(EBADF, `fid ${number} exists already`);
    if (this.#fids.size >= this.#limits.maxFids)
      throw new ShareError(EMFILE, `${this.#limits.maxFids} fids are the limit`);
  }

  /** Adds a fid, or replaces one by what was walked from it. It releases `file` some day. */
  set(number: number, fid: Fid): void {
    this.#fids.get(number)?.file.release();
    this.#fids.set(number, fid);
  }

  /** Room for the bytes of an attribute, zeroed, until its fid goes. */
  attributeRoom(sizeBytes: number): Uint8Array {
    if (this.#attributeBytes + sizeBytes > this.#limits.maxAttributeBytes) {
      throw new ShareError(ENOSPC, "too many extended attributes are being read and written");
    }
    this.#attributeBytes += sizeBytes;
    return new Uint8Array(sizeBytes);
  }

  /** Forgets a fid and gives back what it held. */
  drop(number: number): void {
    const fid = this.get(number);
    this.#fids.delete(number);
    if (fid.use?.kind === "open") fid.use.close();
    else if (fid.use !== undefined) this.#attributeBytes -= fid.use.value.length;
    fid.file.release();
  }

  dropAll(): void {
    for (const number of [...this.#fids.keys()]) this.drop(number);
  }
}
