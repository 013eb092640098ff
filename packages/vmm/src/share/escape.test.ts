/** Everything by which a guest, or an unlucky moment on the host, might lead out of the shared folder. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Client, failureOf, openDescriptors, scratch, text } from "./testing.js";

let at: ReturnType<typeof scratch>;
let client: Client;
let before: number;
const inside = (name: string): string => join(at.root, name);
const outside = (name: string): string => join(at.outside, name);
const qidPath = (fid: number): bigint => client.call("getattr", { fid, requestMask: 0n }).qid.path;
const inodeOf = (path: string): bigint => lstatSync(path, { bigint: true }).ino;
const noChange = {
  ...{ valid: 0, mode: 0, uid: 0, gid: 0, size: 0n },
  ...{ atimeSec: 0n, atimeNsec: 0n, mtimeSec: 0n, mtimeNsec: 0n },
};

beforeEach(() => {
  at = scratch();
  mkdirSync(inside("a/b/c"), { recursive: true });
  mkdirSync(at.outside);
  writeFileSync(outside("secret"), "secret");
  writeFileSync(inside("file"), "contents");
  before = openDescriptors();
  client = new Client({ root: at.root });
});
afterEach(() => {
  client.close();
  expect(openDescriptors(), "descriptors left open").toBe(before);
  expect(readdirSync(at.outside)).toEqual(["secret"]);
  expect(readFileSync(outside("secret"), "utf8")).toBe("secret");
  at.remove();
});

describe("names that are more than a name", () => {
  const evil = ["", ".", "..", "/", "/etc", "a/b", "../outside", "../outside/secret", "a\0", "./file", "x".repeat(256)];

  it("are refused by every request", () => {
    client.walk("a", 1);
    client.walk("file", 2);
    const file = text("file");
    for (const name of evil.map(text)) {
      const requests: Record<string, () => unknown> = {
        lcreate: () => client.call("lcreate", { fid: 1, name, flags: 0o1101, mode: 0o644, gid: 0 }),
        mkdir: () => client.call("mkdir", { dfid: 1, name, mode: 0o755, gid: 0 }),
        mknod: () => client.call("mknod", { dfid: 1, name, mode: 0o100644, major: 0, minor: 0, gid: 0 }),
        symlink: () => client.call("symlink", { dfid: 1, name, symtgt: file, gid: 0 }),
        link: () => client.call("link", { dfid: 1, fid: 2, name }),
        rename: () => client.call("rename", { fid: 2, dfid: 1, name }),
        "renameat from": () => client.call("renameat", { olddirfid: 1, oldname: name, newdirfid: 0, newname: file }),
        "renameat to": () => client.call("renameat", { olddirfid: 0, oldname: file, newdirfid: 1, newname: name }),
        unlinkat: () => client.call("unlinkat", { dirfid: 1, name, flags: 0 }),
        rmdir: () => client.call("unlinkat", { dirfid: 1, name, flags: 0x200 }),
      };
      for (const [what, request] of Object.entries(requests)) {
        expect(failureOf(request), `${what} ${Buffer.from(name)}`).toMatch(/^(EINVAL|ENAMETOOLONG)$/);
      }
      if (Buffer.from(name).toString() === "..") continue;
      const walk = () => client.call("walk", { fid: 1, newfid: 3, names: [name] });
      expect(failureOf(walk), `walk ${Buffer.from(name)}`).toMatch(/^(EINVAL|ENAMETOOLONG)$/);
    }
  });
});

describe("..", () => {
  it("leads up to the root of the share and no further", () => {
    const root = inodeOf(at.root);
    for (const [path, expected] of [
      ["..", root],
      ["../../..", root],
      ["a/..", root],
      ["a/../..", root],
      ["a/b/..", inodeOf(inside("a"))],
      ["a/b/c/../..", inodeOf(inside("a"))],
      ["a/b/c/../../../../../a", inodeOf(inside("a"))],
    ] as const) {
      client.walk(path, 1);
      expect(qidPath(1), path).toBe(expected);
      client.clunk(1);
    }
    expect(failureOf(() => client.walk("../outside", 1))).toBe("ENOENT");
    expect(failureOf(() => client.walk("file/..", 1))).toBe("ENOENT");
    client.walk("file", 1);
    expect(failureOf(() => client.walk("..", 2, 1))).toBe("ENOTDIR");
  });

  it("follows a directory that was renamed, and knows none that was removed", () => {
    client.walk("a/b/c", 1);
    client.walk("a/b", 2);
    client.call("renameat", { olddirfid: 2, oldname: text("c"), newdirfid: 0, newname: text("moved") });
    client.walk("..", 3, 1);
    expect(qidPath(3)).toBe(inodeOf(at.root));
    client.call("unlinkat", { dirfid: 0, name: text("moved"), flags: 0x200 });
    expect(failureOf(() => client.walk("..", 4, 1))).toBe("ENOENT");
    expect(failureOf(() => client.call("remove", { fid: 1 }))).toBe("ENOENT");
  });
});

describe("symbolic links", () => {
  const targets = ["/", "/etc", "..", "../outside", "../outside/secret", "/proc/self/root", "/proc/self/cwd", "a"];

  it("are never followed: not walked through, not opened, not changed instead of themselves", () => {
    targets.forEach((target, i) => {
      symlinkSync(target, inside(`link-${i}`));
      client.walk(`link-${i}`, 1);
      expect(client.call("getattr", { fid: 1, requestMask: 0n })).toMatchObject({ mode: 0o120777, qid: { type: 2 } });
      expect(failureOf(() => client.walk("passwd", 2, 1))).toBe("ENOTDIR");
      expect(failureOf(() => client.walk("..", 2, 1))).toBe("ENOTDIR");
      expect(failureOf(() => client.walk(`link-${i}/secret`, 2))).toBe("ENOENT");
      expect(failureOf(() => client.call("lopen", { fid: 1, flags: 0 }))).toBe("EINVAL");
      expect(failureOf(() => client.call("lopen", { fid: 1, flags: 0o200000 }))).toBe("EINVAL");
      expect(failureOf(() => client.call("mkdir", { dfid: 1, name: text("x"), mode: 0, gid: 0 }))).toBe("ENOTDIR");
      expect(failureOf(() => client.call("setattr", { ...noChange, fid: 1, valid: 8 }))).toBe("EINVAL");
      expect(failureOf(() => client.call("setattr", { ...noChange, fid: 1, valid: 1 }))).toBe("EOPNOTSUPP");
      client.call("setattr", { ...noChange, fid: 1, valid: 0x1b0, atimeSec: 1n, mtimeSec: 2n });
      expect(lstatSync(inside(`link-${i}`)).mtimeMs).toBe(2000);
      client.walk("", 2);
      const create = { fid: 2, name: text(`link-${i}`), flags: 0o1102, mode: 0o644, gid: 0 };
      expect(failureOf(() => client.call("lcreate", create))).toBe("EINVAL");
      client.clunk(2);
      client.call("link", { dfid: 0, fid: 1, name: text(`hard-${i}`) });
      expect(lstatSync(inside(`hard-${i}`)).isSymbolicLink()).toBe(true);
      client.clunk(1);
    });
    expect(statSync(outside("secret")).mtimeMs).not.toBe(2000);
    expect(statSync(at.outside).mtimeMs).not.toBe(2000);
  });

  it("of /proc are none the less links: a share of /proc/self leads nowhere else", () => {
    const proc = new Client({ root: "/proc/self" });
    try {
      for (const name of ["root", "cwd", "exe"]) {
        proc.walk(name, 1);
        expect(failureOf(() => proc.walk("etc", 2, 1))).toBe("ENOTDIR");
        expect(failureOf(() => proc.call("lopen", { fid: 1, flags: 0 }))).toBe("EINVAL");
        proc.clunk(1);
      }
      proc.walk("fd/0", 1);
      expect(failureOf(() => proc.call("lopen", { fid: 1, flags: 0 }))).toBe("EINVAL");
      expect(failureOf(() => proc.walk("root/etc", 2))).toBe("ENOENT");
    } finally {
      proc.close();
    }
  });

  it("is followed as the share's own root, once", () => {
    symlinkSync(at.root, inside("self"));
    const other = new Client({ root: inside("self") });
    expect(other.read("file").toString()).toBe("contents");
    other.close();
  });
});

describe("what the host moves out of the folder", () => {
  it("is not walked, listed anew, opened, linked or changed in any more, until it comes back", () => {
    client.walk("a/b", 1);
    client.walk("a/b/c", 2);
    client.walk("file", 3);
    client.walk("", 4, 1);
    renameSync(inside("a/b"), join(at.outside, "..", "moved"));
    renameSync(inside("file"), join(at.outside, "..", "moved file"));
    const dir = { dfid: 1, name: text("new") };
    const requests: Record<string, () => unknown> = {
      walk: () => client.walk("c", 5, 1),
      "walk ..": () => client.walk("..", 5, 1),
      "walk .. below": () => client.walk("..", 5, 2),
      lopen: () => client.call("lopen", { fid: 1, flags: 0 }),
      "lopen a file": () => client.call("lopen", { fid: 3, flags: 0 }),
      link: () => client.call("link", { dfid: 0, fid: 3, name: text("back") }),
      lcreate: () => client.call("lcreate", { fid: 4, name: text("new"), flags: 0o101, mode: 0o644, gid: 0 }),
      mkdir: () => client.call("mkdir", { ...dir, mode: 0o755, gid: 0 }),
      mknod: () => client.call("mknod", { ...dir, mode: 0o100644, major: 0, minor: 0, gid: 0 }),
      symlink: () => client.call("symlink", { ...dir, symtgt: text("x"), gid: 0 }),
      unlinkat: () => client.call("unlinkat", { dirfid: 1, name: text("c"), flags: 0x200 }),
      renameat: () => client.call("renameat", { olddirfid: 1, oldname: text("c"), newdirfid: 0, newname: text("c") }),
      "rename the file": () => client.call("rename", { fid: 3, dfid: 0, name: text("back") }),
    };
    for (const [what, request] of Object.entries(requests)) expect(failureOf(request), what).toBe("ESTALE");
    expect(readdirSync(join(at.outside, "..", "moved"))).toEqual(["c"]);
    renameSync(join(at.outside, "..", "moved"), inside("again"));
    client.walk("c", 5, 1);
    client.walk("..", 6, 1);
    expect(qidPath(6)).toBe(inodeOf(at.root));
  });

  it("may be the folder itself: the share goes with it, and not to what takes its place", () => {
    client.walk("a", 1);
    const moved = join(at.root, "..", "elsewhere");
    renameSync(at.root, moved);
    mkdirSync(join(at.root, "a"), { recursive: true });
    client.walk("b/c", 2, 1);
    client.walk("../..", 3, 1);
    expect(qidPath(3)).toBe(inodeOf(moved));
    client.write("new", text("new"));
    expect(existsSync(join(moved, "new"))).toBe(true);
    expect(existsSync(inside("new"))).toBe(false);
  });
});

describe("races with another process", () => {
  let swapper: ChildProcess;

  /** Lets a process rename things until it is told to end. */
  async function race(script: string): Promise<void> {
    const loop = `const fs = require("fs"); process.chdir(${JSON.stringify(at.root)}); process.stdout.write("ready");
      const swap = () => { for (let i = 0; i < 50; i++) { try { ${script} } catch {} } setImmediate(swap); }; swap();`;
    swapper = spawn(process.execPath, ["-e", loop], { stdio: ["ignore", "pipe", "inherit"] });
    await once(swapper.stdout!, "data");
  }
  afterEach(async () => {
    swapper.kill("SIGKILL");
    await once(swapper, "close");
  });

  /** Runs `attempt` for about a second; how often each outcome came. */
  function persist(attempt: () => void): Map<string, number> {
    const outcomes = new Map<string, number>();
    const end = Date.now() + 1000;
    while (Date.now() < end) {
      const outcome = failureOf(attempt);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    return outcomes;
  }

  it("a directory that turns into a link to outside and back gives access to the directory or to nothing", async () => {
    mkdirSync(inside("door"));
    writeFileSync(inside("door/secret"), "harmless");
    symlinkSync("../outside", inside("link"));
    await race(
      `fs.renameSync("door", "kept"); fs.renameSync("link", "door"); fs.renameSync("door", "link"); fs.renameSync("kept", "door");`,
    );
    const root = inodeOf(inside(""));
    const outcomes = persist(() => {
      const contents = client.read("door/secret").toString();
      if (contents !== "harmless") throw new Error("escaped");
    });
    const created = persist(() => {
      client.write("door/new", text("x"));
      client.walk("door", 1);
      try {
        client.call("unlinkat", { dirfid: 1, name: text("secret2"), flags: 0 });
      } finally {
        client.clunk(1);
      }
    });
    expect([...outcomes.keys(), ...created.keys()]).not.toContain("escaped");
    expect(outcomes.get(""), "reads that met the directory").toBeGreaterThan(0);
    expect(inodeOf(at.root)).toBe(root);
  });

  it("a directory that is moved out and in again never shows what is above it", async () => {
    mkdirSync(inside("hall/room"), { recursive: true });
    await race(`fs.renameSync("hall/room", "../room"); fs.renameSync("../room", "hall/room");`);
    const allowed = new Set([inodeOf(at.root), inodeOf(inside("hall"))]);
    const outcomes = persist(() => {
      client.walk("hall/room", 1);
      try {
        client.walk("..", 2, 1);
        const path = qidPath(2);
        client.clunk(2);
        if (!allowed.has(path)) throw new Error("escaped");
      } finally {
        client.clunk(1);
      }
    });
    expect([...outcomes.keys()]).not.toContain("escaped");
    expect(outcomes.get("")).toBeGreaterThan(0);
  });
});
