/**
 * Files opened for I/O. Linux with cache=loose leaves every file open that it wrote to, for as long as it remembers the file, so
 * these are parked as well: the descriptor used least lately is closed, and the file is opened again when it is asked for.
 */
import { closeSync, constants } from "node:fs";
import { EMFILE } from "@tools-kvm/kvm-binding";
import { errnoOf, ShareError } from "./errors.js";
import type { HeldFile } from "./held-files.js";

/** How many are tried for parking, before the client is told that there are too many. */
const PARKING_ATTEMPTS = 32;

export class OpenFile {
  readonly kind = "open";
  readonly file: HeldFile;
  /** Of open(2), without what only happens once. */
  readonly flags: number;
  readonly #files: OpenFiles;
  /** Of a directory: the offset behind the last entry that was read, where the descriptor stands; negative when it stands elsewhere. */
  directoryOffset = 0n;
  /** For OpenFiles: undefined while parked. */
  descriptor: number | undefined;

  constructor(files: OpenFiles, file: HeldFile, fd: number, flags: number) {
    this.#files = files;
    this.file = file;
    this.descriptor = fd;
    this.flags = flags & ~constants.O_TRUNC;
  }

  /** The descriptor; good until the request is answered. */
  get fd(): number {
    return this.#files.use(this);
  }

  close(): void {
    this.#files.close(this);
  }
}

export class OpenFiles {
  readonly #maxDescriptors: number;
  /** Those with a descriptor, the least lately used first, and those without. */
  readonly #ready = new Set<OpenFile>();
  readonly #parked = new Set<OpenFile>();

  constructor(maxDescriptors: number) {
    this.#maxDescriptors = maxDescriptors;
  }

  get parkedCount(): number {
    return this.#parked.size;
  }

  /** What was just opened as `fd`. */
  add(file: HeldFile, fd: number, flags: number): OpenFile {
    const open = new OpenFile(this, file, fd, flags);
    file.pin();
    this.#ready.add(open);
    return open;
  }

  use(open: OpenFile): number {
    if (open.descriptor === undefined) {
      this.makeRoom();
      open.descriptor = open.file.open(open.flags);
      open.directoryOffset = -1n;
      open.file.pin();
      this.#parked.delete(open);
    } else {
      this.#ready.delete(open);
    }
    this.#ready.add(open);
    return open.descriptor;
  }

  close(open: OpenFile): void {
    this.#ready.delete(open);
    this.#parked.delete(open);
    if (open.descriptor === undefined) return;
    closeSync(open.descriptor);
    open.descriptor = undefined;
    open.file.unpin();
  }

  /** Opens again what is parked of a file, before its mode changes to one by which that could not be done. */
  unpark(file: HeldFile): void {
    for (const open of this.#parked) if (open.file.isSameFile(file)) this.use(open);
  }

  /** Sees to it that one more can be opened. EMFILE when none can be parked. */
  makeRoom(): void {
    if (this.#ready.size < this.#maxDescriptors) return;
    let attempts = PARKING_ATTEMPTS;
    for (const open of this.#ready) {
      if (this.#park(open)) return;
      this.#ready.delete(open);
      this.#ready.add(open);
      if (--attempts === 0) break;
    }
    throw new ShareError(EMFILE, `${this.#maxDescriptors} open files are the limit`);
  }

  /** Closes a file's descriptor, if it can be opened like this again now. */
  #park(open: OpenFile): boolean {
    try {
      closeSync(open.file.open(open.flags));
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return false;
    }
    closeSync(open.descriptor!);
    open.descriptor = undefined;
    open.file.unpin();
    this.#ready.delete(open);
    this.#parked.add(open);
    return true;
  }
}
