import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NOFID, NONUNAME } from "./messages.js";
import type { ShareOptions } from "./server.js";
import { Client, failureOf, openDescriptors, scratch, text } from "./testing.js";

const isRoot = process.geteuid?.() === 0;
const O_WRONLY = 1;
const O_RDWR = 2;
const O_EXCL = 0o200;

let at: ReturnType<typeof scratch>;
let clients: Client[];
let before: number;
const open = (options: Partial<ShareOptions> = {}, msize?: number): Client => {
  const client = new Client({ root: at.root, ...options }, msize);
  clients.push(client);
  return client;
};
const inside = (name: string): string => join(at.root, name);

beforeEach(() => {
  at = scratch();
  mkdirSync(at.root, { recursive: true });
  clients = [];
  before = openDescriptors();
});
afterEach(() => {
  for (const client of clients) client.close();
  expect(openDescriptors(), "descriptors left open").toBe(before);
  at.remove();
});

describe("a session", () => {
  it("agrees on 9P2000.L and the smaller of two message sizes", () => {
    const client = open();
    expect(client.call("version", { msize: 2 ** 30, version: text("9P2000.L") })).toMatchObject({ msize: 2 ** 20 });
    expect(client.call("version", { msize: 8192, version: text("9P2000.L") })).toMatchObject({ msize: 8192 });
    const { version } = client.call("version", { msize: 8192, version: text("9P2000.u") });
    expect(Buffer.from(version).toString()).toBe("unknown");
    expect(failureOf(() => client.attach(0))).toBe("EPROTO");
    expect(failureOf(() => client.call("version", { msize: 100, version: text("9P2000.L") }))).toBe("EMSGSIZE");
  });

  it("begins anew with Tversion: fids and descriptors are gone", () => {
    const client = open();
    writeFileSync(inside("file"), "");
    client.walk("file", 1);
    client.call("lopen", { fid: 1, flags: 0 });
    client.call("version", { msize: 8192, version: text("9P2000.L") });
    expect(client.server.fidCount).toBe(0);
    expect(failureOf(() => client.clunk(1))).toBe("EBADF");
  });

  it("needs no authentication, and says so", () => {
    const client = open();
    const nobody = { uname: text(""), aname: text(""), nUname: NONUNAME };
    expect(failureOf(() => client.call("auth", { afid: 5, ...nobody }))).toBe("EOPNOTSUPP");
    expect(failureOf(() => client.call("attach", { fid: 6, afid: 5, ...nobody }))).toBe("EOPNOTSUPP");
    expect(client.call("attach", { fid: 6, afid: NOFID, ...nobody }).qid.type).toBe(0x80);
    expect(client.call("flush", { oldtag: 3 })).toBeDefined();
  });

  it("has a limit of fids, and none has two lives", () => {
    const client = open({ maxFids: 3 });
    client.walk("", 1);
    client.walk("", 2);
    expect(failureOf(() => client.walk("", 3))).toBe("EMFILE");
    expect(failureOf(() => client.walk("", 2))).toBe("EBADF");
    client.clunk(2);
    client.walk("", 3);
  });

  it("answers nothing once closed, nor where there is no room for an error", () => {
    const client = open();
    expect(client.server.handle(new Uint8Array(30), new Uint8Array(10))).toBe(0);
    expect(client.server.handle(new Uint8Array(6), new Uint8Array(100))).toBe(0);
    client.close();
    expect(client.server.handle(new Uint8Array(30), new Uint8Array(100))).toBe(0);
  });
});

describe("walking", () => {
  it("tells the qid of every step, stops where there is nothing, and makes a fid only at the end", () => {
    mkdirSync(inside("a/b"), { recursive: true });
    writeFileSync(inside("a/b/c"), "");
    const client = open();
    const walk = (...names: string[]) =>
      client.call("walk", { fid: 0, newfid: 1, names: names.map(text) }).qids.map(({ type }) => type);
    expect(walk("a", "b", "x", "c")).toEqual([0x80, 0x80]);
    expect(failureOf(() => client.clunk(1))).toBe("EBADF");
    expect(failureOf(() => walk("x", "b"))).toBe("ENOENT");
    expect(walk("a", "b", "c")).toEqual([0x80, 0x80, 0]);
    expect(failureOf(() => client.walk("x", 2, 1))).toBe("ENOTDIR");
  });

  it("gives every name of a file one qid, and other files others, on other devices too", () => {
    writeFileSync(inside("one"), "");
    writeFileSync(inside("other"), "");
    linkSync(inside("one"), inside("two"));
    const client = open();
    expect(client.stat("one").qid).toEqual(client.stat("two").qid);
    expect(client.stat("one").qid.path).not.toBe(client.stat("other").qid.path);
    expect(client.stat("one").qid.path).toBe(lstatSync(inside("one"), { bigint: true }).ino);
  });

  it("may put the fid itself further", () => {
    mkdirSync(inside("a"));
    const client = open();
    client.walk("", 1);
    client.walk("a", 1, 1);
    expect(client.call("getattr", { fid: 1, requestMask: 0n }).qid).toEqual(client.stat("a").qid);
  });
});

describe("files", () => {
  it("are read and written where the request says, of any size", () => {
    const client = open({}, 8192);
    const contents = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7) % 251));
    client.write("file", contents);
    expect(readFileSync(inside("file")).equals(contents)).toBe(true);
    expect(client.read("file").equals(contents)).toBe(true);
    client.walk("file", 1);
    client.call("lopen", { fid: 1, flags: O_RDWR | 0o2000 });
    client.call("write", { fid: 1, offset: 5n, count: 3 }, text("abc"));
    expect(readFileSync(inside("file")).subarray(4, 9)).toEqual(Buffer.from([28, 97, 98, 99, 56]));
    expect(client.call("read", { fid: 1, offset: 99_999n, count: 100 }).count).toBe(1);
    expect(client.call("read", { fid: 1, offset: 2n ** 64n - 1n, count: 100 }).count).toBe(0);
    expect(failureOf(() => client.call("write", { fid: 1, offset: 2n ** 63n, count: 1 }, text("x")))).toBe("EFBIG");
    expect(client.call("fsync", { fid: 1, datasync: 0 })).toBeDefined();
    expect(client.call("fsync", { fid: 1, datasync: 1 })).toBeDefined();
  });

  it("go between the file and a list of buffers, shared memory too, without a copy in between", () => {
    writeFileSync(inside("file"), "0123456789");
    const client = open();
    client.walk("file", 1);
    client.call("lopen", { fid: 1, flags: O_RDWR });
    const shared = (size: number): Uint8Array => new Uint8Array(new SharedArrayBuffer(size));
    const request = shared(64);
    // Tread fid 1, offset 2, count 6
    request.set([23, 0, 0, 0, 116, 9, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0]);
    const writable = [shared(5), shared(7), shared(1), shared(100)];
    expect(client.server.handlev([request.subarray(0, 3), request.subarray(3, 23)], writable)).toBe(17);
    expect(Buffer.concat(writable).toString("latin1", 11, 17)).toBe("234567");
    // Twrite fid 1, offset 1, count 4
    request.set([27, 0, 0, 0, 118, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 65, 66, 67, 68]);
    const cut = [request.subarray(0, 20), request.subarray(20, 25), request.subarray(25, 27)];
    expect(client.server.handlev(cut, writable)).toBe(11);
    expect(readFileSync(inside("file"), "latin1")).toBe("0ABCD56789");
  });

  it("are made with the mode that was asked for, whatever the server's umask", () => {
    const client = open();
    const umask = process.umask(0o077);
    try {
      client.write("file", text("x"), 0o666);
      client.call("mkdir", { dfid: 0, name: text("dir"), mode: 0o1777, gid: 0 });
    } finally {
      process.umask(umask);
    }
    expect(statSync(inside("file")).mode & 0o7777).toBe(0o666);
    expect(statSync(inside("dir")).mode & 0o7777).toBe(0o1777);
  });

  it("exist once: O_EXCL refuses, without it the one there is opened and may be emptied", () => {
    const client = open();
    client.write("file", text("long contents"));
    client.write("file", text("short"));
    expect(client.read("file").toString()).toBe("short");
    client.walk("", 1);
    const again = { fid: 1, name: text("file"), flags: O_WRONLY | O_EXCL, mode: 0o600, gid: 0 };
    expect(failureOf(() => client.call("lcreate", again))).toBe("EEXIST");
    client.call("mkdir", { dfid: 0, name: text("dir"), mode: 0o700, gid: 0 });
    expect(failureOf(() => client.call("lcreate", { ...again, name: text("dir"), flags: O_WRONLY }))).toBe("EISDIR");
    client.call("symlink", { dfid: 0, name: text("link"), symtgt: text("file"), gid: 0 });
    expect(failureOf(() => client.call("lcreate", { ...again, name: text("link"), flags: 1 }))).toBe("EINVAL");
  });

  it("stay readable, writable and known when their last name is gone", () => {
    const client = open();
    client.write("file", text("contents"));
    client.walk("file", 1);
    client.walk("", 2, 1);
    client.call("lopen", { fid: 1, flags: O_RDWR });
    client.call("unlinkat", { dirfid: 0, name: text("file"), flags: 0 });
    client.call("write", { fid: 1, offset: 0n, count: 3 }, text("CON"));
    expect(Buffer.from(client.call("read", { fid: 1, offset: 0n, count: 99 }).payload).toString()).toBe("CONtents");
    expect(client.call("getattr", { fid: 2, requestMask: 0n })).toMatchObject({ nlink: 0n, size: 8n });
    client.call("setattr", { ...noChange, fid: 2, valid: 8, size: 2n });
    expect(client.call("getattr", { fid: 1, requestMask: 0n }).size).toBe(2n);
    expect(failureOf(() => client.call("link", { dfid: 0, fid: 2, name: text("back") }))).toBe("ENOENT");
    expect(failureOf(() => client.call("remove", { fid: 2 }))).toBe("ENOENT");
  });

  it("are opened; pipes and other nodes are the guest's own business", () => {
    const client = open();
    client.call("mknod", { dfid: 0, name: text("pipe"), mode: 0o010644, major: 0, minor: 0, gid: 0 });
    expect(lstatSync(inside("pipe")).isFIFO()).toBe(true);
    client.walk("pipe", 1);
    expect(failureOf(() => client.call("lopen", { fid: 1, flags: 0 }))).toBe("EINVAL");
    const device = { dfid: 0, name: text("disk"), mode: 0o060644, major: 8, minor: 0, gid: 0 };
    expect(failureOf(() => client.call("mknod", device))).toBe("EPERM");
    expect(failureOf(() => client.call("mknod", { ...device, mode: 0o040644 }))).toBe("EINVAL");
  });
});

const noChange = {
  ...{ valid: 0, mode: 0, uid: 0, gid: 0, size: 0n },
  ...{ atimeSec: 0n, atimeNsec: 0n, mtimeSec: 0n, mtimeNsec: 0n },
};

describe("attributes", () => {
  it("are those of the file, before 1970 too", () => {
    writeFileSync(inside("file"), "12345");
    const client = open();
    client.walk("file", 1);
    client.call("setattr", {
      ...{ ...noChange, fid: 1, valid: 0x1 | 0x10 | 0x20 | 0x80 | 0x100, mode: 0o640 },
      ...{ atimeSec: 2n ** 64n - 5n, atimeNsec: 3n, mtimeSec: 7n, mtimeNsec: 9n },
    });
    const attributes = client.call("getattr", { fid: 1, requestMask: 0x3fffn });
    const status = statSync(inside("file"), { bigint: true });
    expect(attributes).toMatchObject({
      ...{ mode: 0o100640, nlink: 1n, size: 5n, blocks: status.blocks, uid: Number(status.uid) },
      ...{ atimeSec: 2n ** 64n - 5n, atimeNsec: 3n, mtimeSec: 7n, mtimeNsec: 9n },
    });
    expect(status.mtimeNs).toBe(7_000_000_009n);
    client.call("setattr", { ...noChange, fid: 1, valid: 0x10 | 0x20 | 0x80, atimeSec: 1n });
    expect(statSync(inside("file")).atimeMs).toBe(1000);
    expect(statSync(inside("file")).mtimeMs).toBeGreaterThan(1e12);
    expect(failureOf(() => client.call("setattr", { ...noChange, fid: 1, valid: 0x90, atimeNsec: 10n ** 9n }))).toBe(
      "EINVAL",
    );
  });

  it("lengthen and shorten files, and nothing else", () => {
    writeFileSync(inside("file"), "12345");
    const client = open();
    client.walk("file", 1);
    client.call("setattr", { ...noChange, fid: 1, valid: 8, size: 2n });
    expect(readFileSync(inside("file"), "utf8")).toBe("12");
    client.call("lopen", { fid: 1, flags: 0 });
    client.call("setattr", { ...noChange, fid: 1, valid: 8, size: 3n });
    expect(readFileSync(inside("file"), "latin1")).toBe("12\0");
    expect(failureOf(() => client.call("setattr", { ...noChange, fid: 1, valid: 8, size: 2n ** 60n }))).toBe("EFBIG");
    expect(failureOf(() => client.call("setattr", { ...noChange, fid: 0, valid: 8, size: 2n }))).toBe("EINVAL");
  });

  it("tell how full the file system is", () => {
    expect(open().call("statfs", { fid: 0 })).toMatchObject({ namelen: 255 });
  });
});

describe.skipIf(!isRoot)("owners (needs root)", () => {
  it("are the guest's with passthrough, setuid bits included", () => {
    const client = open({ ownership: "passthrough" });
    client.attach(1, 1234);
    client.call("mkdir", { dfid: 1, name: text("dir"), mode: 0o755, gid: 5678 });
    client.walk("", 2, 1);
    client.call("lcreate", { fid: 2, name: text("file"), flags: 1, mode: 0o4755, gid: 5678 });
    client.call("symlink", { dfid: 1, name: text("link"), symtgt: text("/etc"), gid: 5678 });
    for (const name of ["dir", "file", "link"]) {
      expect(lstatSync(inside(name)), name).toMatchObject({ uid: 1234, gid: 5678 });
    }
    expect(statSync(inside("file")).mode & 0o7777).toBe(0o4755);
    client.call("setattr", { ...noChange, fid: 2, valid: 2 | 4 | 1, uid: 7, gid: 8, mode: 0o6711 });
    expect(statSync(inside("file"))).toMatchObject({ uid: 7, gid: 8 });
    expect(statSync(inside("file")).mode & 0o7777).toBe(0o6711);
    client.call("mknod", { dfid: 0, name: text("hole"), mode: 0o020000, major: 0, minor: 0, gid: 0 });
    expect(lstatSync(inside("hole")).rdev).toBe(0);
  });

  it("are the server's user with none, and setuid bits are not stored", () => {
    const client = open({ ownership: "none" });
    client.attach(1, 1234);
    client.walk("", 2, 1);
    client.call("lcreate", { fid: 2, name: text("file"), flags: 1, mode: 0o6755, gid: 5678 });
    client.call("setattr", { ...noChange, fid: 2, valid: 2 | 4 | 1, uid: 7, gid: 8, mode: 0o6711 });
    expect(statSync(inside("file"))).toMatchObject({ uid: 0, gid: 0 });
    expect(statSync(inside("file")).mode & 0o7777).toBe(0o711);
    client.call("mkdir", { dfid: 1, name: text("dir"), mode: 0o2755, gid: 5678 });
    expect(statSync(inside("dir")).mode & 0o7777).toBe(0o2755);
  });

  it("may make devices where that was allowed", () => {
    const client = open({ devices: true });
    client.call("mknod", { dfid: 0, name: text("null"), mode: 0o020666, major: 1, minor: 3, gid: 0 });
    expect(lstatSync(inside("null")).isCharacterDevice()).toBe(true);
    expect(client.stat("null").rdev).toBe(0x103n);
    client.walk("null", 1);
    expect(failureOf(() => client.call("lopen", { fid: 1, flags: 0 }))).toBe("EINVAL");
  });
});

describe("names", () => {
  it("are made, moved, linked and taken away", () => {
    const client = open();
    client.write("file", text("contents"));
    client.call("mkdir", { dfid: 0, name: text("dir"), mode: 0o755, gid: 0 });
    client.walk("dir", 1);
    client.walk("file", 2);
    client.call("link", { dfid: 1, fid: 2, name: text("second") });
    expect(statSync(inside("dir/second")).nlink).toBe(2);
    client.call("renameat", { olddirfid: 1, oldname: text("second"), newdirfid: 0, newname: text("third") });
    expect(existsSync(inside("dir/second"))).toBe(false);
    client.call("rename", { fid: 2, dfid: 1, name: text("fourth") });
    expect(readFileSync(inside("dir/fourth"), "utf8")).toBe("contents");
    expect(failureOf(() => client.call("unlinkat", { dirfid: 0, name: text("dir"), flags: 0 }))).toBe("EISDIR");
    expect(failureOf(() => client.call("unlinkat", { dirfid: 0, name: text("dir"), flags: 0x200 }))).toBe("ENOTEMPTY");
    expect(failureOf(() => client.call("unlinkat", { dirfid: 0, name: text("third"), flags: 1 }))).toBe("EINVAL");
    client.call("remove", { fid: 2 });
    expect(failureOf(() => client.clunk(2))).toBe("EBADF");
    client.call("remove", { fid: 1 });
    expect(existsSync(inside("dir"))).toBe(false);
    expect(failureOf(() => client.call("remove", { fid: 0 }))).toBe("EBUSY");
  });

  it("of symbolic links keep their target, byte for byte, wherever it would lead", () => {
    const client = open();
    const target = Buffer.from([0x2f, 0xff, 0x20, 0x2e, 0x2e]);
    client.call("symlink", { dfid: 0, name: text("link"), symtgt: target, gid: 0 });
    expect(readlinkSync(inside("link"), "buffer").equals(target)).toBe(true);
    client.walk("link", 1);
    expect(Buffer.from(client.call("readlink", { fid: 1 }).target).equals(target)).toBe(true);
    expect(failureOf(() => client.call("readlink", { fid: 0 }))).toBe("EINVAL");
    expect(client.call("getattr", { fid: 1, requestMask: 0n })).toMatchObject({ qid: { type: 2 }, mode: 0o120777 });
    client.call("link", { dfid: 0, fid: 1, name: text("again") });
    expect(lstatSync(inside("again")).isSymbolicLink()).toBe(true);
  });

  it("need not be UTF-8", () => {
    const client = open();
    const name = Buffer.from([0xc3, 0x28, 0xff]);
    client.call("mkdir", { dfid: 0, name, mode: 0o755, gid: 0 });
    expect(client.call("walk", { fid: 0, newfid: 1, names: [name] }).qids).toHaveLength(1);
    client.walk("", 2);
    client.call("lopen", { fid: 2, flags: 0 });
    expect(client.readdir(2).map((entry) => entry.name)).toContain(name.toString("latin1"));
    client.call("remove", { fid: 1 });
  });
});

describe("directories", () => {
  it("give every entry once, however small the requests are, and again from any entry on", () => {
    for (let i = 0; i < 300; i++) writeFileSync(inside(`file-${"x".repeat(i % 60)}-${i}`), "");
    const client = open();
    client.walk("", 1);
    client.call("lopen", { fid: 1, flags: 0 });
    const all = client.readdir(1);
    expect(new Set(all.map(({ name }) => name)).size).toBe(302);
    expect(all).toHaveLength(302);
    for (const count of [300, 350, 1000, 8192]) expect(client.readdir(1, count)).toEqual(all);
    expect(client.readdir(1, 4096, all[100]!.offset)).toEqual(all.slice(101));
    expect(failureOf(() => client.call("readdir", { fid: 1, offset: 0n, count: 20 }))).toBe("EINVAL");
    expect(failureOf(() => client.call("readdir", { fid: 1, offset: 2n ** 63n, count: 2000 }))).toBe("EINVAL");
    writeFileSync(inside("late"), "");
    expect(client.readdir(1).map(({ name }) => name)).toContain("late");
  });

  it("tell types and inode numbers, but nothing of what is above", () => {
    mkdirSync(inside("dir"));
    writeFileSync(inside("file"), "");
    symlinkSync("/", inside("link"));
    const client = open();
    client.walk("", 1);
    client.call("lopen", { fid: 1, flags: 0 });
    const entries = new Map(client.readdir(1).map((entry) => [entry.name, entry]));
    expect([entries.get("dir")!.type, entries.get("file")!.type, entries.get("link")!.type]).toEqual([4, 8, 10]);
    expect(entries.get("file")!.path).toBe(client.stat("file").qid.path);
    expect(entries.get("..")!.path).toBe(entries.get(".")!.path);
    client.walk("file", 2);
    client.call("lopen", { fid: 2, flags: 0 });
    expect(failureOf(() => client.call("readdir", { fid: 2, offset: 0n, count: 1000 }))).toBe("ENOTDIR");
    expect(failureOf(() => client.call("readdir", { fid: 0, offset: 0n, count: 1000 }))).toBe("EBADF");
  });
});

describe("extended attributes", () => {
  const set = (client: Client, fid: number, name: string, value: Uint8Array, flags = 0) => {
    client.walk("", 50, fid);
    client.call("xattrcreate", { fid: 50, name: text(name), attrSize: BigInt(value.length), flags });
    if (value.length > 0) client.call("write", { fid: 50, offset: 0n, count: value.length }, value);
    client.clunk(50);
  };
  const get = (client: Client, fid: number, name: string): string => {
    const { size } = client.call("xattrwalk", { fid, newfid: 51, name: text(name) });
    const { payload } = client.call("read", { fid: 51, offset: 0n, count: Number(size) });
    client.clunk(51);
    return Buffer.from(payload).toString("latin1");
  };

  it("are set, listed, read and removed", (context) => {
    writeFileSync(inside("file"), "");
    const client = open();
    client.walk("file", 1);
    if (failureOf(() => set(client, 1, "user.a", text("value"))) === "EOPNOTSUPP") {
      context.skip("needs a file system with user attributes");
    }
    expect(get(client, 1, "user.a")).toBe("value");
    set(client, 1, "user.empty", text(""));
    expect(
      get(client, 1, "")
        .split("\0")
        .filter((name) => name.startsWith("user."))
        .sort(),
    ).toEqual(["user.a", "user.empty"]);
    expect(failureOf(() => set(client, 1, "user.a", text("x"), 1))).toBe("EEXIST");
    expect(failureOf(() => set(client, 1, "user.none", text("x"), 2))).toBe("ENODATA");
    set(client, 1, "user.a", text(""), 2);
    expect(failureOf(() => get(client, 1, "user.a"))).toBe("ENODATA");
    expect(failureOf(() => get(client, 1, "nonsense"))).toBe("EOPNOTSUPP");
  });

  it("must be as long as announced, and not longer than can be", () => {
    writeFileSync(inside("file"), "");
    const client = open();
    client.walk("file", 1);
    const create = { fid: 1, name: text("user.a"), attrSize: 10n, flags: 0 };
    expect(failureOf(() => client.call("xattrcreate", { ...create, attrSize: 65_537n }))).toBe("E2BIG");
    expect(failureOf(() => client.call("xattrcreate", { ...create, flags: 4 }))).toBe("EINVAL");
    client.call("xattrcreate", create);
    client.call("write", { fid: 1, offset: 0n, count: 4 }, text("1234"));
    expect(failureOf(() => client.call("write", { fid: 1, offset: 0n, count: 1 }, text("1")))).toBe("EINVAL");
    expect(failureOf(() => client.call("write", { fid: 1, offset: 4n, count: 7 }, text("1234567")))).toBe("ENOSPC");
    expect(failureOf(() => client.call("lopen", { fid: 1, flags: 0 }))).toBe("EBADF");
    expect(failureOf(() => client.clunk(1))).toBe("EINVAL");
    expect(failureOf(() => client.clunk(1))).toBe("EBADF");
  });

  it("take no more memory than there is for them", () => {
    const client = open();
    writeFileSync(inside("file"), "");
    let made = 0;
    const failure = failureOf(() => {
      for (; made < 1000; made++) {
        client.walk("file", 100 + made);
        client.call("xattrcreate", { fid: 100 + made, name: text("user.a"), attrSize: 65_536n, flags: 0 });
      }
    });
    expect({ failure, made }).toEqual({ failure: "ENOSPC", made: 256 });
    expect(failureOf(() => client.clunk(100))).toBe("EINVAL");
    client.walk("file", 100);
    client.call("xattrcreate", { fid: 100, name: text("user.a"), attrSize: 65_536n, flags: 0 });
  });
});

it("locks are granted, and nobody else has one", () => {
  writeFileSync(inside("file"), "");
  const client = open();
  client.walk("file", 1);
  const lock = { fid: 1, type: 1, start: 0n, length: 0n, procId: 5, clientId: text("guest") };
  expect(failureOf(() => client.call("lock", { ...lock, flags: 0 }))).toBe("EBADF");
  client.call("lopen", { fid: 1, flags: O_RDWR });
  expect(client.call("lock", { ...lock, flags: 1 }).status).toBe(0);
  expect(client.call("getlock", lock)).toMatchObject({ type: 2, procId: 5, clientId: Uint8Array.from(text("guest")) });
  expect(failureOf(() => client.call("lock", { ...lock, type: 3, flags: 0 }))).toBe("EINVAL");
});

it("a folder shared for reading only refuses every change, and changes nothing", () => {
  mkdirSync(inside("dir"));
  writeFileSync(inside("file"), "contents");
  chmodSync(inside("file"), 0o666);
  truncateSync(inside("file"), 8);
  const client = open({ readonly: true });
  const state = () => JSON.stringify([statSync(inside("file")), statSync(at.root).mtimeMs, statSync(inside("dir"))]);
  expect(client.read("file").toString()).toBe("contents");
  const before = state();
  client.walk("file", 1);
  client.walk("", 2);
  client.walk("file", 3);
  const name = text("new");
  const refused: Record<string, () => unknown> = {
    "open for writing": () => client.call("lopen", { fid: 1, flags: O_WRONLY }),
    "open for both": () => client.call("lopen", { fid: 1, flags: O_RDWR }),
    "open and truncate": () => client.call("lopen", { fid: 1, flags: 0o1000 }),
    "open with 3": () => client.call("lopen", { fid: 1, flags: 3 }),
    lcreate: () => client.call("lcreate", { fid: 2, name, flags: 0, mode: 0o644, gid: 0 }),
    mkdir: () => client.call("mkdir", { dfid: 0, name, mode: 0o755, gid: 0 }),
    symlink: () => client.call("symlink", { dfid: 0, name, symtgt: name, gid: 0 }),
    mknod: () => client.call("mknod", { dfid: 0, name, mode: 0o100644, major: 0, minor: 0, gid: 0 }),
    link: () => client.call("link", { dfid: 0, fid: 1, name }),
    rename: () => client.call("rename", { fid: 1, dfid: 0, name }),
    renameat: () => client.call("renameat", { olddirfid: 0, oldname: text("file"), newdirfid: 0, newname: name }),
    unlinkat: () => client.call("unlinkat", { dirfid: 0, name: text("file"), flags: 0 }),
    remove: () => client.call("remove", { fid: 3 }),
    setattr: () => client.call("setattr", { ...noChange, fid: 1, valid: 1, mode: 0 }),
    xattrcreate: () => client.call("xattrcreate", { fid: 1, name: text("user.a"), attrSize: 0n, flags: 0 }),
    write: () => client.call("write", { fid: 1, offset: 0n, count: 1 }, text("x")),
  };
  for (const [what, call] of Object.entries(refused)) expect(failureOf(call), what).toBe("EROFS");
  expect(state()).toBe(before);
});
