/**
 * The messages of 9P2000.L: type and fields, in the order of the wire. From the protocol's description by diod
 * (protocol.md) and Linux's net/9p/client.c; names are theirs.
 *
 * Every message is size[4] type[1] tag[2] and its fields. Twrite, Rread and Rreaddir have bytes behind their last field, `count` of them.
 */
import { EBADMSG } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import { type Field, list, qid, Reader, text, u8, u16, u32, u64, Writer } from "./wire.js";

/** size[4] type[1] tag[2] */
export const HEADER_BYTES = 7;
/** Bytes before the payload of Rread and Rreaddir: the header and count[4]. */
export const READ_HEADER_BYTES = HEADER_BYTES + 4;
/** Bytes before the payload of Twrite: the header, fid[4], offset[8], count[4]. */
export const WRITE_HEADER_BYTES = HEADER_BYTES + 16;
/** P9_MAXWELEM: how many names one Twalk may have. */
export const MAX_WALK_NAMES = 16;
/** No tag (Tversion), and no fid (Tattach without Tauth). */
export const NOTAG = 0xffff;
export const NOFID = 0xffff_ffff;
/** P9_NONUNAME: an attach by name only. */
export const NONUNAME = 0xffff_ffff;

// biome-ignore lint/suspicious/noExplicitAny: a list of fields of any kinds
type Fields = Readonly<Record<string, Field<any>>>;

export interface Message<F extends Fields = Fields> {
  readonly type: number;
  readonly fields: F;
  readonly hasPayload: boolean;
}

/** The values of a message's fields. */
export type Values<M extends Message> = {
  [K in keyof M["fields"]]: M["fields"][K] extends Field<infer V> ? V : never;
};

function message<const F extends Fields>(type: number, fields: F): Message<F> {
  return { type, fields, hasPayload: false };
}

function withPayload<const F extends Fields>(type: number, fields: F): Message<F & { readonly count: Field<number> }> {
  return { type, fields: { ...fields, count: u32 }, hasPayload: true };
}

/** Requests. */
export const T = {
  statfs: message(8, { fid: u32 }),
  lopen: message(12, { fid: u32, flags: u32 }),
  lcreate: message(14, { fid: u32, name: text, flags: u32, mode: u32, gid: u32 }),
  symlink: message(16, { dfid: u32, name: text, symtgt: text, gid: u32 }),
  mknod: message(18, { dfid: u32, name: text, mode: u32, major: u32, minor: u32, gid: u32 }),
  rename: message(20, { fid: u32, dfid: u32, name: text }),
  readlink: message(22, { fid: u32 }),
  getattr: message(24, { fid: u32, requestMask: u64 }),
  setattr: message(26, {
    ...{ fid: u32, valid: u32, mode: u32, uid: u32, gid: u32, size: u64 },
    ...{ atimeSec: u64, atimeNsec: u64, mtimeSec: u64, mtimeNsec: u64 },
  }),
  xattrwalk: message(30, { fid: u32, newfid: u32, name: text }),
  xattrcreate: message(32, { fid: u32, name: text, attrSize: u64, flags: u32 }),
  readdir: message(40, { fid: u32, offset: u64, count: u32 }),
  fsync: message(50, { fid: u32, datasync: u32 }),
  lock: message(52, { fid: u32, type: u8, flags: u32, start: u64, length: u64, procId: u32, clientId: text }),
  getlock: message(54, { fid: u32, type: u8, start: u64, length: u64, procId: u32, clientId: text }),
  link: message(70, { dfid: u32, fid: u32, name: text }),
  mkdir: message(72, { dfid: u32, name: text, mode: u32, gid: u32 }),
  renameat: message(74, { olddirfid: u32, oldname: text, newdirfid: u32, newname: text }),
  unlinkat: message(76, { dirfid: u32, name: text, flags: u32 }),
  version: message(100, { msize: u32, version: text }),
  auth: message(102, { afid: u32, uname: text, aname: text, nUname: u32 }),
  attach: message(104, { fid: u32, afid: u32, uname: text, aname: text, nUname: u32 }),
  flush: message(108, { oldtag: u16 }),
  walk: message(110, { fid: u32, newfid: u32, names: list(text, MAX_WALK_NAMES) }),
  read: message(116, { fid: u32, offset: u64, count: u32 }),
  write: withPayload(118, { fid: u32, offset: u64 }),
  clunk: message(120, { fid: u32 }),
  remove: message(122, { fid: u32 }),
} as const;

export type RequestName = keyof typeof T;

/** Answers: each has the type of its request and one. Rlerror answers any. */
export const R = {
  statfs: message(9, {
    ...{ type: u32, bsize: u32, blocks: u64, bfree: u64, bavail: u64 },
    ...{ files: u64, ffree: u64, fsid: u64, namelen: u32 },
  }),
  lopen: message(13, { qid, iounit: u32 }),
  lcreate: message(15, { qid, iounit: u32 }),
  symlink: message(17, { qid }),
  mknod: message(19, { qid }),
  rename: message(21, {}),
  readlink: message(23, { target: text }),
  getattr: message(25, {
    ...{ valid: u64, qid, mode: u32, uid: u32, gid: u32, nlink: u64, rdev: u64, size: u64, blksize: u64, blocks: u64 },
    ...{ atimeSec: u64, atimeNsec: u64, mtimeSec: u64, mtimeNsec: u64, ctimeSec: u64, ctimeNsec: u64 },
    ...{ btimeSec: u64, btimeNsec: u64, gen: u64, dataVersion: u64 },
  }),
  setattr: message(27, {}),
  xattrwalk: message(31, { size: u64 }),
  xattrcreate: message(33, {}),
  readdir: withPayload(41, {}),
  fsync: message(51, {}),
  lock: message(53, { status: u8 }),
  getlock: message(55, { type: u8, start: u64, length: u64, procId: u32, clientId: text }),
  link: message(71, {}),
  mkdir: message(73, { qid }),
  renameat: message(75, {}),
  unlinkat: message(77, {}),
  version: message(101, { msize: u32, version: text }),
  auth: message(103, { aqid: qid }),
  attach: message(105, { qid }),
  flush: message(109, {}),
  walk: message(111, { qids: list(qid, MAX_WALK_NAMES) }),
  read: withPayload(117, {}),
  write: message(119, { count: u32 }),
  clunk: message(121, {}),
  remove: message(123, {}),
} as const satisfies Record<RequestName, Message>;

/** Rlerror: any request may fail. */
export const RLERROR = message(7, { ecode: u32 });

/** The fields of a message without its header; `bytes` must end where they do, or for a payload not before. */
export function decode<M extends Message>({ fields, hasPayload }: M, bytes: Uint8Array): Values<M> {
  const from = new Reader(bytes);
  const values: Record<string, unknown> = {};
  for (const name in fields) values[name] = fields[name]!.read(from);
  if (from.rest > 0 && !hasPayload) throw new ShareError(EBADMSG, "the message is longer than its fields");
  return values as Values<M>;
}

/**
 * Writes a message but for its payload, whose length `count` tells already; the size in the header includes it.
 * @returns bytes written
 */
export function encode<M extends Message>(message: M, tag: number, values: Values<M>, into: Uint8Array): number {
  const to = new Writer(into);
  to.u32(0);
  to.u8(message.type);
  to.u16(tag);
  for (const name in message.fields) message.fields[name]!.write(to, values[name as keyof Values<M>]);
  const payload = message.hasPayload ? (values as { count: number }).count : 0;
  new Writer(into).u32(to.at + payload);
  return to.at;
}
