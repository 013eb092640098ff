/** The suite on this host's KVM, as its users run it, and whether it notices what it should. */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { MUTATIONS } from "./mutations.js";

const PROGRAM = fileURLToPath(new URL("../bin/kernel-tests.js", import.meta.url));
const LIMIT_MS = 150_000;
const state = mkdtempSync(join(tmpdir(), "kernel-tests-state-"));
const env = { ...process.env, XDG_STATE_HOME: state };
afterAll(() => rmSync(state, { recursive: true }));

function run(...words: readonly string[]) {
  return spawnSync(process.execPath, [PROGRAM, ...words], { encoding: "utf8", env, timeout: LIMIT_MS });
}

function usable(): boolean {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The plan, the numbers and the indentation of KTAP; the names of what failed. */
function checkKtap(text: string): string[] {
  const lines = text.trimEnd().split("\n");
  expect(lines[0]).toBe("KTAP version 1");
  const themes = Number(/^1\.\.(\d+)$/.exec(lines[1]!)![1]);
  const outer = lines.filter((line) => /^(not )?ok /.test(line));
  expect(outer.map((line) => Number(/ok (\d+)/.exec(line)![1]))).toEqual(
    Array.from({ length: themes }, (_, i) => i + 1),
  );
  let planned = 0;
  let theme = "";
  const failed: string[] = [];
  for (const line of lines.slice(2)) {
    expect(line).toMatch(
      /^(# Totals: .*| {2}KTAP version 1| {2}1\.\.\d+| {2}#.*|( {2})?(not )?ok \d+ [\w-]+( # (SKIP|XFAIL|TIMEOUT|ERROR).*)?)$/,
    );
    theme = /^ {2}# Subtest: (.*)$/.exec(line)?.[1] ?? theme;
    planned += Number(/^ {2}1\.\.(\d+)$/.exec(line)?.[1] ?? 0);
    const test = /^ {2}(not )?ok \d+ ([\w-]+)/.exec(line);
    if (test !== null) planned--;
    if (test?.[1] !== undefined) failed.push(`${theme}/${test[2]}`);
    if (/^(not )?ok/.test(line)) expect(planned, `tests of ${theme} that are planned and not reported`).toBe(0);
  }
  return failed;
}

describe.skipIf(!usable())("the kernel's promises (needs /dev/kvm)", () => {
  it("are kept by this host, but for what is known", () => {
    const { status, stdout, stderr } = run();
    expect({ failed: checkKtap(stdout), status, stderr }).toEqual({ failed: [], status: 0, stderr: "" });
    const totals = /^# Totals: pass:(\d+) fail:0 xfail:(\d+) xpass:(\d+) skip:(\d+) error:0$/m.exec(stdout)!;
    const [pass, xfail, , skip] = totals.slice(1).map(Number) as [number, number, number, number];
    expect(pass + xfail + skip).toBeGreaterThanOrEqual(400);
    expect(JSON.parse(readFileSync(join(state, "tools-kvm/kernel-tests.json"), "utf8"))).toMatchObject({
      version: 1,
      kernel: release(),
      passed: pass,
      failed: 0,
      expectedFailures: xfail,
      skipped: skip,
      unexpectedFailures: [],
    });
  });

  it.each(Object.entries(MUTATIONS))("turn red when spoiled: %s", (name, { breaks }) => {
    const filter = `^(${breaks.join("|")}|capabilities/stable)$`;
    const { status, stdout } = run("--break", name, "--timeout", "2", "--filter", filter);
    expect(checkKtap(stdout)).toEqual([...breaks]);
    expect(status).toBe(1);
    // The one beside it is not taken along, not even by a crash.
    expect(stdout).toMatch(/^ {2}ok \d+ stable$/m);
  });

  it("say with --json what --list names", () => {
    const listed = JSON.parse(run("--list", "--json", "--filter", "^pit/").stdout) as { name: string }[];
    const { status, stdout } = run("--json", "--filter", "^pit/");
    const result = JSON.parse(stdout) as { kernel: string; tests: { name: string; verdict: string }[] };
    expect(status).toBe(0);
    expect(result.kernel).toBe(release());
    expect(result.tests.map(({ name }) => name)).toEqual(listed.map(({ name }) => name));
  });

  it("leave nothing behind when interrupted", async () => {
    const child = spawn(process.execPath, [PROGRAM, "--break", "hang", "--filter", "api-version", "--timeout", "60"], {
      env,
      stdio: ["ignore", "pipe", "inherit"],
      detached: true,
    });
    // The head comes before the first test, whose process then hangs.
    await new Promise((resolve) => child.stdout.once("data", resolve));
    child.kill("SIGINT");
    const status = await new Promise((resolve) => child.once("close", resolve));
    expect(status).toBe(130);
    // Its process group is empty.
    expect(() => process.kill(-child.pid!, 0)).toThrow("ESRCH");
  });
});

describe("the command", () => {
  it("refuses what it does not understand, with status 2 and one line", () => {
    const wrong = [
      ["--nonsense"],
      ["word"],
      ["--filter", "("],
      ["--filter", "^no-such-theme/"],
      ["--jobs", "0"],
      ["--timeout", "-1"],
      ["--break", "nothing"],
      ["--kernel", "bzImage"],
      ["--lab", "--kernel", "/nonexistent/bzImage"],
    ];
    for (const words of wrong) {
      const { status, stdout, stderr } = run(...words);
      expect({ words, status, stdout }).toEqual({ words, status: 2, stdout: "" });
      expect(stderr).toMatch(/^kernel-tests: [^\n]+\n/);
    }
  });

  it("explains itself, with examples", () => {
    const { status, stdout } = run("--help");
    expect(status).toBe(0);
    expect(stdout).toContain("npm run -s kernel-tests -- --lab");
  });

  it("lists every test with its promise and where that stands", () => {
    const { stdout } = run("--list");
    expect(stdout).toMatch(/^(([\w-]+\/[\w-]+)\n {4}\S.+ \(.+\)\n)+$/);
    expect(stdout.split("\n").filter((line) => /^\w/.test(line)).length).toBeGreaterThanOrEqual(400);
  });
});
