/** What a new file is given besides its name: owner, group and mode, by the policy of the share. */
import { fsAt } from "@tools-kvm/kvm-binding";
import type { SharePolicy } from "./session.js";

const MODE_BITS = 0o7777;
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;

/**
 * The mode that may be stored. Where files belong to the user who runs the server, a setuid bit of the guest's would lend that user's
 * rights to anybody on the host, so it is left out; of a directory S_ISGID only says which group its files get.
 */
export function storedMode(policy: SharePolicy, mode: number, isDirectory: boolean): number {
  if (policy.ownership === "passthrough") return mode & MODE_BITS;
  return mode & MODE_BITS & ~(isDirectory ? S_ISUID : S_ISUID | S_ISGID);
}

/**
 * Gives a file that was just made its owner, group and mode, in this order, as a change of owner clears setuid bits. It was made with
 * a mode that lets nobody else in, and the server's umask has no say.
 * @param mode undefined for a symbolic link, which has none
 */
export function endow(
  policy: SharePolicy,
  fd: number,
  o: { uid: number | undefined; gid: number; mode: number | undefined; isDirectory?: boolean },
): void {
  if (policy.ownership === "passthrough") fsAt.fchownat(fd, o.uid ?? fsAt.UNCHANGED_ID, o.gid);
  if (o.mode !== undefined) fsAt.fchmod(fd, storedMode(policy, o.mode, o.isDirectory ?? false));
}
