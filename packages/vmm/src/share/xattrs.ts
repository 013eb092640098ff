/**
 * Extended attributes: Txattrwalk makes a fid to read one, or with an empty name the list of names, by Tread; Txattrcreate makes of a fid one
 * to write to, and Tclunk sets it.
 */
import { E2BIG, EINVAL, ERANGE, fsAt, XATTR_CREATE, XATTR_REPLACE } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import type { WrittenAttribute } from "./fids.js";
import type { HeldFile } from "./held-files.js";
import { checkWritable, type Handlers } from "./session.js";

/** XATTR_SIZE_MAX and XATTR_LIST_MAX (xattr(7)). */
const MAX_BYTES = 65_536;

export const xattrs: Handlers<"xattrwalk" | "xattrcreate"> = {
  xattrwalk({ fids }, { fid, newfid, name }) {
    const { file, uid } = fids.get(fid);
    fids.checkFree(newfid);
    const found = name.length === 0 ? listed(file) : attributeOf(file, name);
    const value = fids.attributeRoom(found.length);
    value.set(found);
    fids.set(newfid, { file: file.retain(), uid, use: { kind: "read attribute", value } });
    return { size: BigInt(value.length) };
  },

  xattrcreate(session, { fid, name, attrSize, flags }) {
    checkWritable(session);
    const { fids } = session;
    const place = fids.place(fid);
    if (attrSize > MAX_BYTES) throw new ShareError(E2BIG, "an extended attribute has at most 65536 bytes");
    if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) !== 0) throw new ShareError(EINVAL, `unknown flags ${flags}`);
    const value = fids.attributeRoom(Number(attrSize));
    place.use = { kind: "written attribute", name: name.slice(), value, flags, written: 0 };
    return {};
  },
};

/**
 * Sets what was written, or removes it: a size of zero with XATTR_REPLACE is how Linux says so (fs/9p/xattr.c).
 * EINVAL when less came than was announced.
 */
export function storeAttribute(file: HeldFile, { name, value, flags, written }: WrittenAttribute): void {
  if (written !== value.length) throw new ShareError(EINVAL, `${written} of ${value.length} bytes were written`);
  if (value.length === 0 && flags === XATTR_REPLACE) fsAt.removexattr(file.fd, name);
  else fsAt.setxattr(file.fd, name, value, flags);
}

const attributeOf = (file: HeldFile, name: Uint8Array): Uint8Array =>
  fetched((into) => fsAt.getxattr(file.fd, name, into));
const listed = (file: HeldFile): Uint8Array => fetched((into) => fsAt.listxattr(file.fd, into));

/** Asks how large it is and then for it; it may grow in between. */
function fetched(get: (into: Uint8Array) => number): Uint8Array {
  const size = get(new Uint8Array(0));
  if (size === 0) return new Uint8Array(0);
  const into = new Uint8Array(Math.min(MAX_BYTES, size + 256));
  const got = get(into);
  if (got > into.length) throw new ShareError(ERANGE, "the attribute is too large");
  return into.subarray(0, got);
}
