/** Names: Tmkdir, Tsymlink, Tmknod, Tlink, Trename, Trenameat, Tunlinkat, Tremove, Treadlink. */
import { constants } from "node:fs";
import { EBUSY, EINVAL, EPERM, ESTALE, fsAt } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import type { Fid } from "./fids.js";
import { checkName } from "./folder.js";
import type { HeldFile } from "./held-files.js";
import { endow } from "./ownership.js";
import { checkWritable, type Handlers, type Session, type SharePolicy } from "./session.js";
import type { Qid } from "./wire.js";

const AT_REMOVEDIR = 0x200;
const NEW_MODE = 0o600;
const NEW_DIRECTORY_MODE = 0o700;

type Requests = ("mkdir" | "symlink" | "mknod" | "link") | ("rename" | "renameat" | "unlinkat" | "remove") | "readlink";

export const names: Handlers<Requests> = {
  mkdir(session, { dfid, name, mode, gid }) {
    const make = (dirFd: number) => fsAt.mkdirat(dirFd, name, NEW_DIRECTORY_MODE);
    return { qid: makeNamed(session, { dfid, name, gid, type: constants.S_IFDIR, mode, make }) };
  },

  symlink(session, { dfid, name, symtgt, gid }) {
    const make = (dirFd: number) => fsAt.symlinkat(symtgt, dirFd, name);
    return { qid: makeNamed(session, { dfid, name, gid, type: constants.S_IFLNK, mode: undefined, make }) };
  },

  mknod(session, { dfid, name, mode, major, minor, gid }) {
    const type = mode & constants.S_IFMT || constants.S_IFREG;
    checkNode(session.policy, type, { major, minor });
    const make = (dirFd: number) => fsAt.mknodat(dirFd, name, type | NEW_MODE, { major, minor });
    return { qid: makeNamed(session, { dfid, name, gid, type, mode, make }) };
  },

  link(session, { dfid, fid, name }) {
    checkWritable(session);
    const dirFd = directoryOf(session, dfid);
    checkName(name);
    const { file } = session.fids.get(fid);
    session.folder.checkInside(file);
    fsAt.linkat(file.fd, dirFd, name);
    return {};
  },

  renameat(session, { olddirfid, oldname, newdirfid, newname }) {
    checkWritable(session);
    const { fids, folder } = session;
    folder.rename(fids.get(olddirfid).file, oldname, fids.get(newdirfid).file, newname);
    return {};
  },

  rename(session, { fid, dfid, name }) {
    checkWritable(session);
    const to = session.fids.get(dfid).file;
    atItsName(session, session.fids.get(fid), (dir, from) => session.folder.rename(dir, from, to, name));
    return {};
  },

  unlinkat(session, { dirfid, name, flags }) {
    checkWritable(session);
    if ((flags & ~AT_REMOVEDIR) !== 0) throw new ShareError(EINVAL, `unknown flags ${flags}`);
    const directory = (flags & AT_REMOVEDIR) !== 0;
    session.folder.unlink(session.fids.get(dirfid).file, name, { directory });
    return {};
  },

  /** The fid goes, whether the file does or not (Plan 9 manual, remove(5)). */
  remove(session, { fid: number }) {
    const fid = session.fids.get(number);
    try {
      checkWritable(session);
      const { isDirectory } = fid.file;
      atItsName(session, fid, (dir, name) => session.folder.unlink(dir, name, { directory: isDirectory }));
    } finally {
      session.fids.drop(number);
    }
    return {};
  },

  readlink({ fids }, { fid }) {
    const { file } = fids.get(fid);
    if (!file.isSymlink) throw new ShareError(EINVAL, "not a symbolic link");
    return { target: fsAt.readlinkat(file.fd) };
  },
};

function directoryOf({ fids, folder }: Session, number: number): number {
  return folder.directory(fids.get(number).file);
}

/** Does something to the name that a fid's file has now. */
function atItsName({ folder }: Session, { file }: Fid, act: (dir: HeldFile, name: Uint8Array) => void): void {
  if (file === folder.root) throw new ShareError(EBUSY, "the shared folder itself stays where it is");
  const { dir, name } = folder.locate(file);
  try {
    act(dir, name);
  } finally {
    dir.release();
  }
}

interface Named {
  readonly dfid: number;
  readonly name: Uint8Array;
  readonly gid: number;
  readonly type: number;
  readonly mode: number | undefined;
  make(dirFd: number): void;
}

/** Makes something by name, finds what was made and gives it its owner and mode. */
function makeNamed(session: Session, o: Named): Qid {
  checkWritable(session);
  const { fids, folder, policy } = session;
  const dir = fids.get(o.dfid);
  checkName(o.name);
  o.make(folder.directory(dir.file));
  const { file, qid } = folder.find(dir.file, o.name);
  try {
    // Somebody on the host may have put something else there meanwhile, which must not become the guest's.
    if (file.type !== o.type || !isOwn(policy, file.status().stxUid)) throw new ShareError(ESTALE, "it was replaced");
    endow(policy, file.fd, { uid: dir.uid, gid: o.gid, mode: o.mode, isDirectory: file.isDirectory });
    return qid;
  } finally {
    file.release();
  }
}

function isOwn(policy: SharePolicy, uid: number): boolean {
  return policy.ownership === "none" || uid === process.geteuid?.();
}

/** A node of a device is a door into the host for whoever can open it there. Character device 0:0 is none: overlayfs's whiteout. */
function checkNode(policy: SharePolicy, type: number, { major, minor }: { major: number; minor: number }): void {
  if (type === constants.S_IFREG || type === constants.S_IFIFO || type === constants.S_IFSOCK) return;
  if (type === constants.S_IFCHR && major === 0 && minor === 0) return;
  const isDevice = type === constants.S_IFCHR || type === constants.S_IFBLK;
  if (!isDevice) throw new ShareError(EINVAL, "no such kind of node");
  if (!policy.devices) throw new ShareError(EPERM, "nodes of devices are not made in this share");
}
