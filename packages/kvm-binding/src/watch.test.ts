import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { EventFd, KvmError, watch } from "./index.js";

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("watch", () => {
  it("calls back while there is something to read, and not after close", async () => {
    using eventfd = EventFd.create();
    const taken: number[] = [];
    const watching = watch(eventfd, () => taken.push(eventfd.take()));
    eventfd.signal(2);
    while (taken.length === 0) await turn();
    eventfd.signal(3);
    while (taken.length === 1) await turn();
    expect(taken).toEqual([2, 3]);
    watching.close();
    watching.close();
    eventfd.signal();
    for (let i = 0; i < 10; i++) await turn();
    expect(taken).toEqual([2, 3]);
  });

  it("allows several watches of one descriptor, and the descriptor to be closed first", async () => {
    const eventfd = EventFd.create();
    let a = 0;
    let b = 0;
    const watches = [watch(eventfd, () => a++), watch(eventfd, () => b++)];
    eventfd.signal();
    while (a === 0 || b === 0) await turn();
    eventfd.close();
    for (const w of watches) w.close();
    await turn();
  });

  it("may be closed by its own callback", async () => {
    using eventfd = EventFd.create();
    await new Promise<void>((resolve) => {
      const watching = watch(eventfd, () => {
        watching.close();
        resolve();
      });
      eventfd.signal();
    });
  });

  it("refuses what cannot be polled, and what is no function", () => {
    const file = openSync("/etc/passwd", "r");
    expect(() => watch({ fd: file }, () => {})).toThrow(KvmError);
    closeSync(file);
    expect(() => watch({ fd: file }, () => {})).toThrow(/EBADF/);
    using eventfd = EventFd.create();
    expect(() => watch(eventfd, 5 as never)).toThrow(TypeError);
  });

  const run = (body: string) =>
    execFileSync(
      process.execPath,
      [
        "--input-type=module",
        "-e",
        `import * as b from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)}; ${body}`,
      ],
      { encoding: "utf8", timeout: 10_000, stdio: ["ignore", "pipe", "ignore"] },
    );

  it("keeps the process alive until unref", () => {
    expect(
      run(
        `const e = b.EventFd.create(); const w = b.watch(e, () => { e.take(); console.log("called"); w.unref(); }); setTimeout(() => e.signal(), 10)`,
      ),
    ).toBe("called\n");
    run(`const e = b.EventFd.create(); b.watch(e, () => {}).unref();`);
  });

  it("treats an exception in the callback as any other event callback's", () => {
    expect(
      run(`process.on("uncaughtException", (e) => { console.log(e.message); process.exit(); });
           const e = b.EventFd.create(); b.watch(e, () => { throw new Error("from the callback"); }); e.signal();`),
    ).toBe("from the callback\n");
  });

  it("leaves cleanly with a watch open, in the main thread and in a Worker", () => {
    expect(
      run(`import { Worker } from "node:worker_threads";
           const code = 'import(' + JSON.stringify(${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)}) + ').then((b) => { const e = b.EventFd.create(); b.watch(e, () => {}); require("node:worker_threads").parentPort.postMessage(1); })';
           const w = new Worker(code, { eval: true, execArgv: [] });
           w.once("message", async () => { await w.terminate(); console.log("terminated"); const e = b.EventFd.create(); b.watch(e, () => {}); process.exit(0); });`),
    ).toBe("terminated\n");
  });
});
