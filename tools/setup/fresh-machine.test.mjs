import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const isRoot = process.getuid?.() === 0;
const NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/** A checkout under /root, say, is closed to others. */
function othersMayRead() {
  const command = [...NOBODY, process.execPath, "-e", `fs.accessSync(${JSON.stringify(join(HERE, "start.mjs"))})`];
  return spawnSync("setpriv", command).status === 0;
}
const canBeNobody = isRoot && othersMayRead();

/** The only folder of programs that the machine under test has. */
let bin = "";

beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), "fresh-machine-"));
  chmodSync(bin, 0o755);
});
afterEach(() => rmSync(bin, { recursive: true }));

/** @param {string} script @param {{ asNobody?: boolean }} [options] */
function run(script, { asNobody = false } = {}) {
  const command = [process.execPath, join(HERE, script)];
  if (asNobody) command.unshift("/usr/bin/setpriv", ...NOBODY);
  const result = spawnSync(command[0], command.slice(1), { env: { PATH: bin }, encoding: "utf8" });
  return { status: result.status, lines: result.stderr.split("\n").filter(Boolean), stdout: result.stdout };
}

describe("npm start and npm test on a machine without a compiler", () => {
  it("stop with status 1 and one line that says what to install", () => {
    for (const script of ["start.mjs", "test.mjs"]) {
      const { status, lines, stdout } = run(script);
      expect(status).toBe(1);
      expect(stdout).toBe("");
      const line = lines.find((text) => text.includes("compiler"));
      expect(line).toMatch(
        /^tools-kvm: there is no C and C\+\+ compiler; .*: install what Debian calls g\+\+ make python3/,
      );
      expect(lines.join("\n")).not.toMatch(/\bat .*:\d+:\d+/);
    }
  });

  it.skipIf(!canBeNobody)(
    "print the apt-get command for a user who is not root (needs root and a checkout others may read)",
    () => {
      writeFileSync(join(bin, "apt-get"), "#!/bin/sh\necho must not run >&2\n", { mode: 0o755 });
      const { status, lines } = run("start.mjs", { asNobody: true });
      expect(status).toBe(1);
      expect(lines[0]).toContain("sudo apt-get install -y --no-install-recommends g++ make python3");
      expect(lines.join("\n")).not.toContain("must not run");
    },
  );

  it.skipIf(!isRoot)("install it as root, lab and all, by apt-get without questions (needs root)", () => {
    const log = join(bin, "log");
    writeFileSync(join(bin, "apt-get"), `#!/bin/sh\necho "$DEBIAN_FRONTEND $*" >>${log}\n`, { mode: 0o755 });
    const { status } = run("start.mjs");
    // The apt-get of this test installs nothing, so the second look still finds no compiler.
    expect(status).toBe(1);
    const calls = spawnSync("/bin/cat", [log], { encoding: "utf8" }).stdout;
    expect(calls).toMatch(/^noninteractive install -y --no-install-recommends g\+\+ make python3/m);
    expect(calls).toMatch(/^noninteractive install .*qemu-system-x86 /m);
  });
});

describe("the command line of npm test", () => {
  it("names a package or an option that does not exist, with status 2", () => {
    for (const word of ["no-such-package", "--no-such-option"]) {
      const result = spawnSync(process.execPath, [join(HERE, "test.mjs"), word], { encoding: "utf8" });
      expect(result.status).toBe(2);
      expect(result.stderr).toContain(word);
    }
  });
});

describe("host facts", () => {
  it("are one line of JSON, the same twice, whatever is there", () => {
    const first = run("host-facts.mjs");
    expect(first.status).toBe(0);
    expect(first.stdout.trim().split("\n")).toHaveLength(1);
    expect(JSON.parse(first.stdout)).toHaveProperty("kvm");
    expect(run("host-facts.mjs").stdout).toBe(first.stdout);
  });
});
