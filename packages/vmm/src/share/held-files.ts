/**
 * The files that the client has fids of, each as an O_PATH descriptor: held open without being opened.
 *
 * A client that keeps names, as Linux does with cache=loose, has more fids than a process may have descriptors. So the files used
 * least lately are parked: the descriptor is closed, and the way from the root and the file's identity are remembered. When the
 * file is asked for again, that way must lead to the same file, by the same steps down as any other.
 */
import { closeSync, constants, openSync } from "node:fs";
import { EINVAL, EMFILE, ESTALE, fsAt, type Statx } from "@tools-kvm/kvm-binding";
import { errnoOf, ShareError } from "./errors.js";
import { deviceOf } from "./qid.js";
import { procPath, type RootFolder } from "./root-folder.js";

/** How many files are tried for parking, before the client is told that there are too many. */
const PARKING_ATTEMPTS = 32;

/** A file, directory, symbolic link or whatever else of the folder. Owners are counted; the last to release it closes it. */
export class HeldFile {
  readonly type: number;
  readonly device: string;
  readonly ino: bigint;
  readonly #birth: string;
  readonly #files: HeldFiles;
  #owners = 1;
  /** These are for HeldFiles: the descriptor, or while parked none and the way from the root; the request that used it last. */
  descriptor: number | undefined;
  place = "";
  lastUse = 0;
  pins = 0;

  constructor(files: HeldFiles, fd: number, status: Statx) {
    this.#files = files;
    this.descriptor = fd;
    this.type = status.stxMode & constants.S_IFMT;
    this.device = deviceOf(status);
    this.ino = status.stxIno;
    this.#birth = birthOf(status);
  }

  /** The O_PATH descriptor; good until the request is answered. ESTALE when the file was parked and cannot be found again. */
  get fd(): number {
    return this.#files.use(this);
  }

  get isDirectory(): boolean {
    return this.type === constants.S_IFDIR;
  }
  get isRegular(): boolean {
    return this.type === constants.S_IFREG;
  }
  get isSymlink(): boolean {
    return this.type === constants.S_IFLNK;
  }

  /** Whether that is this very file: a number may have been used for an earlier one. */
  isSame(status: Statx): boolean {
    return status.stxIno === this.ino && deviceOf(status) === this.device && birthOf(status) === this.#birth;
  }

  isSameFile(other: HeldFile): boolean {
    return this.ino === other.ino && this.device === other.device && this.#birth === other.#birth;
  }

  status(): Statx {
    return fsAt.statx(this.fd, null);
  }

  /**
   * The file opened for I/O: a regular file or a directory, as opening anything else might wait or do something. It is this file and
   * no other.
   */
  open(flags: number): number {
    if (!this.isRegular && !this.isDirectory) throw new ShareError(EINVAL, "only files and directories can be opened");
    return openSync(procPath(this.fd), flags | constants.O_NONBLOCK | constants.O_NOCTTY);
  }

  /** Keeps the descriptor while the file is open, until as many calls of unpin(). */
  pin(): void {
    this.#files.pin(this);
  }
  unpin(): void {
    this.#files.unpin(this);
  }

  retain(): this {
    this.#owners++;
    return this;
  }

  release(): void {
    if (--this.#owners === 0) this.#files.forget(this);
  }
}

export class HeldFiles {
  readonly #root: RootFolder;
  readonly #maxDescriptors: number;
  /** Those with a descriptor, the least lately used first; those that keep it; those without. */
  readonly #ready = new Set<HeldFile>();
  readonly #pinned = new Set<HeldFile>();
  readonly #parked = new ParkedFiles();
  #request = 0;

  constructor(root: RootFolder, maxDescriptors: number) {
    this.#root = root;
    this.#maxDescriptors = maxDescriptors;
  }

  get parkedCount(): number {
    return this.#parked.size;
  }

  /** Begins a request: until the next, the descriptor of whatever it uses is not closed. */
  beginRequest(): void {
    this.#request++;
  }

  /** Takes over an O_PATH descriptor. It is closed when this fails. */
  add(fd: number): { file: HeldFile; status: Statx } {
    try {
      const status = fsAt.statx(fd, null);
      this.#makeRoom();
      const file = new HeldFile(this, fd, status);
      file.lastUse = this.#request;
      this.#ready.add(file);
      return { file, status };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  use(file: HeldFile): number {
    file.lastUse = this.#request;
    if (file.descriptor === undefined) {
      this.#makeRoom();
      file.descriptor = this.#find(file, file.place);
      this.#parked.delete(file);
      this.#ready.add(file);
    } else if (file.pins === 0) {
      this.#ready.delete(file);
      this.#ready.add(file);
    }
    return file.descriptor;
  }

  pin(file: HeldFile): void {
    this.use(file);
    if (file.pins++ > 0) return;
    this.#ready.delete(file);
    this.#pinned.add(file);
  }

  unpin(file: HeldFile): void {
    if (--file.pins > 0) return;
    this.#pinned.delete(file);
    this.#ready.add(file);
  }

  forget(file: HeldFile): void {
    this.#ready.delete(file);
    this.#pinned.delete(file);
    this.#parked.delete(file);
    if (file.descriptor !== undefined) closeSync(file.descriptor);
    file.descriptor = undefined;
  }

  /** A file has got another name: the way to it, and of a directory to all that is below, is another one too. */
  renamed(status: Statx, from: string, to: string): void {
    const isDirectory = (status.stxMode & constants.S_IFMT) === constants.S_IFDIR;
    for (const file of isDirectory ? this.#parked.all() : this.#parked.of(status.stxIno)) {
      if (file.place === from) file.place = to;
      else if (isDirectory && file.place.startsWith(`${from}/`)) file.place = to + file.place.slice(from.length);
    }
  }

  /** A file is about to lose a name, and perhaps the only way to find it again. */
  unpark(status: Statx): void {
    for (const file of [...this.#parked.of(status.stxIno)]) {
      try {
        if (file.isSame(status)) this.use(file);
      } catch (error) {
        if (errnoOf(error) === undefined) throw error;
      }
    }
  }

  #makeRoom(): void {
    if (this.#ready.size + this.#pinned.size < this.#maxDescriptors) return;
    let attempts = PARKING_ATTEMPTS;
    for (const file of this.#ready) {
      if (file.lastUse === this.#request || attempts-- === 0) break;
      if (this.#park(file)) return;
      this.#ready.delete(file);
      this.#ready.add(file); // behind the others, which are asked first the next time
    }
    throw new ShareError(EMFILE, `${this.#maxDescriptors} files are held that cannot be let go`);
  }

  /** Closes a file's descriptor, if the file could be found again now. */
  #park(file: HeldFile): boolean {
    const fd = file.descriptor!;
    const place = this.#placeOf(file, fd);
    if (place === undefined) return false;
    closeSync(fd);
    file.descriptor = undefined;
    file.place = place;
    this.#ready.delete(file);
    this.#parked.add(file);
    return true;
  }

  #placeOf(file: HeldFile, fd: number): string | undefined {
    try {
      const place = this.#root.pathTo(fd).toString("latin1");
      closeSync(this.#find(file, place));
      return place;
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return undefined;
    }
  }

  #find(file: HeldFile, place: string): number {
    let fd: number;
    try {
      fd = this.#root.hold(this.#root.fd, Buffer.from(place, "latin1"));
    } catch (error) {
      if (errnoOf(error) === undefined || errnoOf(error) === EMFILE) throw error;
      throw new ShareError(ESTALE, "the file is not where it was");
    }
    if (file.isSame(fsAt.statx(fd, null))) return fd;
    closeSync(fd);
    throw new ShareError(ESTALE, "another file is where it was");
  }
}

function birthOf(status: Statx): string {
  return `${status.stxBtimeTvSec}.${status.stxBtimeTvNsec}`;
}

/** Those without a descriptor, by inode number. */
class ParkedFiles {
  readonly #byInode = new Map<bigint, Set<HeldFile>>();
  #count = 0;

  get size(): number {
    return this.#count;
  }

  add(file: HeldFile): void {
    const same = this.#byInode.get(file.ino);
    if (same === undefined) this.#byInode.set(file.ino, new Set([file]));
    else same.add(file);
    this.#count++;
  }

  delete(file: HeldFile): void {
    const same = this.#byInode.get(file.ino);
    if (same?.delete(file) !== true) return;
    this.#count--;
    if (same.size === 0) this.#byInode.delete(file.ino);
  }

  of(ino: bigint): Iterable<HeldFile> {
    return this.#byInode.get(ino) ?? [];
  }

  *all(): Iterable<HeldFile> {
    for (const same of this.#byInode.values()) yield* same;
  }
}
