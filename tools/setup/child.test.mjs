import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { exitStatus, runByLine, runQuietly } from "./child.mjs";

describe("another program's end", () => {
  it("is what a shell would call it", async () => {
    expect(exitStatus(7, null)).toBe(7);
    expect(exitStatus(null, "SIGKILL")).toBe(137);
    expect(exitStatus(null, "SIGINT")).toBe(130);
    expect(await runQuietly("x", ["/nonexistent/program"])).toMatchObject({ status: 127 });
    expect(await runQuietly("x", ["sh", "-c", "echo out; echo err >&2; exit 5"])).toMatchObject({ status: 5 });
  });
});

describe("a program run line by line", () => {
  it("gives every line, the last one too when it has no end", async () => {
    const lines = /** @type {string[]} */ ([]);
    const { status } = await runByLine(["printf", "a\\nb\\n\\nc"], {}, (line) => lines.push(line));
    expect(status).toBe(0);
    expect(lines).toEqual(["a", "b", "", "c"]);
  });

  it("is ended with all that it started when it says nothing for too long", async () => {
    const lines = /** @type {string[]} */ ([]);
    const stuck = ["sh", "-c", "sh -c 'trap : TERM; echo $$; while :; do sleep 1; done' & wait"];
    const { status, silent } = await runByLine(stuck, { silenceLimitMs: 500 }, (line) => lines.push(line));
    expect({ status, silent }).toEqual({ status: 137, silent: true });
    await expect.poll(() => isRunning(Number(lines[0]))).toBe(false);
  });
});

describe("Ctrl-C", () => {
  it("ends the program that is running, and then us with status 130", async () => {
    const script = `
      import { passSignalsOn, runQuietly } from ${JSON.stringify(fileURLToPath(new URL("child.mjs", import.meta.url)))};
      passSignalsOn();
      process.stdout.write("ready");
      await runQuietly("sleeping", ["sleep", "1000"]);
    `;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await new Promise((ready) => child.stdout.once("data", ready));
    const ended = new Promise((end) => child.on("close", end));
    setTimeout(() => child.kill("SIGINT"), 200);
    expect(await ended).toBe(130);
  });
});

/** One that ended and waits for init to notice has ended. @param {number} pid */
function isRunning(pid) {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
