/**
 * Writes a cpio archive in the "newc" form, the one the kernel unpacks as its initramfs
 * (Documentation/driver-api/early-userspace/buffer-format.rst): per entry a 110-byte header of 8-digit hexadecimal
 * fields, the name with its NUL, the content; header+name and content each padded to 4 bytes; "TRAILER!!!" closes it.
 */

export type CpioEntry =
  | { kind: "directory"; path: string; mode?: number }
  | { kind: "file"; path: string; content: Uint8Array; mode?: number }
  | { kind: "symlink"; path: string; target: string }
  | { kind: "character-device"; path: string; major: number; minor: number; mode?: number };

const MAGIC = "070701";
const HEADER_BYTES = 110;
const TRAILER = "TRAILER!!!";
const ALIGNMENT = 4;

const FILE_TYPE = { directory: 0o040000, file: 0o100000, symlink: 0o120000, "character-device": 0o020000 } as const;
const DEFAULT_MODE = { directory: 0o755, file: 0o644, symlink: 0o777, "character-device": 0o600 } as const;

/** The field is eight hexadecimal digits, so no entry is larger. */
const MAX_CONTENT_BYTES = 0xffff_ffff;

/**
 * The archive of these entries, in their order: a directory has to come before what is in it, as the kernel makes no parents.
 * Paths have no leading slash. Every entry belongs to root and carries no time, so equal entries give equal bytes.
 *
 * @throws RangeError for a path that is empty, absolute, or holds a NUL, and for content over 4 GiB.
 */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, index) => {
    if (entry.path === "" || entry.path.startsWith("/") || entry.path.includes("\0") || entry.path === TRAILER) {
      throw new RangeError(`not a path for a cpio entry: ${JSON.stringify(entry.path)}`);
    }
    const mode = FILE_TYPE[entry.kind] | (("mode" in entry ? entry.mode : undefined) ?? DEFAULT_MODE[entry.kind]);
    const device = entry.kind === "character-device" ? entry : { major: 0, minor: 0 };
    appendEntry(parts, entry.path, contentOf(entry), { inode: index + 1, mode, ...device });
  });
  appendEntry(parts, TRAILER, new Uint8Array(0), { inode: 0, mode: 0, major: 0, minor: 0 });
  return Buffer.concat(parts);
}

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === "file") return entry.content;
  return Buffer.from(entry.kind === "symlink" ? entry.target : "");
}

interface HeaderFields {
  inode: number;
  mode: number;
  major: number;
  minor: number;
}

function appendEntry(parts: Uint8Array[], path: string, content: Uint8Array, fields: HeaderFields): void {
  if (content.byteLength > MAX_CONTENT_BYTES) throw new RangeError(`${path} is too large for a cpio archive`);
  const name = Buffer.from(`${path}\0`);
  const header = [
    fields.inode,
    fields.mode,
    0, // uid
    0, // gid
    1, // links
    0, // time
    content.byteLength,
    0, // major and minor of the file system it came from
    0,
    fields.major,
    fields.minor,
    name.byteLength,
    0, // checksum, of the "crc" form alone
  ];
  parts.push(Buffer.from(MAGIC + header.map((field) => field.toString(16).padStart(8, "0")).join("")));
  parts.push(name, padding(HEADER_BYTES + name.byteLength), content, padding(content.byteLength));
}

function padding(length: number): Uint8Array {
  return new Uint8Array((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
}
