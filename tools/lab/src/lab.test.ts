import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chooseKernel } from "./kernels.js";
import { runInLab, startLab, whyNoLab } from "./lab.js";

const LAB = fileURLToPath(new URL("../bin/lab.js", import.meta.url));
/** A start takes seconds where nothing else runs, and much longer where everything does. */
const TIMEOUT_MS = 300_000;

const problem = whyNoLab();
const title = problem === undefined ? "the lab" : `the lab (needs a remedy: ${problem.replaceAll(/[()]/g, "")})`;

describe.skipIf(problem !== undefined)(title, { timeout: TIMEOUT_MS }, () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "lab-test-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("runs a command on its own kernel with a real kvm-amd, streams apart and byte for byte, files brought back, status passed on", async () => {
    const out = join(folder, "out");
    const everyByte = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 256));
    const script = [
      "uname -r",
      "cat /sys/module/kvm_amd/parameters/npt",
      "[ -r /dev/kvm ] && [ -w /dev/kvm ] && echo kvm",
      "[ -d /sys/kernel/tracing/events/kvm ] && [ -d /sys/kernel/debug/kvm ] && echo tracing",
      "hostname; pwd; echo $LAB_TEST",
      "cat >&2",
      "mkdir -p sub && echo kept >sub/file; echo gone >/var/lab-test-file",
      "exit 7",
    ].join("\n");
    const result = await runInLab({
      command: ["sh", "-c", script],
      cwd: dirname(LAB),
      env: { LAB_TEST: "a 'b' $c" },
      stdin: Readable.from([everyByte]),
      out,
      cpus: 1,
    });
    expect(result).toMatchObject({ outcome: "exited", exitCode: 7, complaints: [] });
    const kernel = chooseKernel({});
    const lines = result.stdout.toString().split("\n");
    expect(lines).toEqual([kernel.version, "Y", "kvm", "tracing", "lab", dirname(LAB), "a 'b' $c", ""]);
    expect(result.stderr.equals(everyByte)).toBe(true);
    expect(result.bootMs).toBeGreaterThan(0);
    expect(spawnSync("ls", [join(dirname(LAB), "sub"), "/var/lab-test-file"]).status).not.toBe(0);
  });

  it("brings back what is written in the out folder, from two labs at a time", async () => {
    const labs = ["one", "two"].map((name) => {
      const out = join(folder, name);
      return runInLab({
        command: ["sh", "-c", `mkdir sub && echo ${name} >sub/file && head -c 1000000 /dev/zero >big`],
        cwd: folder,
        out,
        cpus: 1,
      });
    });
    // The command's own folder is not the out folder: the files above land in the lab's copy of it, and are gone.
    for (const result of await Promise.all(labs)) expect(result.exitCode).toBe(0);
    expect(spawnSync("ls", ["-A", join(folder, "one")]).stdout.toString()).toBe("");

    const out = join(folder, "one");
    const result = await runInLab({
      command: [`mkdir ${out}/sub; echo kept >${out}/sub/file; head -c 1000000 /dev/zero >${out}/big`],
      out,
      cpus: 1,
    });
    expect(result.exitCode).toBe(0);
    expect(readFileSync(join(out, "sub/file"), "utf8")).toBe("kept\n");
    expect(readFileSync(join(out, "big")).equals(Buffer.alloc(1_000_000))).toBe(true);
  });

  it("gives a command that runs too long status 124, and one whose kernel panics 125 with the console's last lines", async () => {
    const [late, panicked] = await Promise.all([
      runInLab({ command: ["echo started; sleep 1000"], timeoutMs: 1500, cpus: 1 }),
      runInLab({ command: ["echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 1000"], cpus: 1 }),
    ]);
    expect(late).toMatchObject({ outcome: "timeout", exitCode: 124 });
    expect(late.stdout.toString()).toBe("started\n");
    expect(panicked).toMatchObject({ outcome: "crashed", exitCode: 125 });
    expect(panicked.stdout.toString()).toBe("before\n");
    expect(panicked.consoleTail.join("\n")).toContain("Kernel panic - not syncing: sysrq triggered crash");
  });

  it("takes another kernel with its modules, from where `make modules_install` puts them, and parameters for them", async () => {
    const host = chooseKernel({});
    const kernel = join(folder, "bzImage");
    const modules = join(folder, "modroot");
    const installed = join(modules, "lib/modules", host.version!);
    cpSync(host.path, kernel);
    for (const path of ["modules.dep", "modules.builtin", ...host.modules.map((module) => module.path)]) {
      mkdirSync(dirname(join(installed, path)), { recursive: true });
      cpSync(join(host.modulesDirectory!, path), join(installed, path));
    }
    const result = await runInLab({
      command: [
        "uname -r; cat /sys/module/kvm_amd/parameters/npt; find /lib/modules/$(uname -r) -name '*.ko*' | wc -l",
      ],
      kernel,
      modules,
      append: "kvm_amd.npt=0",
      cpus: 1,
    });
    expect(result.stdout.toString().split("\n")).toEqual([host.version, "N", String(host.modules.length), ""]);
  });

  it("gives a command a terminal of the size of ours, on which Ctrl-C works", async () => {
    const typed = new Readable({ read: () => {} });
    let shown = "";
    const lab = startLab({
      command: [
        "bash",
        "--norc",
        "-c",
        "trap 'echo; stty size; exit 9' INT; stty size; tty; echo ready; sleep 1000 & wait",
      ],
      stdin: typed,
      terminal: { rows: 33, columns: 101 },
      cpus: 1,
      onStdout: (chunk) => {
        const before = shown;
        shown += chunk.toString();
        if (!before.includes("ready") && shown.includes("ready")) {
          lab.resize({ rows: 40, columns: 120 });
          setTimeout(() => typed.push("\x03"), 1000);
        }
      },
    });
    const result = await lab.result;
    expect(shown.replaceAll("\r", "").split("\n")).toEqual(["33 101", "/dev/hvc0", "ready", "^C", "40 120", ""]);
    expect(result.exitCode).toBe(9);
  });

  it("leaves no process behind when it is interrupted, or killed", async () => {
    for (const [signal, status] of [
      ["SIGINT", 130],
      ["SIGKILL", null],
    ] as const) {
      const lab = spawn(process.execPath, [LAB, "--cpus", "1", "echo up; sleep 1000"], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      await new Promise((up) => lab.stdout.once("data", up));
      const qemu = spawnSync("pgrep", ["-P", String(lab.pid)], { encoding: "utf8" }).stdout.trim();
      expect(qemu).toMatch(/^\d+$/);
      const ended = new Promise((end) => lab.on("close", end));
      lab.kill(signal);
      expect(await ended).toBe(status);
      await expect.poll(() => isRunning(Number(qemu)), { timeout: 10_000 }).toBe(false);
    }
  });
});

describe("the lab command", () => {
  it("ends with status 2 and one line when it cannot do what it was told", () => {
    for (const words of [["--cpus", "0", "true"], ["--kernel", "/nonexistent", "true"], ["--bogus"], []]) {
      const run = spawnSync(process.execPath, [LAB, ...words], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
      expect(run.status).toBe(2);
      expect(run.stdout).toBe("");
      expect(run.stderr.trimEnd().split("\n")).toHaveLength(1);
    }
  });

  it("names QEMU and the package where there is none", () => {
    const run = spawnSync(process.execPath, [LAB, "true"], { encoding: "utf8", env: { PATH: "/nonexistent" } });
    expect(run.status).toBe(2);
    expect(run.stderr).toBe("lab: QEMU is not installed: apt-get install qemu-system-x86\n");
  });
});

/** One that ended and waits for init to notice has ended. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
