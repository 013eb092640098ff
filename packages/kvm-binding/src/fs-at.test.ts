import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fsAt, KvmError, O_PATH, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, XATTR_CREATE } from "./index.js";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const errno = (what: () => unknown): string => {
  try {
    what();
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    return error.code === "ERRNO" ? error.errnoName : error.code;
  }
  return "";
};

let folder: string;
let dir: number;
const opened: number[] = [];
const beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
const hold = (name: string, flags = O_PATH | constants.O_NOFOLLOW): number => {
  const fd = fsAt.openat2(dir, bytes(name), {
    flags,
    resolve: flags & constants.O_NOFOLLOW ? RESOLVE_BENEATH : beneath,
  });
  opened.push(fd);
  return fd;
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "fs-at-"));
  dir = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
});
afterEach(() => {
  for (const fd of opened.splice(0)) closeSync(fd);
  closeSync(dir);
  rmSync(folder, { recursive: true });
});

describe("openat2", () => {
  it("opens what lies beneath, and nothing above, beside or behind a symbolic link", () => {
    mkdirSync(join(folder, "a/b"), { recursive: true });
    symlinkSync("/etc", join(folder, "out"));
    expect(hold("a/b")).toBeGreaterThan(2);
    expect(errno(() => hold("a/../.."))).toBe("EXDEV");
    expect(errno(() => hold("/etc"))).toBe("EXDEV");
    expect(errno(() => hold("out", O_PATH))).toBe("ELOOP");
    expect(errno(() => hold("out/passwd"))).toBe("EXDEV");
    expect(errno(() => hold("nothing"))).toBe("ENOENT");
  });

  it("takes names of any bytes but NUL", () => {
    const name = Buffer.from([0xff, 0xfe, 0x20, 0x0a]);
    fsAt.mkdirat(dir, name, 0o700);
    const fd = fsAt.openat2(dir, name, { flags: O_PATH, resolve: beneath });
    opened.push(fd);
    expect(readlinkSync(`/proc/self/fd/${fd}`, "buffer").subarray(-4).equals(name)).toBe(true);
    expect(errno(() => hold("a\0b"))).toBe("INVALID");
    expect(errno(() => hold(""))).toBe("INVALID");
  });
});

describe("calls that take one name", () => {
  const calls: Record<string, (name: Uint8Array) => void> = {
    statx: (name) => fsAt.statx(dir, name),
    mkdirat: (name) => fsAt.mkdirat(dir, name, 0o700),
    mknodat: (name) => fsAt.mknodat(dir, name, constants.S_IFREG | 0o600, { major: 0, minor: 0 }),
    symlinkat: (name) => fsAt.symlinkat(bytes("x"), dir, name),
    linkat: (name) => fsAt.linkat(hold("file"), dir, name),
    unlinkat: (name) => fsAt.unlinkat(dir, name, { directory: false }),
    "renameat2 from": (name) => fsAt.renameat2(dir, name, dir, bytes("b")),
    "renameat2 to": (name) => fsAt.renameat2(dir, bytes("file"), dir, name),
  };
  for (const [call, make] of Object.entries(calls)) {
    it(`${call} refuses a name that is none, and a descriptor that is none`, () => {
      writeFileSync(join(folder, "file"), "");
      for (const name of ["", ".", "..", "a/b", "../x", "/x", "a\0", "x".repeat(256)]) {
        expect(
          errno(() => make(bytes(name))),
          name,
        ).toBe("INVALID");
      }
    });
  }

  it("refuses AT_FDCWD", () => {
    expect(errno(() => fsAt.mkdirat(-100, bytes("x"), 0o700))).toBe("INVALID");
    expect(errno(() => fsAt.openat2(-100, bytes("x"), { flags: 0, resolve: 0 }))).toBe("INVALID");
  });
});

describe("a file by its O_PATH descriptor", () => {
  it("tells what it is, is changed, linked and moved", () => {
    writeFileSync(join(folder, "file"), "12345");
    const fd = hold("file");
    fsAt.fchmod(fd, 0o640);
    fsAt.utimensat(fd, { sec: -5, nsec: 7 }, { sec: 2n ** 33n, nsec: 8 });
    fsAt.fchownat(fd, fsAt.UNCHANGED_ID, fsAt.UNCHANGED_ID);
    fsAt.linkat(fd, dir, bytes("second"));
    const status = fsAt.statx(fd, null);
    expect(status).toMatchObject({ stxMode: constants.S_IFREG | 0o640, stxSize: 5n, stxNlink: 2 });
    expect([status.stxAtimeTvSec, status.stxAtimeTvNsec, status.stxMtimeTvSec]).toEqual([-5n, 7, 2n ** 33n]);
    expect(fsAt.statx(dir, bytes("second")).stxIno).toBe(status.stxIno);
    fsAt.renameat2(dir, bytes("second"), dir, bytes("third"));
    expect(readFileSync(join(folder, "third"), "utf8")).toBe("12345");
    fsAt.unlinkat(dir, bytes("third"), { directory: false });
    fsAt.unlinkat(dir, bytes("file"), { directory: false });
    expect(fsAt.statx(fd, null).stxNlink).toBe(0);
    expect(errno(() => fsAt.linkat(fd, dir, bytes("again")))).toBe("ENOENT");
  });

  it("is a symbolic link itself, never what the link points to", () => {
    writeFileSync(join(folder, "file"), "");
    fsAt.symlinkat(bytes("file"), dir, bytes("link"));
    const fd = hold("link");
    expect(Buffer.from(fsAt.readlinkat(fd)).toString()).toBe("file");
    expect(errno(() => fsAt.fchmod(fd, 0o777))).toBe("EOPNOTSUPP");
    fsAt.utimensat(fd, { sec: 1, nsec: 0 }, { sec: 2, nsec: 0 });
    expect(lstatSync(join(folder, "link")).mtimeMs).toBe(2000);
    expect(lstatSync(join(folder, "file")).mtimeMs).not.toBe(2000);
    fsAt.linkat(fd, dir, bytes("link too"));
    expect(readlinkSync(join(folder, "link too"))).toBe("file");
  });

  it("has extended attributes", (context) => {
    writeFileSync(join(folder, "file"), "");
    const fd = hold("file");
    try {
      fsAt.setxattr(fd, bytes("user.a"), bytes("value"));
    } catch (error) {
      if ((error as KvmError).errnoName === "EOPNOTSUPP") context.skip("needs a file system with user attributes");
      throw error;
    }
    const room = new Uint8Array(64);
    expect(fsAt.getxattr(fd, bytes("user.a"), new Uint8Array(0))).toBe(5);
    expect(Buffer.from(room.subarray(0, fsAt.getxattr(fd, bytes("user.a"), room))).toString()).toBe("value");
    expect(errno(() => fsAt.getxattr(fd, bytes("user.a"), new Uint8Array(2)))).toBe("ERANGE");
    expect(errno(() => fsAt.setxattr(fd, bytes("user.a"), bytes("x"), XATTR_CREATE))).toBe("EEXIST");
    expect(Buffer.from(room.subarray(0, fsAt.listxattr(fd, room))).toString()).toContain("user.a\0");
    fsAt.removexattr(fd, bytes("user.a"));
    expect(errno(() => fsAt.getxattr(fd, bytes("user.a"), room))).toBe("ENODATA");
  });
});

it("getdents64 gives a directory's records, goes on, and begins where it is told", () => {
  for (let i = 0; i < 50; i++) writeFileSync(join(folder, `file-${i}`), "");
  const names: string[] = [];
  const into = new Uint8Array(256);
  let second = 0n;
  for (let got = fsAt.getdents64(dir, 0, into); got > 0; got = fsAt.getdents64(dir, null, into)) {
    const view = new DataView(into.buffer);
    for (let at = 0; at < got; at += view.getUint16(at + 16, true)) {
      const text = Buffer.from(into.subarray(at + 19, got)).toString("latin1");
      names.push(text.slice(0, text.indexOf("\0")));
      if (names.length === 2) second = view.getBigInt64(at + 8, true);
    }
  }
  expect([...names].sort()).toEqual([".", "..", ...Array.from({ length: 50 }, (_, i) => `file-${i}`)].sort());
  const got = fsAt.getdents64(dir, second, into);
  const text = Buffer.from(into.subarray(19, got)).toString("latin1");
  expect(text.slice(0, text.indexOf("\0"))).toBe(names[2]);
  expect(errno(() => fsAt.getdents64(dir, 0, new Uint8Array(8)))).toBe("EINVAL");
});

it("makes pipes, and tells how full the file system is", () => {
  fsAt.mknodat(dir, bytes("pipe"), constants.S_IFIFO | 0o600, { major: 0, minor: 0 });
  expect(lstatSync(join(folder, "pipe")).isFIFO()).toBe(true);
  const status = fsAt.fstatfs(dir);
  expect(status.namelen).toBe(255n);
  expect(status.bsize * status.blocks).toBeGreaterThan(0n);
  fsAt.unlinkat(dir, bytes("pipe"), { directory: false });
  expect(existsSync(join(folder, "pipe"))).toBe(false);
  fsAt.mkdirat(dir, bytes("sub"), 0o700);
  expect(errno(() => fsAt.unlinkat(dir, bytes("sub"), { directory: false }))).toBe("EISDIR");
  fsAt.unlinkat(dir, bytes("sub"), { directory: true });
});
