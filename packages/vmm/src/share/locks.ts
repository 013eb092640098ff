/**
 * Tlock and Tgetlock. The client asks after its own kernel has granted the lock against all its processes, and the server knows of nobody
 * else, so it is always granted: locks hold among the guest's processes, not between guest and host.
 */
import { EINVAL } from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";
import type { Handlers } from "./session.js";

/** P9_LOCK_TYPE_UNLCK; RDLCK is 0 and WRLCK 1. */
const UNLOCKED = 2;
const LOCK_SUCCESS = 0;

export const locks: Handlers<"lock" | "getlock"> = {
  lock({ fids }, { fid, type }) {
    fids.opened(fid);
    checkType(type);
    return { status: LOCK_SUCCESS };
  },

  getlock({ fids }, { fid, type, start, length, procId, clientId }) {
    fids.opened(fid);
    checkType(type);
    return { type: UNLOCKED, start, length, procId, clientId };
  },
};

function checkType(type: number): void {
  if (type > UNLOCKED) throw new ShareError(EINVAL, `no type of lock: ${type}`);
}
