import { existsSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { BenchError } from "./bench.js";
import { Programs } from "./programs.js";

let programs = new Programs();
afterEach(() => {
  programs.close();
  programs = new Programs();
});

const node = (code: string): string[] => [process.execPath, "-e", code];

describe("programs", () => {
  it("are run to their end, with what they printed and how long they took", async () => {
    const { stdout, elapsedMs } = await programs.run(["cat"], { input: Buffer.from("hello") });
    expect(stdout).toBe("hello");
    expect(elapsedMs).toBeGreaterThan(0);
  });

  it("that fail are no figure: their status and what they said is the error", async () => {
    const failed = programs.run(node("console.error('no luck'); process.exitCode = 3"));
    await expect(failed).rejects.toThrow(BenchError);
    await expect(programs.run(node("console.error('no luck'); process.exitCode = 3"))).rejects.toThrow(
      /ended with 3: no luck$/,
    );
    await expect(programs.run(["/no/such/program"])).rejects.toThrow(/no\/such\/program/);
    await expect(programs.run(node("process.exitCode = 3"), { exitCodes: [3] })).resolves.toBeDefined();
  });

  it("that still run are ended with the bench, and their folder is gone", async () => {
    const child = programs.start(node("setTimeout(() => {}, 60_000)"));
    const ended = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
    expect(existsSync(programs.folder)).toBe(true);
    programs.close();
    expect(await ended).toBe("SIGKILL");
    expect(existsSync(programs.folder)).toBe(false);
  });
});
