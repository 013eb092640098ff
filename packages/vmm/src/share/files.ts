/** Contents: Tlopen, Tlcreate, Tread, Twrite, Tfsync. */
import { closeSync, constants, fdatasyncSync, fsyncSync, readvSync, writevSync } from "node:fs";
import { EEXIST, EFBIG, EINVAL, ENOSPC, fsAt, KvmError } from "@tools-kvm/kvm-binding";
import { totalBytes } from "../block/buffers.js";
import { ShareError } from "./errors.js";
import type { Fid } from "./fids.js";
import { checkName } from "./folder.js";
import { endow } from "./ownership.js";
import { RESOLVE } from "./root-folder.js";
import { checkWritable, type Handlers, respond, type Session } from "./session.js";
import type { Qid } from "./wire.js";

const ACCESS_MODE = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;
/**
 * What of the client's flags (the numbers are Linux's) is the server's concern. O_APPEND is not: Twrite says where, and the client's page
 * cache may write back pages through the same fid.
 */
const KEPT_FLAGS = ACCESS_MODE | constants.O_TRUNC | constants.O_SYNC | constants.O_DSYNC;
/** Nobody but the server can open a new file until it has its owner and mode. */
const NEW_FILE_MODE = 0o600;

export const files: Handlers<"lopen" | "lcreate" | "read" | "write" | "fsync"> = {
  lopen(session, { fid, flags }) {
    const place = session.fids.place(fid);
    if ((flags & (ACCESS_MODE | constants.O_TRUNC)) !== constants.O_RDONLY) checkWritable(session);
    session.folder.checkInside(place.file);
    const { openFiles } = session.fids;
    openFiles.makeRoom();
    const qid = session.folder.qids.of(place.file.status());
    place.use = openFiles.add(place.file, place.file.open(flags & KEPT_FLAGS), flags & KEPT_FLAGS);
    return { qid, iounit: 0 };
  },

  /** Makes a file in the directory that the fid stands for; then the fid stands for the file, open. */
  lcreate(session, request) {
    checkWritable(session);
    const place = session.fids.place(request.fid);
    checkName(request.name);
    session.fids.openFiles.makeRoom();
    const { fid, qid } = createNew(session, place, request) ?? openExisting(session, place, request);
    session.fids.set(request.fid, fid);
    return { qid, iounit: 0 };
  },

  read({ fids }, { fid, offset, count }, payload) {
    const { use } = fids.get(fid);
    const length = Math.min(count, payload.roomBytes);
    if (use?.kind === "read attribute") {
      const from = Number(offset < use.value.length ? offset : use.value.length);
      return { count: respond(payload, use.value.subarray(from, from + length)) };
    }
    const { open } = fids.opened(fid);
    if (offset > Number.MAX_SAFE_INTEGER - length) return { count: 0 };
    return { count: moveAll(readvSync, open.fd, payload.room(length), Number(offset)) };
  },

  write(session, { fid, offset, count }, payload) {
    checkWritable(session);
    const { use } = session.fids.get(fid);
    if (count !== payload.receivedBytes) throw new ShareError(EINVAL, `${count} bytes were announced`);
    if (use?.kind === "written attribute") {
      if (offset !== BigInt(use.written)) throw new ShareError(EINVAL, "an attribute is written from first to last");
      if (use.written + count > use.value.length) throw new ShareError(ENOSPC, "more than was announced");
      for (const part of payload.received) {
        use.value.set(part, use.written);
        use.written += part.length;
      }
      return { count };
    }
    const { open } = session.fids.opened(fid);
    if (offset > Number.MAX_SAFE_INTEGER - count) throw new ShareError(EFBIG, "no file is that long");
    return { count: moveAll(writevSync, open.fd, payload.received, Number(offset)) };
  },

  fsync({ fids }, { fid, datasync }) {
    const { open } = fids.opened(fid);
    if (datasync !== 0) fdatasyncSync(open.fd);
    else fsyncSync(open.fd);
    return {};
  },
};

interface Creation {
  readonly name: Uint8Array;
  readonly flags: number;
  readonly mode: number;
  readonly gid: number;
}

/** Undefined when something of that name is there already. */
function createNew(session: Session, dir: Fid, o: Creation): { fid: Fid; qid: Qid } | undefined {
  const { folder, fids, policy } = session;
  const fd = openExclusive(folder.directory(dir.file), o);
  if (fd === undefined) return undefined;
  try {
    endow(policy, fd, { uid: dir.uid, gid: o.gid, mode: o.mode });
    const { file, qid } = folder.holdOpened(fd);
    return { fid: { file, uid: dir.uid, use: fids.openFiles.add(file, fd, o.flags & KEPT_FLAGS) }, qid };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openExclusive(dirFd: number, { name, flags }: Creation): number | undefined {
  const exclusively = (flags & KEPT_FLAGS & ~constants.O_TRUNC) | constants.O_CREAT | constants.O_EXCL;
  try {
    return fsAt.openat2(dirFd, name, { flags: exclusively, mode: NEW_FILE_MODE, resolve: RESOLVE });
  } catch (error) {
    if (error instanceof KvmError && error.errno === EEXIST) return undefined;
    throw error;
  }
}

/** What is there may be a pipe or a device, so it is looked at before it is opened. */
function openExisting({ folder, fids }: Session, dir: Fid, { name, flags }: Creation): { fid: Fid; qid: Qid } {
  if ((flags & constants.O_EXCL) !== 0) throw new ShareError(EEXIST, "the file exists");
  const { file, qid } = folder.find(dir.file, name);
  try {
    const fd = file.open(flags & KEPT_FLAGS);
    return { fid: { file, uid: dir.uid, use: fids.openFiles.add(file, fd, flags & KEPT_FLAGS) }, qid };
  } catch (error) {
    file.release();
    throw error;
  }
}

/** Moves bytes between a file and views at a position, as readvSync and writevSync do: how many. */
type Move = (fd: number, views: Uint8Array[], position: number) => number;

/** The most views that the kernel takes in one call (IOV_MAX). */
const MAX_VIEWS = 1024;

/** Moves until a call moves less than it was given: at the file's end, on a full disk. An error counts if nothing was moved before it. */
function moveAll(move: Move, fd: number, views: readonly Uint8Array[], position: number): number {
  let moved = 0;
  for (let at = 0; at < views.length; at += MAX_VIEWS) {
    const some = views.slice(at, at + MAX_VIEWS);
    const length = totalBytes(some);
    try {
      const now = length === 0 ? 0 : move(fd, some, position + moved);
      moved += now;
      if (now < length) break;
    } catch (error) {
      if (moved === 0) throw error;
      break;
    }
  }
  return moved;
}
