/** A client of 9P2000.L for tests: requests by name, answers as values, every answer checked to be well formed. */
import { chmodSync, existsSync, lstatSync, mkdtempSync, readdirSync, rmdirSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errnoNames } from "@tools-kvm/kvm-binding";
import {
  decode,
  encode,
  HEADER_BYTES,
  type Message,
  NOFID,
  NOTAG,
  R,
  READ_HEADER_BYTES,
  type RequestName,
  RLERROR,
  T,
  type Values,
} from "./messages.js";
import { NinePServer, type ShareOptions } from "./server.js";
import { qid as qidField, Reader } from "./wire.js";

export const text = (value: string): Uint8Array => Buffer.from(value, "utf8");

/** What a Tread or Treaddir brought, or nothing. */
type Answer<K extends RequestName> = Values<(typeof R)[K]> & { payload: Uint8Array };

export interface Entry {
  readonly name: string;
  readonly type: number;
  readonly offset: bigint;
  readonly path: bigint;
}

export class Client {
  readonly server: NinePServer;
  readonly #reply: Uint8Array;
  readonly msize: number;
  #tag = 0;

  constructor(options: ShareOptions, msize = 65_536) {
    this.server = new NinePServer(options);
    this.msize = msize;
    this.#reply = new Uint8Array(msize);
    this.call("version", { msize, version: text("9P2000.L") });
    this.attach(0);
  }

  attach(fid: number, uid = 0): void {
    this.call("attach", { fid, afid: NOFID, uname: text("tester"), aname: text(""), nUname: uid });
  }

  /** One request and its answer. @throws an Error whose message is the errno's name */
  call<K extends RequestName>(
    name: K,
    values: Values<(typeof T)[K]>,
    payload: Uint8Array = new Uint8Array(0),
  ): Answer<K> {
    const tag = name === "version" ? NOTAG : this.#tag++ & 0xfff;
    const request = new Uint8Array(this.msize + 4096);
    const fields = encode(T[name] as Message, tag, values as never, request);
    request.set(payload, fields);
    const length = this.server.handle(request.subarray(0, fields + payload.length), this.#reply);
    return answerOf(name, tag, this.#reply.slice(0, length));
  }

  /** Walks from `fid` along `path` to a new fid. */
  walk(path: string, newfid: number, fid = 0): void {
    const names = path === "" ? [] : path.split("/").map(text);
    const { qids } = this.call("walk", { fid, newfid, names });
    if (qids.length !== names.length) throw new Error("ENOENT");
  }

  clunk(fid: number): void {
    this.call("clunk", { fid });
  }

  /** The contents of a file, by walk, open, read and clunk. */
  read(path: string): Buffer {
    const fid = 900;
    this.walk(path, fid);
    try {
      this.call("lopen", { fid, flags: 0 });
      const parts: Uint8Array[] = [];
      for (let offset = 0n; ; offset += BigInt(parts.at(-1)!.length)) {
        const { payload } = this.call("read", { fid, offset, count: this.msize });
        if (payload.length === 0) return Buffer.concat(parts);
        parts.push(payload);
      }
    } finally {
      this.clunk(fid);
    }
  }

  /** Makes a file with these contents, or writes over the one there is. */
  write(path: string, contents: Uint8Array, mode = 0o644): void {
    const fid = 901;
    const slash = path.lastIndexOf("/");
    this.walk(slash < 0 ? "" : path.slice(0, slash), fid);
    try {
      this.call("lcreate", { fid, name: text(path.slice(slash + 1)), flags: 0o1101, mode, gid: 0 });
      for (let at = 0; at < contents.length; ) {
        const part = contents.subarray(at, at + this.msize - 23);
        at += this.call("write", { fid, offset: BigInt(at), count: part.length }, part).count;
      }
    } finally {
      this.clunk(fid);
    }
  }

  /** The entries of an open directory from an offset on, by as many requests as it takes. */
  readdir(fid: number, count = this.msize, from = 0n): Entry[] {
    const entries: Entry[] = [];
    for (let offset = from; ; offset = entries.at(-1)!.offset) {
      const { payload } = this.call("readdir", { fid, offset, count });
      if (payload.length === 0) return entries;
      const reader = new Reader(payload);
      while (reader.rest > 0) {
        const { path } = qidField.read(reader);
        const [next, type] = [reader.u64(), reader.u8()];
        entries.push({ path, offset: next, type, name: Buffer.from(reader.bytes(reader.u16())).toString("latin1") });
      }
    }
  }

  stat(path: string): Values<typeof R.getattr> {
    this.walk(path, 902);
    try {
      return this.call("getattr", { fid: 902, requestMask: 0x3fffn });
    } finally {
      this.clunk(902);
    }
  }

  close(): void {
    this.server.close();
  }
}

/** An answer's values. Anything but a well-formed answer to that request is an Error that says so. */
function answerOf<K extends RequestName>(name: K, tag: number, reply: Uint8Array): Answer<K> {
  const header = new Reader(reply);
  const [size, type, answerTag] = [header.u32(), header.u8(), header.u16()];
  if (size !== reply.length || answerTag !== tag) throw new Error(`malformed: size ${size} of ${reply.length}`);
  const fields = reply.subarray(HEADER_BYTES);
  if (type === RLERROR.type) {
    const { ecode } = decode(RLERROR, fields);
    throw new Error(errnoNames.get(ecode) ?? `malformed: error ${ecode}`);
  }
  if (type !== R[name].type) throw new Error(`malformed: type ${type} answers ${name}`);
  const values = decode(R[name] as Message, fields) as Answer<K>;
  const payload = R[name].hasPayload ? reply.subarray(READ_HEADER_BYTES) : new Uint8Array(0);
  if (R[name].hasPayload && (values as { count?: number }).count !== payload.length)
    throw new Error("malformed: count");
  return { ...values, payload };
}

/** What an answer of any kind is: its type and values. For requests that no client would make. */
export function checkAnswer(request: Uint8Array, reply: Uint8Array): void {
  const header = new Reader(reply);
  const [size, type, tag] = [header.u32(), header.u8(), header.u16()];
  const asked = new Reader(request);
  asked.u32();
  const [requestType, requestTag] = [asked.u8(), asked.u16()];
  if (size !== reply.length) throw new Error(`size ${size}, but ${reply.length} bytes were written`);
  if (tag !== requestTag) throw new Error(`tag ${tag} answers ${requestTag}`);
  if (type === RLERROR.type) {
    const { ecode } = decode(RLERROR, reply.subarray(HEADER_BYTES));
    if (!errnoNames.has(ecode)) throw new Error(`error ${ecode} is none`);
    return;
  }
  if (type !== requestType + 1) throw new Error(`type ${type} answers ${requestType}`);
  const answer = Object.values(R).find((message) => message.type === type)!;
  decode(answer as Message, reply.subarray(HEADER_BYTES));
}

/** The name of the error that a call ends with; "" when it has none. */
export function failureOf(call: () => unknown): string {
  try {
    call();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

/** A folder to share and one beside it, which nobody may reach. */
export function scratch(): { root: string; outside: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "share-"));
  return {
    root: join(folder, "shared"),
    outside: join(folder, "outside"),
    remove: () => removeTree(folder),
  };
}

/** Removes a folder, whatever modes a guest has given to what is in it. */
export function removeTree(folder: string | Buffer): void {
  if (!existsSync(folder)) return;
  chmodSync(folder, 0o700);
  for (const name of readdirSync(folder, "buffer")) {
    const path = Buffer.concat([Buffer.from(folder), Buffer.from("/"), name]);
    if (lstatSync(path).isDirectory()) removeTree(path);
    else unlinkSync(path);
  }
  rmdirSync(folder);
}

export const openDescriptors = (): number => readdirSync("/proc/self/fd").length;
