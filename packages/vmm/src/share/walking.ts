/** Fids come and go: Tattach, Twalk, Tclunk, and Tflush and Tauth, which have nothing to do here. */
import { EOPNOTSUPP } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import type { HeldFile } from "./held-files.js";
import { NOFID, NONUNAME } from "./messages.js";
import type { Handlers, Session } from "./session.js";
import type { Qid } from "./wire.js";
import { storeAttribute } from "./xattrs.js";

export const walking: Handlers<"auth" | "attach" | "flush" | "walk" | "clunk"> = {
  auth() {
    throw new ShareError(EOPNOTSUPP, "nobody needs to authenticate");
  },

  attach({ folder, fids }, { fid, afid, nUname }) {
    if (afid !== NOFID) throw new ShareError(EOPNOTSUPP, "nobody needs to authenticate");
    fids.checkFree(fid);
    const qid = folder.qids.of(folder.root.status());
    fids.set(fid, { file: folder.root.retain(), uid: nUname === NONUNAME ? undefined : nUname, use: undefined });
    return { qid };
  },

  /** Requests are answered one after the other, so the one to forget has been answered. */
  flush: () => ({}),

  walk(session, { fid, newfid, names }) {
    const { fids } = session;
    const from = fids.place(fid);
    if (newfid !== fid) fids.checkFree(newfid);
    const { file, qids } = descend(session, from.file, names);
    // A walk that ends early is no error unless at its first step, and makes no fid.
    if (qids.length < names.length) file.release();
    else fids.set(newfid, { file, uid: from.uid, use: undefined });
    return { qids };
  },

  clunk({ fids }, { fid }) {
    const { file, use } = fids.get(fid);
    try {
      if (use?.kind === "written attribute") storeAttribute(file, use);
    } finally {
      fids.drop(fid);
    }
    return {};
  },
};

/** Walks as far as the names lead. The caller releases the file. */
function descend({ folder }: Session, start: HeldFile, names: readonly Uint8Array[]): { file: HeldFile; qids: Qid[] } {
  const qids: Qid[] = [];
  let file = start.retain();
  for (const name of names) {
    try {
      const next = folder.walk(file, name);
      file.release();
      file = next.file;
      qids.push(next.qid);
    } catch (error) {
      if (qids.length > 0) return { file, qids };
      file.release();
      throw error;
    }
  }
  return { file, qids };
}
