import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { jobScript, quote } from "./job.js";

describe("a word quoted for the shell", () => {
  it("comes out as it went in, for any text without a NUL", () => {
    const texts = fc.array(
      fc.string({ unit: "binary" }).filter((text) => !text.includes("\0")),
      { minLength: 20, maxLength: 60 },
    );
    fc.assert(
      fc.property(texts, (words) => {
        const shell = spawnSync("/bin/sh", ["-s"], { input: `printf '%s\\0' ${words.map(quote).join(" ")}` });
        expect(shell.stdout.toString().split("\0").slice(0, -1)).toEqual(
          words.map((word) => Buffer.from(word).toString()),
        );
      }),
      { numRuns: 10 },
    );
  });

  it("cannot hold a NUL", () => {
    expect(() => quote("a\0b")).toThrow(RangeError);
  });
});

describe("the job", () => {
  const job = {
    command: ["true"],
    cwd: "/",
    env: {},
    endMark: "m",
    stdin: false,
    terminal: undefined,
    out: undefined,
    modules: undefined,
    hideTmp: true,
  };

  it("is a script every shell can read, and says last that it is complete", () => {
    const text = jobScript({ ...job, cwd: "/it's here", env: { A: "x y'z" }, command: ["printf", "%s\n", "a b"] });
    expect(spawnSync("/bin/sh", ["-n"], { input: text }).status).toBe(0);
    expect(text.trimEnd().endsWith("job_complete=yes")).toBe(true);
  });

  it("gives one word to the shell and many to the program", () => {
    expect(jobScript({ ...job, command: ["ls | wc"] })).toContain("'/bin/sh' '-c' 'ls | wc'");
    expect(jobScript({ ...job, command: ["ls", "a b"] })).toContain("'ls' 'a b'");
  });
});
