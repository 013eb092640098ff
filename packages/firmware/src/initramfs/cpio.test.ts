import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CpioEntry, cpioArchive } from "./cpio.js";

interface ParsedEntry {
  path: string;
  mode: number;
  content: string;
  major: number;
  minor: number;
}

/** Reads the archive as the kernel's documentation describes it, without a look at the writer. */
function parse(archive: Buffer): ParsedEntry[] {
  const entries: ParsedEntry[] = [];
  for (let at = 0; ; ) {
    expect(archive.toString("latin1", at, at + 6)).toBe("070701");
    const field = (index: number) =>
      Number.parseInt(archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
    const contentBytes = field(6);
    const nameBytes = field(11);
    const name = archive.toString("utf8", at + 110, at + 110 + nameBytes - 1);
    expect(archive[at + 110 + nameBytes - 1]).toBe(0);
    const contentAt = align4(at + 110 + nameBytes);
    const next = align4(contentAt + contentBytes);
    if (name === "TRAILER!!!") {
      expect(next).toBe(archive.length);
      return entries;
    }
    const content = archive.subarray(contentAt, contentAt + contentBytes).toString("base64");
    entries.push({ path: name, mode: field(1), content, major: field(9), minor: field(10) });
    at = next;
  }
}

function align4(value: number): number {
  return (value + 3) & ~3;
}

const path = fc
  .array(fc.string({ minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join("/"))
  .filter((text) => !text.startsWith("/") && !text.includes("\0"));

const entry: fc.Arbitrary<CpioEntry> = fc.oneof(
  fc.record({ kind: fc.constant("directory" as const), path }),
  fc.record({
    kind: fc.constant("file" as const),
    path,
    content: fc.uint8Array({ maxLength: 300 }),
    mode: fc.constantFrom(0o644, 0o755),
  }),
  fc.record({ kind: fc.constant("symlink" as const), path, target: fc.string({ minLength: 1 }) }),
  fc.record({
    kind: fc.constant("character-device" as const),
    path,
    major: fc.nat(4095),
    minor: fc.nat(1_048_575),
  }),
);

const TYPE_BITS = { directory: 0o04, file: 0o10, symlink: 0o12, "character-device": 0o02 };

describe("a cpio archive", () => {
  it("gives back every entry that was put in, in order, whatever its length", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 12 }), (entries) => {
        const parsed = parse(cpioArchive(entries));
        expect(parsed.map((found) => found.path)).toEqual(entries.map((given) => given.path));
        entries.forEach((given, index) => {
          const found = parsed[index]!;
          expect(found.mode >> 12).toBe(TYPE_BITS[given.kind]);
          if (given.kind === "file")
            expect(found).toMatchObject({ content: Buffer.from(given.content).toString("base64") });
          if (given.kind === "file") expect(found.mode & 0o7777).toBe(given.mode);
          if (given.kind === "symlink")
            expect(Buffer.from(found.content, "base64").toString()).toBe(Buffer.from(given.target).toString());
          if (given.kind === "character-device")
            expect(found).toMatchObject({ major: given.major, minor: given.minor });
        });
      }),
    );
  });

  it("is the same for the same entries, so that it can be kept by content", () => {
    const entries: CpioEntry[] = [{ kind: "file", path: "init", content: Buffer.from("#!"), mode: 0o755 }];
    expect(cpioArchive(entries).equals(cpioArchive(entries))).toBe(true);
  });

  it("refuses a path that is empty, absolute, holds a NUL, or would end the archive", () => {
    for (const bad of ["", "/init", "a\0b", "TRAILER!!!"]) {
      expect(() => cpioArchive([{ kind: "directory", path: bad }])).toThrow(RangeError);
    }
  });

  const hasCpio = spawnSync("cpio", ["--version"]).status === 0;
  it.skipIf(!hasCpio)("unpacks with the cpio program (needs cpio)", () => {
    const folder = mkdtempSync(join(tmpdir(), "cpio-"));
    try {
      const archive = cpioArchive([
        { kind: "directory", path: "bin" },
        { kind: "file", path: "bin/tool", content: Buffer.from("odd"), mode: 0o755 },
        { kind: "symlink", path: "bin/link", target: "tool" },
      ]);
      const run = spawnSync("cpio", ["-i", "-H", "newc", "--quiet"], { cwd: folder, input: archive });
      expect(run.stderr.toString()).toBe("");
      expect(readFileSync(join(folder, "bin/tool"), "latin1")).toBe("odd");
      expect(statSync(join(folder, "bin/tool")).mode & 0o777).toBe(0o755);
      expect(readlinkSync(join(folder, "bin/link"))).toBe("tool");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
