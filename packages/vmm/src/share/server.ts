/**
 * A server of 9P2000.L for one folder of the host: what `mount -t 9p -o trans=virtio,version=9p2000.L` in a Linux guest talks to.
 * It is synchronous and knows no transport: a request goes in, an answer comes out.
 */
import { readFileSync } from "node:fs";
import { EBADMSG, EMSGSIZE, EOPNOTSUPP, EPROTO } from "@tools-kvm/kvm-binding";
import { BufferCursor, gather, scatter, totalBytes } from "../block/buffers.js";
import { attributes } from "./attributes.js";
import { directories } from "./directories.js";
import { errnoOf, ShareError } from "./errors.js";
import { FidTable } from "./fids.js";
import { files } from "./files.js";
import { SharedFolder } from "./folder.js";
import { locks } from "./locks.js";
import {
  decode,
  encode,
  HEADER_BYTES,
  type Message,
  R,
  READ_HEADER_BYTES,
  type RequestName,
  RLERROR,
  T,
  WRITE_HEADER_BYTES,
} from "./messages.js";
import { names } from "./names.js";
import type { Handler, Handlers, Ownership, Payload, Session } from "./session.js";
import { walking } from "./walking.js";
import { Reader } from "./wire.js";
import { xattrs } from "./xattrs.js";

export interface ShareOptions {
  /** The folder. Nothing outside it can be reached; a symbolic link here is followed, once, when the share begins. */
  readonly root: string;
  /** Every change is refused with EROFS. */
  readonly readonly?: boolean;
  /** Default: `passthrough` when the process is root, else `none`. */
  readonly ownership?: Ownership;
  /** Whether nodes of devices can be made. Default false. */
  readonly devices?: boolean;
  /** Fids that the client may have at a time. Default 1048576. */
  readonly maxFids?: number;
  /**
   * Descriptors of the process that the share may take, a third of them for open files, at least 16. Default: a quarter of those that
   * the process may have, at most 65536. Files beyond that are found again when they are asked for.
   */
  readonly maxDescriptors?: number;
}

/** What the client may ask for at most, and at least. */
export const MAX_MSIZE = 2 ** 20;
export const MIN_MSIZE = 4096;
const PROTOCOL = "9P2000.L";
const DEFAULT_MAX_FIDS = 2 ** 20;
const MIN_DESCRIPTORS = 16;
const MAX_DEFAULT_DESCRIPTORS = 65_536;
const MAX_ATTRIBUTE_BYTES = 16 * 2 ** 20;
/** Anything but a Twrite's payload: names, a symbolic link's target. */
const MAX_FIELDS_BYTES = 2 ** 17;
const RLERROR_BYTES = HEADER_BYTES + 4;

const handlers: Handlers<Exclude<RequestName, "version">> = {
  ...walking,
  ...files,
  ...names,
  ...attributes,
  ...directories,
  ...xattrs,
  ...locks,
};

interface Operation {
  readonly request: Message;
  readonly answer: Message;
  // biome-ignore lint/suspicious/noExplicitAny: the table joins each request with the handler of its own type
  readonly handle: Handler<any>;
}

const operations = new Map<number, Operation>(
  Object.entries(handlers).map(([name, handle]) => {
    const request = T[name as RequestName];
    return [request.type, { request, answer: R[name as RequestName], handle }];
  }),
);

/** A request on its way. */
interface Call {
  readonly size: number;
  readonly type: number;
  readonly tag: number;
  /** Stands behind the first WRITE_HEADER_BYTES of the request, which are copied. */
  readonly from: BufferCursor;
  readonly writable: readonly Uint8Array[];
  readonly roomBytes: number;
}

/**
 * One client's server. `handle` is to be called for one request at a time; requests on the wire at the same time are answered in
 * the order they come.
 */
export class NinePServer {
  readonly #session: Session;
  /** What was agreed; 0 before Tversion. */
  #msize = 0;
  #closed = false;
  /** The fields of the request, copied before anything is checked: the guest may change its memory at any time. */
  readonly #request = new Uint8Array(MAX_FIELDS_BYTES);
  readonly #answer = new Uint8Array(MAX_FIELDS_BYTES);

  /** @throws an Error with `code` when the folder cannot be opened */
  constructor(options: ShareOptions) {
    const maxFids = options.maxFids ?? DEFAULT_MAX_FIDS;
    const maxDescriptors = Math.max(MIN_DESCRIPTORS, options.maxDescriptors ?? defaultDescriptors());
    const maxOpenFiles = Math.floor(maxDescriptors / 3);
    const isRoot = process.geteuid?.() === 0;
    this.#session = {
      folder: new SharedFolder(options.root, maxDescriptors - maxOpenFiles),
      fids: new FidTable({ maxFids, maxOpenFiles, maxAttributeBytes: MAX_ATTRIBUTE_BYTES }),
      policy: {
        readonly: options.readonly ?? false,
        ownership: options.ownership ?? (isRoot ? "passthrough" : "none"),
        devices: options.devices ?? false,
      },
    };
  }

  /** Fids that the client has now, and files among them whose descriptors were closed to save some. */
  get fidCount(): number {
    return this.#session.fids.size;
  }
  get parkedCount(): number {
    return this.#session.folder.parkedCount + this.#session.fids.openFiles.parkedCount;
  }

  /**
   * Answers one request, size[4] type[1] tag[2] and so on.
   * @returns bytes written to `reply`; 0 when `reply` has not even room for an error, or the request has no header
   */
  handle(request: Uint8Array, reply: Uint8Array): number {
    return this.handlev([request], [reply]);
  }

  /** The same over lists of buffers, such as a virtqueue's: the bytes of Tread and Twrite go straight between them and the file. */
  handlev(readable: readonly Uint8Array[], writable: readonly Uint8Array[]): number {
    const roomBytes = totalBytes(writable);
    const readableBytes = totalBytes(readable);
    if (roomBytes < RLERROR_BYTES || readableBytes < HEADER_BYTES || this.#closed) return 0;
    const from = new BufferCursor(readable);
    gather(from.take(WRITE_HEADER_BYTES), this.#request);
    const header = new Reader(this.#request);
    const [size, type, tag] = [header.u32(), header.u8(), header.u16()];
    try {
      if (size < HEADER_BYTES || size > readableBytes) throw new ShareError(EBADMSG, `a message of ${size} bytes`);
      return this.#serve({ size, type, tag, from, writable, roomBytes });
    } catch (error) {
      const ecode = errnoOf(error);
      if (ecode === undefined) throw error;
      return this.#send(writable, encode(RLERROR, tag, { ecode }, this.#answer));
    }
  }

  /** Gives back every descriptor. Requests are answered no more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#session.fids.dropAll();
    this.#session.folder.close();
  }

  #serve(call: Call): number {
    if (call.type === T.version.type) return this.#version(call);
    const operation = operations.get(call.type);
    if (operation === undefined) throw new ShareError(EOPNOTSUPP, `no message of type ${call.type}`);
    if (this.#msize === 0) throw new ShareError(EPROTO, "a session begins with Tversion");
    if (call.size > this.#msize) throw new ShareError(EMSGSIZE, `the message is longer than ${this.#msize} bytes`);
    const { request, answer, handle } = operation;
    const payload = this.#payload(call, request.hasPayload);
    this.#session.folder.beginRequest();
    const values = handle(this.#session, decode(request, this.#fields(call, request.hasPayload)), payload);
    const bytes = encode(answer, call.tag, values, this.#answer);
    if (bytes > Math.min(call.roomBytes, this.#msize)) throw new ShareError(EMSGSIZE, "the answer does not fit");
    this.#send(call.writable, bytes);
    return answer.hasPayload ? bytes + (values as { count: number }).count : bytes;
  }

  /** Begins a session, and with it forgets whatever was before (Plan 9 manual, version(5)). */
  #version(call: Call): number {
    const { msize, version } = decode(T.version, this.#fields(call, false));
    if (msize < MIN_MSIZE) throw new ShareError(EMSGSIZE, `messages must be allowed ${MIN_MSIZE} bytes`);
    this.#session.fids.dropAll();
    const known = Buffer.from(version).toString("latin1") === PROTOCOL;
    this.#msize = known ? Math.min(msize, MAX_MSIZE) : 0;
    const agreed = { msize: Math.min(msize, MAX_MSIZE), version: Buffer.from(known ? PROTOCOL : "unknown") };
    return this.#send(call.writable, encode(R.version, call.tag, agreed, this.#answer));
  }

  /** The request's fields, the rest of which are copied now. */
  #fields({ size, from }: Call, hasPayload: boolean): Uint8Array {
    const end = hasPayload ? Math.min(size, WRITE_HEADER_BYTES) : size;
    if (end > this.#request.length) throw new ShareError(EMSGSIZE, `fields of ${end} bytes`);
    if (end > WRITE_HEADER_BYTES)
      gather(from.take(end - WRITE_HEADER_BYTES), this.#request.subarray(WRITE_HEADER_BYTES));
    return this.#request.subarray(HEADER_BYTES, end);
  }

  #payload({ size, from, writable, roomBytes }: Call, hasPayload: boolean): Payload {
    const receivedBytes = hasPayload ? Math.max(0, size - WRITE_HEADER_BYTES) : 0;
    return {
      receivedBytes,
      received: from.take(receivedBytes),
      roomBytes: Math.max(0, Math.min(roomBytes, this.#msize) - READ_HEADER_BYTES),
      room(length) {
        const room = new BufferCursor(writable);
        room.take(READ_HEADER_BYTES);
        return room.take(length);
      },
    };
  }

  #send(writable: readonly Uint8Array[], bytes: number): number {
    scatter(this.#answer.subarray(0, bytes), writable);
    return bytes;
  }
}

function defaultDescriptors(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
  return Math.min(MAX_DEFAULT_DESCRIPTORS, Math.floor(Number(soft ?? 1024) / 4));
}
