/**
 * The folder that is shared, and the wall around it.
 *
 * The client's names never become a path. A file is an O_PATH descriptor, which was opened by one name in a directory that
 * was opened so before, from the root on (openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS). So whatever
 * anybody renames or links meanwhile, and whatever names the client thinks of, each step is a step down.
 */
import { closeSync, openSync } from "node:fs";
import { EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, fsAt, O_PATH, type Statx } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import { type HeldFile, HeldFiles } from "./held-files.js";
import { QidMaker } from "./qid.js";
import { procPath, RootFolder } from "./root-folder.js";
import type { Qid } from "./wire.js";

const MAX_NAME_BYTES = 255;
const SLASH = 0x2f;
const DOT = 0x2e;

/** A file that was found. Who asked for it releases it. */
export interface Found {
  readonly file: HeldFile;
  readonly qid: Qid;
}

export class SharedFolder {
  readonly root: HeldFile;
  readonly qids: QidMaker;
  readonly #folder: RootFolder;
  readonly #files: HeldFiles;

  /**
   * @param maxDescriptors how many files have a descriptor at a time; more may be held
   * @throws an Error with `code` when the folder cannot be opened, or /proc is not mounted
   */
  constructor(path: string, maxDescriptors: number) {
    this.#folder = new RootFolder(path);
    try {
      this.#files = new HeldFiles(this.#folder, maxDescriptors);
      const { file, status } = this.#files.add(openSync(procPath(this.#folder.fd), O_PATH));
      this.root = file;
      this.root.pin();
      this.qids = new QidMaker(status);
    } catch (error) {
      closeSync(this.#folder.fd);
      throw error;
    }
  }

  /** Files held without a descriptor. */
  get parkedCount(): number {
    return this.#files.parkedCount;
  }

  beginRequest(): void {
    this.#files.beginRequest();
  }

  close(): void {
    this.root.release();
    closeSync(this.#folder.fd);
  }

  /** The file of that name in `dir`, `..` included, which is the root's own at the root. The caller releases it. */
  walk(dir: HeldFile, name: Uint8Array): Found {
    return isDotDot(name) ? this.#parentOf(dir) : this.find(dir, name);
  }

  /** The same for a name that must be in `dir`. */
  find(dir: HeldFile, name: Uint8Array): Found {
    const dirFd = this.directory(dir);
    checkName(name);
    return this.#found(this.#files.add(this.#folder.hold(dirFd, name)));
  }

  /** Holds what is open for I/O as `fd`, which stays the caller's. */
  holdOpened(fd: number): Found {
    return this.#found(this.#files.add(openSync(procPath(fd), O_PATH)));
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
    if (file !== this.root) this.#folder.pathTo(file.fd);
  }

  /** The directory that a file is in now and its name there; ENOENT when it has none. The caller releases the directory. */
  locate(file: HeldFile): { dir: HeldFile; name: Uint8Array } {
    const path = this.#folder.pathTo(file.fd);
    const slash = path.lastIndexOf(SLASH);
    const name = path.subarray(slash + 1);
    checkName(name);
    const dir = slash < 0 ? this.root.retain() : this.#holdBelow(path.subarray(0, slash));
    try {
      if (!file.isSame(fsAt.statx(dir.fd, name))) throw new ShareError(ENOENT, "the file has lost its name");
      return { dir, name };
    } catch (error) {
      dir.release();
      throw error;
    }
  }

  /** Gives what is at one name another. Both directories are checked. */
  rename(fromDir: HeldFile, from: Uint8Array, toDir: HeldFile, to: Uint8Array): void {
    checkName(from);
    checkName(to);
    const [fromFd, toFd] = [this.directory(fromDir), this.directory(toDir)];
    if (this.#files.parkedCount === 0) {
      fsAt.renameat2(fromFd, from, toFd, to);
      return;
    }
    this.#unpark(toFd, to);
    const [oldPlace, newPlace] = [this.#placeIn(fromDir, from), this.#placeIn(toDir, to)];
    fsAt.renameat2(fromFd, from, toFd, to);
    this.#files.renamed(fsAt.statx(toFd, to), oldPlace, newPlace);
  }

  /** Takes a name away. */
  unlink(dir: HeldFile, name: Uint8Array, o: { directory: boolean }): void {
    checkName(name);
    const dirFd = this.directory(dir);
    if (this.#files.parkedCount > 0) this.#unpark(dirFd, name);
    fsAt.unlinkat(dirFd, name, o);
  }

  /** What is at a name, if anything, is to be found without it. */
  #unpark(dirFd: number, name: Uint8Array): void {
    let status: Statx;
    try {
      status = fsAt.statx(dirFd, name);
    } catch {
      return;
    }
    this.#files.unpark(status);
  }

  #placeIn(dir: HeldFile, name: Uint8Array): string {
    const own = Buffer.from(name).toString("latin1");
    return dir.isSame(this.root.status()) ? own : `${this.#folder.pathTo(dir.fd).toString("latin1")}/${own}`;
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

  #holdBelow(path: Uint8Array): HeldFile {
    return this.#files.add(this.#folder.hold(this.#folder.fd, path)).file;
  }

  #found({ file, status }: { file: HeldFile; status: Statx }): Found {
    return { file, qid: this.qids.of(status) };
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
