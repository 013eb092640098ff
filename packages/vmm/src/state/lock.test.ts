import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import ts from "typescript";
import { afterAll, beforeAll, expect, it } from "vitest";
import { SharedLock } from "./lock.js";

const folder = mkdtempSync(join(tmpdir(), "tools-kvm-lock-"));
const script = join(folder, "contender.mjs");

/** Workers run plain JavaScript, so the lock is compiled for them first. */
beforeAll(() => {
  const source = readFileSync(new URL("./lock.ts", import.meta.url), "utf8");
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  writeFileSync(join(folder, "lock.mjs"), ts.transpileModule(source, { compilerOptions }).outputText);
  writeFileSync(
    script,
    `import { workerData } from "node:worker_threads";
     import { SharedLock } from "./lock.mjs";
     const { buffer, rounds, holdTurns } = workerData;
     const words = new Int32Array(buffer);
     const lock = new SharedLock(words, 0);
     for (let i = 0; i < rounds; i++) {
       lock.acquire();
       const before = words[1];
       for (let turn = 0; turn < holdTurns; turn++) words[2] = turn;
       words[1] = before + 1;
       lock.release();
     }`,
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

async function contend(contenders: number, rounds: number, holdTurns: number): Promise<Int32Array> {
  const buffer = new SharedArrayBuffer(16);
  await Promise.all(
    Array.from({ length: contenders }, () => {
      const worker = new Worker(script, { workerData: { buffer, rounds, holdTurns } });
      return new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
    }),
  );
  return new Int32Array(buffer);
}

it("lets one thread in at a time, also when there are more threads than processors", async () => {
  const words = await contend(4, 20_000, 0);
  expect(words[1]).toBe(80_000);
});

it("wakes those who slept while it was held for long", async () => {
  const words = await contend(3, 200, 20_000);
  expect(words[1]).toBe(600);
});

it("is free when all are done", async () => {
  expect((await contend(2, 1000, 10))[0]).toBe(0);
});

it("makes whoever comes while it is held wait for its release", async () => {
  const buffer = new SharedArrayBuffer(16);
  const words = new Int32Array(buffer);
  const lock = new SharedLock(words, 0);
  lock.acquire();
  const worker = new Worker(script, { workerData: { buffer, rounds: 1, holdTurns: 0 } });
  const exit = new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
  // Asleep, it has marked the word.
  while (Atomics.load(words, 0) !== 2) await new Promise((resolve) => setTimeout(resolve, 1));
  expect(words[1]).toBe(0);
  lock.release();
  await exit;
  expect(words[1]).toBe(1);
});
