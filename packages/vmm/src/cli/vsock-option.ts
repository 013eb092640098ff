/** `--vsock cid=N,uds=PATH`. */
import { MOST_PATH_BYTES } from "../host/socket-file.js";
import type { VsockSpec } from "../machine/spec.js";
import { FIRST_GUEST_CID, LAST_GUEST_CID } from "../virtio/devices/vsock/vsock.js";
import { CliError } from "./errors.js";
import { socketPath } from "./sink-option.js";

/** What is added to the path of a socket of the host's. */
const LONGEST_PORT = "_4294967295";
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
  const path = socketPath(`--vsock ${text}`, uds!, MOST_PATH_BYTES - LONGEST_PORT.length);
  return { kind: "vsock", cid, path };
}
