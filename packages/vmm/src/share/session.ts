/** What the handlers of requests share: the folder, the fids, the policy. */
import { EROFS } from "@tools-kvm/kvm-binding";
import { scatter } from "../block/buffers.js";
import { ShareError } from "./errors.js";
import type { FidTable } from "./fids.js";
import type { SharedFolder } from "./folder.js";
import type { R, RequestName, T, Values } from "./messages.js";

/**
 * Whose the files are. `passthrough`: owners and modes are the guest's, and stored as they are, which takes root. `none`: everything is
 * the user's who runs the server; the guest's owners are not stored, and setuid bits are not either.
 */
export type Ownership = "passthrough" | "none";

export interface SharePolicy {
  readonly readonly: boolean;
  readonly ownership: Ownership;
  /** Whether the guest may make nodes of devices in the folder. */
  readonly devices: boolean;
}

/** The payloads of one request and its answer: views of the caller's memory, which the guest may be changing. */
export interface Payload {
  /** Twrite's bytes. */
  readonly received: readonly Uint8Array[];
  readonly receivedBytes: number;
  /** How long the answer's may be. */
  readonly roomBytes: number;
  /** The first `length` bytes of the answer's. */
  room(length: number): Uint8Array[];
}

export interface Session {
  readonly folder: SharedFolder;
  readonly fids: FidTable;
  readonly policy: SharePolicy;
}

export type Handler<K extends RequestName> = (
  session: Session,
  request: Values<(typeof T)[K]>,
  payload: Payload,
) => Values<(typeof R)[K]>;

export type Handlers<K extends RequestName = RequestName> = { readonly [N in K]: Handler<N> };

export function checkWritable(session: Session): void {
  if (session.policy.readonly) throw new ShareError(EROFS, "the folder is shared for reading only");
}

/** Puts bytes into the answer's payload, as many as there are. */
export function respond(payload: Payload, bytes: Uint8Array): number {
  scatter(bytes, payload.room(bytes.length));
  return bytes.length;
}
