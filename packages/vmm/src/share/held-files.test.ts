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

  it("keep a file that is open when its name goes, and have a limit of open files", () => {
    client.walk("", 1, FIRST_FID);
    client.call("lopen", { fid: 1, flags: 0 });
    client.walk("a/b", 2);
    client.call("unlinkat", { dirfid: 2, name: text("file-0"), flags: 0 });
    for (let i = 1; i < FILES; i++) contents(FIRST_FID + i);
    expect(client.call("getattr", { fid: 1, requestMask: 0n }).nlink).toBe(0n);
    expect(Buffer.from(client.call("read", { fid: 1, offset: 0n, count: 9 }).payload).toString()).toBe("0");
    let opened = 1;
    const failure = failureOf(() => {
      for (; opened < 100; opened++) client.call("lopen", { fid: FIRST_FID + opened, flags: 0 });
    });
    expect({ failure, opened }).toEqual({ failure: "EMFILE", opened: 21 });
    client.walk("a/b/file-200", 3);
    expect(client.call("getattr", { fid: 3, requestMask: 0n }).size).toBe(3n);
  });

  it("are EMFILE when they have no names to be found again by", () => {
    client.walk("a/b", 2);
    for (let i = 0; i < FILES; i++) {
      failureOf(() => client.call("getattr", { fid: FIRST_FID + i, requestMask: 0n }));
      client.call("unlinkat", { dirfid: 2, name: text(`file-${i}`), flags: 0 });
    }
    writeFileSync(inside("new"), "");
    expect(failureOf(() => client.walk("new", 3))).toBe("EMFILE");
    for (let i = FILES - 64; i < FILES; i++) client.clunk(FIRST_FID + i);
    client.walk("new", 3);
  });
});
