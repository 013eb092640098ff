/** `--vsock cid=N,uds=PATH`. */
import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { VsockSpec } from "../machine/spec.js";
import { FIRST_GUEST_CID, LAST_GUEST_CID } from "../virtio/devices/vsock/vsock.js";
import { CliError, whyNot } from "./errors.js";

/** What a unix socket's address has room for, with the longest `_PORT` behind it. */
const MOST_PATH_BYTES = 107 - "_4294967295".length;
const FORM = /^cid=([^,]*),uds=(.+)$/s;

/** Throws CliError. */
export function vsockSpec(text: string): VsockSpec {
  const refuse = (why: string): never => {
    throw new CliError(`--vsock ${text}: ${why}`);
  };
  const [, number, uds] = FORM.exec(text) ?? refuse("cid=N,uds=PATH");
  const cid = /^\d+$/.test(number!) ? Number(number) : Number.NaN;
  if (!(cid >= FIRST_GUEST_CID && cid <= LAST_GUEST_CID))
    refuse(`a guest's cid is a whole number from ${FIRST_GUEST_CID} to ${LAST_GUEST_CID}`);
  const path = resolve(uds!);
  if (Buffer.byteLength(path) > MOST_PATH_BYTES) refuse(`the socket's path is longer than ${MOST_PATH_BYTES} bytes`);
  try {
    statSync(dirname(path));
  } catch (error) {
    refuse(`${dirname(path)}: ${whyNot(error)}`);
  }
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() === false) refuse(`${path} is there, and no socket`);
  return { kind: "vsock", cid, path };
}
