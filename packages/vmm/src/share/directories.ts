/** Treaddir: entries of a directory as qid[13] offset[8] type[1] name[s]. */
import { constants } from "node:fs";
import { EINVAL, ENOTDIR, fsAt } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import type { SharedFolder } from "./folder.js";
import { type Handlers, respond } from "./session.js";
import { QidType, qid, Writer } from "./wire.js";

/** struct linux_dirent64 (getdents(2)): d_ino, d_off, d_reclen, d_type, d_name. */
const Dirent = { ino: 0, offset: 8, recordBytes: 16, type: 18, name: 19 } as const;
/**
 * A record of the kernel's, which is padded to 8 bytes, becomes at most this much longer as an entry: 24 bytes with a name of
 * four become 28. So what is read of the kernel fits into the answer, and nothing needs to be kept for the next one.
 */
const GROWTH = 28 / 24;
/** What one request is given at most. */
const MAX_RECORD_BYTES = 65_536;
const MAX_OFFSET = 2n ** 63n - 1n;
const DT_DIR = constants.S_IFDIR >> 12;
const DT_LNK = constants.S_IFLNK >> 12;

const records = new Uint8Array(MAX_RECORD_BYTES);
const entries = new Uint8Array(Math.ceil(MAX_RECORD_BYTES * GROWTH));

export const directories: Handlers<"readdir"> = {
  readdir({ folder, fids }, { fid, offset, count }, payload) {
    const { fid: holder, open } = fids.opened(fid);
    if (!holder.file.isDirectory) throw new ShareError(ENOTDIR, "not a directory");
    if (offset > MAX_OFFSET) throw new ShareError(EINVAL, "no offset of an entry");
    const room = Math.floor(Math.min(count, payload.roomBytes) / GROWTH);
    const into = records.subarray(0, Math.min(room, MAX_RECORD_BYTES));
    // An offset of 0 begins again, and sees what was added since.
    const { fd } = open;
    const goesOn = offset !== 0n && offset === open.directoryOffset;
    open.directoryOffset = -1n;
    const got = fsAt.getdents64(fd, goesOn ? null : offset, into);
    const { length, last } = translate(
      folder,
      holder.file.device,
      into.subarray(0, got),
      holder.file.isSame(folder.root.status()),
    );
    open.directoryOffset = last ?? offset;
    return { count: respond(payload, entries.subarray(0, length)) };
  },
};

/** Writes the kernel's records into `entries`: how long they became, and the offset behind the last. */
function translate(
  folder: SharedFolder,
  device: string,
  from: Uint8Array,
  isRoot: boolean,
): { length: number; last: bigint | undefined } {
  const view = new DataView(from.buffer, from.byteOffset, from.byteLength);
  const to = new Writer(entries);
  let last: bigint | undefined;
  for (let at = 0; at < from.length; at += view.getUint16(at + Dirent.recordBytes, true)) {
    const type = view.getUint8(at + Dirent.type);
    const nameAt = at + Dirent.name;
    const name = from.subarray(nameAt, from.indexOf(0, nameAt));
    // What lies above the folder is not even a number.
    const isAbove = isRoot && name.length === 2 && name[0] === 0x2e && name[1] === 0x2e;
    const ino = isAbove ? folder.root.ino : view.getBigUint64(at + Dirent.ino, true);
    last = view.getBigInt64(at + Dirent.offset, true);
    qid.write(to, { type: qidType(type), version: 0, path: folder.qids.path(device, ino) });
    to.u64(last);
    to.u8(type);
    to.u16(name.length);
    to.bytes(name);
  }
  return { length: to.at, last };
}

function qidType(type: number): number {
  if (type === DT_DIR) return QidType.directory;
  return type === DT_LNK ? QidType.symlink : QidType.file;
}
