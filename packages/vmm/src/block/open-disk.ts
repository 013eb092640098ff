/** Opens a disk image with everything it stands on. */
import { basename, dirname, isAbsolute, join } from "node:path";
import type { DiskImage } from "./disk-image.js";
import { DiskError, errnoOf } from "./errors.js";
import { type CacheMode, fileIdentity, type HostFile, openHostFile } from "./host-file.js";
import { headerAreaBytes, isQcow2, parseHeader, type Qcow2Header } from "./qcow2/header.js";
import { Qcow2Disk } from "./qcow2/qcow2-disk.js";
import { RawDisk } from "./raw.js";

export type DiskFormat = "raw" | "qcow2";

export interface OpenDiskOptions {
  /** What the image is. Without it the name's ending says (`.raw`, `.qcow2`), and without that the contents; see openDisk(). */
  readonly format?: DiskFormat;
  readonly readonly?: boolean;
  readonly cache?: CacheMode;
  /** False refuses an image that names a backing file: for images from strangers, who could name any file of this host. */
  readonly allowBacking?: boolean;
  /** False leaves the locks out that keep two machines from writing one image. */
  readonly lock?: boolean;
}

/** An overlay on an overlay, and so on: more than anybody needs. */
const MOST_BACKING_FILES = 32;

/**
 * Opens a raw or qcow2 image.
 *
 * A guest can write anything to its disk, a qcow2 header too. If a raw disk were taken for qcow2 by its contents, that header could name any
 * file of the host as its backing file, and the guest would read it. So contents decide only where that can do no harm: an image
 * that begins as qcow2 and names no backing file is qcow2; one that names a backing file is refused until somebody says its format, by
 * option or by name; anything else is raw, and then a write that would make it begin as qcow2 fails with EPERM.
 *
 * @throws an Error with `code`: ENOENT and the like; EBUSY when another machine has the image; EINVAL when it is broken; ENOTSUP for a
 * feature that is not supported, named; EROFS when it may be read but not written; ELOOP for backing files without end
 */
export function openDisk(path: string, options: OpenDiskOptions = {}): DiskImage {
  return openLayer(path, options, []);
}

/** @param above the images that stand on this one, the guest's own first */
function openLayer(path: string, options: OpenDiskOptions, above: readonly HostFile[]): DiskImage {
  const { readonly = false, cache, lock } = options;
  if (above.some(({ identity }) => identity === fileIdentity(path))) {
    throw new DiskError("ELOOP", `${path} is its own backing file`);
  }
  const file = openHostFile(path, { readonly, cache, lock });
  try {
    const told = options.format ?? formatByName(path);
    const head = new Uint8Array(Math.min(512, file.endBytes));
    file.readv(0, [head]);
    if (told === "raw") return new RawDisk(file);
    if (told === undefined && !isQcow2(head)) return new RawDisk(file, isQcow2);
    return openQcow2(file, head, told === "qcow2", options, above);
  } catch (error) {
    file.close();
    throw error;
  }
}

function formatByName(path: string): DiskFormat | undefined {
  const ending = /\.(raw|qcow2)$/i.exec(basename(path))?.[1]?.toLowerCase();
  return ending as DiskFormat | undefined;
}

function openQcow2(
  file: HostFile,
  head: Uint8Array,
  told: boolean,
  options: OpenDiskOptions,
  above: readonly HostFile[],
): Qcow2Disk {
  const header = readHeader(file, head);
  const backing = header.backing === undefined ? undefined : openBacking(file, header.backing, told, options, above);
  try {
    return new Qcow2Disk(file, header, { backing, isBacking: above.length > 0 });
  } catch (error) {
    backing?.close();
    throw error;
  }
}

function readHeader(file: HostFile, head: Uint8Array): Qcow2Header {
  try {
    const area = new Uint8Array(Math.min(headerAreaBytes(head), file.endBytes));
    file.readv(0, [area]);
    return parseHeader(area, file.endBytes);
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    throw new DiskError(error.code, `${file.path}: ${error.message}`, { cause: error });
  }
}

function openBacking(
  file: HostFile,
  { name, format }: NonNullable<Qcow2Header["backing"]>,
  told: boolean,
  options: OpenDiskOptions,
  above: readonly HostFile[],
): DiskImage {
  const shown = JSON.stringify(name);
  if (options.allowBacking === false)
    throw new DiskError("EPERM", `${file.path} names a backing file, ${shown}, which is not allowed here`);
  if (!told) {
    throw new DiskError(
      "EPERM",
      `${file.path} looks like a qcow2 image with the backing file ${shown}; name its format if it is yours`,
    );
  }
  if (above.length >= MOST_BACKING_FILES) {
    throw new DiskError("ELOOP", `${file.path} has more than ${MOST_BACKING_FILES} backing files below it or above it`);
  }
  if (format !== undefined && format !== "raw" && format !== "qcow2") {
    throw new DiskError("ENOTSUP", `${file.path} has a backing file of format ${JSON.stringify(format)}`);
  }
  const path = backingPath(file.path, name);
  try {
    return openLayer(path, { ...options, format, readonly: true }, [...above, file]);
  } catch (error) {
    throw new DiskError(errnoOf(error) || "EIO", `backing file of ${file.path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Relative names are relative to the image that names them. QEMU's other ways to name an image are not files. */
function backingPath(imagePath: string, name: string): string {
  if (/^[a-z][a-z0-9+.-]*:/i.test(name))
    throw new DiskError("ENOTSUP", `${imagePath} has a backing file that is no file: ${JSON.stringify(name)}`);
  return isAbsolute(name) ? name : join(dirname(imagePath), name);
}
