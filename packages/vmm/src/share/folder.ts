/**
 * The folder that is shared, and the wall around it.
 *
 * Nothing in it is ever named by a path. A file is an O_PATH descriptor, which was opened by one name in a directory that
 * was opened so before, from the root on (openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS). So whatever
 * anybody renames or links meanwhile, and whatever names the client thinks of, each step is a step down.
 */
import { closeSync, constants, openSync, readlinkSync } from "node:fs";
import {
  EINVAL,
  EMFILE,
  ENAMETOOLONG,
  ENOENT,
  ENOTDIR,
  ESTALE,
  fsAt,
  O_PATH,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  type Statx,
} from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import { deviceOf, QidMaker } from "./qid.js";
import type { Qid } from "./wire.js";

export const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
const HOLD = O_PATH | constants.O_NOFOLLOW;
const MAX_NAME_BYTES = 255;
const SLASH = 0x2f;
const DOT = 0x2e;

/** A file, directory, symbolic link or whatever else of the folder, held open without being opened (O_PATH). Owners are counted. */
export class HeldFile {
  readonly fd: number;
  readonly type: number;
  readonly device: string;
  readonly ino: bigint;
  readonly #released: () => void;
  #owners = 1;

  constructor(fd: number, status: Statx, released: () => void) {
    this.fd = fd;
    this.type = status.stxMode & constants.S_IFMT;
    this.device = deviceOf(status);
    this.ino = status.stxIno;
    this.#released = released;
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

  isSame(status: Statx): boolean {
    return status.stxIno === this.ino && deviceOf(status) === this.device;
  }

  status(): Statx {
    return fsAt.statx(this.fd, null);
  }

  /**
   * The file opened for I/O: a regular file or a directory, as opening anything else might wait or do something. It is this file and
   * no other, since the link in /proc leads to the inode.
   */
  open(flags: number): number {
    if (!this.isRegular && !this.isDirectory) throw new ShareError(EINVAL, "only files and directories can be opened");
    return openSync(procPath(this.fd), flags | constants.O_NONBLOCK | constants.O_NOCTTY);
  }

  retain(): this {
    this.#owners++;
    return this;
  }

  release(): void {
    if (--this.#owners > 0) return;
    closeSync(this.fd);
    this.#released();
  }
}

/** A file that was found. Who asked for it releases it. */
export interface Found {
  readonly file: HeldFile;
  readonly qid: Qid;
}

export class SharedFolder {
  readonly root: HeldFile;
  readonly qids: QidMaker;
  readonly #maxHeld: number;
  #held = 0;
  #prefix: Buffer;

  /**
   * @param maxHeld how many files may be held at a time; EMFILE for more
   * @throws an Error with `code` when the folder cannot be opened, or /proc is not mounted
   */
  constructor(path: string, maxHeld: number) {
    this.#maxHeld = maxHeld;
    const fd = openSync(path, O_PATH | constants.O_DIRECTORY);
    try {
      const status = fsAt.statx(fd, null);
      this.root = this.#hold(fd, status);
      this.qids = new QidMaker(status);
      this.#prefix = this.#rootPrefix();
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Files held now, the root included. */
  get held(): number {
    return this.#held;
  }

  close(): void {
    this.root.release();
  }

  /** The file of that name in `dir`, `..` included, which is the root's own at the root. The caller releases it. */
  walk(dir: HeldFile, name: Uint8Array): Found {
    return isDotDot(name) ? this.#parentOf(dir) : this.find(dir, name);
  }

  /** The same for a name that must be in `dir`. */
  find(dir: HeldFile, name: Uint8Array): Found {
    const dirFd = this.directory(dir);
    checkName(name);
    return this.#holdAt(dirFd, name, HOLD);
  }

  /** Holds what is open for I/O as `fd`, which stays the caller's. */
  holdOpened(fd: number): Found {
    return this.#keep(openSync(procPath(fd), O_PATH));
  }

  /**
   * The descriptor of a directory that names may be looked up or changed in. One that somebody on the host has moved out of the
   * folder since is ESTALE: what lies in it is not shared any more. (It is looked at and then used, so in the instant between
   * the two a last step may be made in it; no step ever leads upward.)
   */
  directory(dir: HeldFile): number {
    if (!dir.isDirectory) throw new ShareError(ENOTDIR, "not a directory");
    this.checkInside(dir);
    return dir.fd;
  }

  /** ESTALE for a file that somebody on the host has moved out of the folder. One without a name is still inside. */
  checkInside(file: HeldFile): void {
    if (file !== this.root) this.#pathBelow(file);
  }

  /** The directory that a file is in now and its name there; ENOENT when it has none. The caller releases the directory. */
  locate(file: HeldFile): { dir: HeldFile; name: Uint8Array } {
    const path = this.#pathBelow(file);
    const slash = path.lastIndexOf(SLASH);
    const name = path.subarray(slash + 1);
    const dir =
      slash < 0
        ? this.root.retain()
        : this.#holdAt(this.root.fd, path.subarray(0, slash), HOLD | constants.O_DIRECTORY).file;
    try {
      checkName(name);
      if (!file.isSame(fsAt.statx(dir.fd, name))) throw new ShareError(ENOENT, "the file has lost its name");
      return { dir, name };
    } catch (error) {
      dir.release();
      throw error;
    }
  }

  #parentOf(dir: HeldFile): Found {
    this.directory(dir);
    const atRoot = dir === this.root || dir.isSame(this.root.status());
    const parent = atRoot ? this.root.retain() : this.locate(dir).dir;
    try {
      return { file: parent, qid: this.qids.of(parent.status()) };
    } catch (error) {
      parent.release();
      throw error;
    }
  }

  #holdAt(dirFd: number, path: Uint8Array, flags: number): Found {
    return this.#keep(fsAt.openat2(dirFd, path, { flags, resolve: RESOLVE }));
  }

  /** Takes over an O_PATH descriptor. */
  #keep(fd: number): Found {
    try {
      const status = fsAt.statx(fd, null);
      return { file: this.#hold(fd, status), qid: this.qids.of(status) };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  #hold(fd: number, status: Statx): HeldFile {
    if (this.#held >= this.#maxHeld)
      throw new ShareError(EMFILE, `${this.#maxHeld} files are held, which is the limit`);
    const file = new HeldFile(fd, status, () => this.#held--);
    this.#held++;
    return file;
  }

  /** Where the file is now, from the root; ESTALE when that is outside. The root may itself have been moved. */
  #pathBelow(file: HeldFile): Buffer {
    const path = readlinkSync(procPath(file.fd), "buffer");
    if (!startsWith(path, this.#prefix)) {
      this.#prefix = this.#rootPrefix();
      if (!startsWith(path, this.#prefix))
        throw new ShareError(ESTALE, "the file is not in the shared folder any more");
    }
    return path.subarray(this.#prefix.length);
  }

  #rootPrefix(): Buffer {
    const path = readlinkSync(procPath(this.root.fd), "buffer");
    return path.length === 1 ? path : Buffer.concat([path, Buffer.of(SLASH)]);
  }
}

/** EINVAL, ENAMETOOLONG for what can be no name in a directory. */
export function checkName(name: Uint8Array): void {
  if (name.length > MAX_NAME_BYTES) throw new ShareError(ENAMETOOLONG, "a name has at most 255 bytes");
  const isDots = name[0] === DOT && (name.length === 1 || isDotDot(name));
  if (name.length === 0 || isDots || name.includes(SLASH) || name.includes(0)) {
    throw new ShareError(EINVAL, "no name of anything in a directory");
  }
}

function isDotDot(name: Uint8Array): boolean {
  return name.length === 2 && name[0] === DOT && name[1] === DOT;
}

/** The link by which the kernel shows an open descriptor of this process. */
export function procPath(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

function startsWith(path: Buffer, prefix: Buffer): boolean {
  return path.length >= prefix.length && path.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
}
