import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Client, failureOf, openDescriptors, scratch, text } from "./testing.js";

const FILES = 300;
const FIRST_FID = 1000;

let at: ReturnType<typeof scratch>;
let client: Client;
let before: number;
const inside = (name: string): string => join(at.root, name);
/** What the file that a fid stands for has in it, by a fid of its own. */
const contents = (fid: number): string => {
  client.walk("", 5, fid);
  try {
    client.call("lopen", { fid: 5, flags: 0 });
    return Buffer.from(client.call("read", { fid: 5, offset: 0n, count: 100 }).payload).toString();
  } finally {
    client.clunk(5);
  }
};
const failures = (): Set<string> =>
  new Set(Array.from({ length: FILES }, (_, i) => failureOf(() => expect(contents(FIRST_FID + i)).toBe(`${i}`))));

beforeEach(() => {
  at = scratch();
  mkdirSync(inside("a/b"), { recursive: true });
  for (let i = 0; i < FILES; i++) writeFileSync(inside(`a/b/file-${i}`), `${i}`);
  before = openDescriptors();
  client = new Client({ root: at.root, maxDescriptors: 64 });
  for (let i = 0; i < FILES; i++) client.walk(`a/b/file-${i}`, FIRST_FID + i);
});
afterEach(() => {
  client.close();
  expect(openDescriptors(), "descriptors left open").toBe(before);
  at.remove();
});

describe("more fids than descriptors", () => {
  it("are all good, while only so many descriptors are open", () => {
    expect(client.server.fidCount).toBe(FILES + 1);
    expect(client.server.parkedCount).toBeGreaterThan(FILES - 64);
    expect(openDescriptors() - before).toBeLessThanOrEqual(65);
    expect(failures()).toEqual(new Set([""]));
    expect(openDescriptors() - before).toBeLessThanOrEqual(65);
  });

  it("follow what the guest renames, files and the directories above them, one after the other", () => {
    const rename = (from: [number, string], to: [number, string]) =>
      client.call("renameat", {
        ...{ olddirfid: from[0], oldname: text(from[1]) },
        ...{ newdirfid: to[0], newname: text(to[1]) },
      });
    client.walk("a", 1);
    rename([1, "b"], [0, "c"]);
    rename([0, "a"], [0, "d"]);
    client.walk("c", 2);
    rename([0, "c"], [1, "e"]);
    for (let i = 0; i < FILES; i += 3) rename([2, `file-${i}`], [0, `moved-${i}`]);
    client.call("rename", { fid: FIRST_FID, dfid: 2, name: text("again") });
    expect(readdirSync(at.root)).toContain("moved-3");
    expect(readdirSync(inside("d/e"))).toContain("again");
    expect(failures()).toEqual(new Set([""]));
  });

  it("are ESTALE where the host has put something else, and nothing else is reached by them", () => {
    renameSync(inside("a/b"), inside("a/kept"));
    expect(failures()).toContain("ESTALE");
    mkdirSync(at.outside);
    writeFileSync(join(at.outside, "file-0"), "outside");
    symlinkSync(at.outside, inside("a/b"));
    expect(failures()).toEqual(new Set(["", "ESTALE"]));
    rmSync(inside("a/b"));
    mkdirSync(inside("a/b"));
    for (let i = 0; i < FILES; i++) writeFileSync(inside(`a/b/file-${i}`), "other");
    expect(failures()).toEqual(new Set(["", "ESTALE"]));
    rmSync(inside("a/b"), { recursive: true });
    renameSync(inside("a/kept"), inside("a/b"));
    expect(failures()).toEqual(new Set([""]));
  });

  it("know a file whose name the guest takes away, open or not", () => {
    client.walk("a/b", 2);
    for (let i = 0; i < 10; i++) client.call("unlinkat", { dirfid: 2, name: text(`file-${i}`), flags: 0 });
    client.call("renameat", { olddirfid: 2, oldname: text("file-20"), newdirfid: 2, newname: text("file-10") });
    expect(failures()).toEqual(new Set([""]));
    for (let i = 0; i <= 10; i++) {
      expect(client.call("getattr", { fid: FIRST_FID + i, requestMask: 0n }).nlink).toBe(0n);
    }
  });

  it("may all be open, and each goes on as it was opened", () => {
    const data = text("written");
    for (let i = 0; i < FILES; i++) {
      client.walk("", 2000 + i, FIRST_FID + i);
      client.call("lopen", { fid: 2000 + i, flags: i % 2 === 0 ? 0o1002 : 0 });
    }
    expect(openDescriptors() - before).toBeLessThanOrEqual(65);
    for (let i = 0; i < FILES; i++) {
      const write = () => client.call("write", { fid: 2000 + i, offset: 0n, count: data.length }, data);
      expect(failureOf(write)).toBe(i % 2 === 0 ? "" : "EBADF");
    }
    expect(openDescriptors() - before).toBeLessThanOrEqual(65);
    for (let i = 0; i < FILES; i++) {
      const { payload } = client.call("read", { fid: 2000 + i, offset: 0n, count: 100 });
      expect(Buffer.from(payload).toString()).toBe(i % 2 === 0 ? "written" : `${i}`);
    }
  });

  it.skipIf(process.geteuid?.() === 0)(
    "go on though the guest forbids it meanwhile (needs another user than root)",
    () => {
      for (let i = 0; i < FILES; i++) client.call("lopen", { fid: FIRST_FID + i, flags: 2 });
      const noChange = { uid: 0, gid: 0, size: 0n, atimeSec: 0n, atimeNsec: 0n, mtimeSec: 0n, mtimeNsec: 0n };
      client.call("setattr", { ...noChange, fid: FIRST_FID, valid: 1, mode: 0 });
      const write = { fid: FIRST_FID, offset: 0n, count: 1 };
      for (let i = 1; i < FILES; i++) client.call("write", { ...write, fid: FIRST_FID + i }, text("x"));
      expect(client.call("write", write, text("x")).count).toBe(1);
    },
  );

  it("list a directory on from where they were, though it was closed in between", () => {
    client.walk("a/b", 2);
    client.call("lopen", { fid: 2, flags: 0 });
    const whole = client.readdir(2);
    for (let i = 0; i < FILES; i++) {
      client.walk("", 2000 + i, FIRST_FID + i);
      client.call("lopen", { fid: 2000 + i, flags: 0 });
    }
    expect(client.readdir(2, 8192, whole[99]!.offset)).toEqual(whole.slice(100));
  });

  it("are lost where there is no room for what has no name, and the others are not", () => {
    client.walk("a/b", 2);
    for (let i = 0; i < FILES - 10; i++) {
      client.call("unlinkat", { dirfid: 2, name: text(`file-${i}`), flags: 0 });
    }
    const outcomes = Array.from({ length: FILES - 10 }, (_, i) =>
      failureOf(() => client.call("getattr", { fid: FIRST_FID + i, requestMask: 0n })),
    );
    expect(outcomes.filter((outcome) => outcome === "").length).toBeGreaterThan(30);
    expect(openDescriptors() - before).toBeLessThanOrEqual(65);
    for (let i = 0; i < FILES - 10; i++) client.clunk(FIRST_FID + i);
    for (let i = FILES - 10; i < FILES; i++) expect(contents(FIRST_FID + i)).toBe(`${i}`);
  });
});
