/**
 * `vmm sandbox` on this host's own kernel and files: streams apart, input to its end, exit status, what can be written and what cannot, the
 * network; then a terminal with its size and Ctrl-C; then a user without rights, and a signal. Exit status: 0 when all is as it should be.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { endAll, start, until } from "./programs.mjs";

const VMM = resolve("packages/vmm/bin/vmm.js");
const USER = 1234;
const MACHINE = ["--cpus", "1", "--memory", "512M"];

const faults = [];
function expect(what, found, expected) {
  if (found !== expected) faults.push(`${what} is ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
}

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });

/** A page for whoever asks. Resolves with its port. */
async function serve() {
  const server = createServer((_request, response) => response.end("a page of the host's"));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { server, port: server.address().port };
}

/** passt takes the guest's network from the interface that leads out; in here none does. */
function leadOut() {
  execFileSync("modprobe", ["dummy"]);
  ip("link", "add", "out0", "type", "dummy");
  ip("addr", "add", "192.0.2.2/24", "dev", "out0");
  ip("link", "set", "out0", "up");
  ip("route", "add", "default", "via", "192.0.2.1");
}

/** Of output just before the command's end: more than what is on its way at a time. */
const MUCH_BYTES = 4 * 2 ** 20;

async function pipes(folder) {
  leadOut();
  const { server, port } = await serve();
  const [work, fixed, more] = ["work", "fixed", "more"].map((name) => join(folder, name));
  for (const each of [work, fixed, more]) mkdirSync(each);
  writeFileSync(join(fixed, "file"), "as it was");
  const script = `
    cat >input
    echo "kernel $(uname -n)" >written
    for place in /etc/passwd /usr/sandbox-was-here; do echo x >>$place && echo "layer $place"; done
    touch /elsewhere/x 2>&1 || echo "fixed $(cat /elsewhere/file)"
    touch ${more}/new
    busybox wget -q -O - http://192.0.2.1:${port}/
    echo; echo "to stderr" >&2
    head -c ${MUCH_BYTES} /dev/zero | tr '\\0' x
    (sleep 1000; echo late) &
    exit 7`;
  const options = [...MACHINE, "--net", "user", "--share", `/elsewhere=${fixed},ro`, "--share", more];
  const guest = start("node", [VMM, "sandbox", ...options, "--", "sh", "-c", script], { cwd: work });
  const input = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index & 0xff));
  guest.child.stdin.end(input);
  expect("the status", await guest.done, 7);
  const said = ["layer /etc/passwd", "layer /usr/sandbox-was-here"];
  said.push("touch: cannot touch '/elsewhere/x': Read-only file system", "fixed as it was", "a page of the host's", "");
  const end = guest.out.text.length - MUCH_BYTES;
  expect("its output", guest.out.text.slice(0, end), said.join("\n"));
  expect("much output, up to its end", guest.out.text.slice(end) === "x".repeat(MUCH_BYTES), true);
  expect("its errors", guest.out.errors, "to stderr\n");
  expect("the input's bytes", readFileSync(join(work, "input")).equals(input), true);
  expect("the written file", readFileSync(join(work, "written"), "utf8"), "kernel sandbox\n");
  expect("the new file", existsSync(join(more, "new")), true);
  expect("a file written outside", existsSync("/usr/sandbox-was-here"), false);
  server.close();
}

async function terminal(folder) {
  const command = `stty cols 91 rows 17; node ${VMM} sandbox ${MACHINE.join(" ")} -- sh -c 'tty; stty size; echo ready; cat'`;
  const guest = start("script", ["-qec", command, "/dev/null"], { cwd: folder });
  await until("the command's word", guest, () => guest.out.text.includes("ready"));
  guest.child.stdin.write("typed\r");
  await until("what was typed, and its echo", guest, () => /typed\s.*typed\s/s.test(guest.out.text));
  guest.child.stdin.write("\x03");
  expect("the status after Ctrl-C", await guest.done, 130);
  expect("the terminal", guest.out.text.replace(/\r+\n/g, "\n"), "/dev/pts/0\n17 91\nready\ntyped\ntyped\n^C");
}

async function unprivileged(folder) {
  chmodSync("/dev/kvm", 0o666);
  const work = join(folder, "theirs");
  mkdirSync(work);
  chmodSync(folder, 0o755);
  chownSync(work, USER, USER);
  const script = `id -u; echo mine >mine; touch /etc/x 2>/dev/null || echo refused; head -c 3 /etc/shadow 2>/dev/null || echo hidden
    trap 'echo heard; exit 5' TERM; echo ready; while :; do sleep 0.1; done`;
  const who = [`--reuid=${USER}`, `--regid=${USER}`, "--clear-groups"];
  const program = ["node", VMM, "sandbox", ...MACHINE, "--", "sh", "-c", script];
  const guest = start("setpriv", [...who, ...program], { cwd: work, env: { PATH: process.env.PATH, HOME: work } });
  await until("the command's word", guest, () => guest.out.text.includes("ready"));
  guest.child.kill("SIGTERM");
  expect("the status after SIGTERM", await guest.done, 5);
  expect("the user's output", guest.out.text, `${USER}\nrefused\nhidden\nready\nheard\n`);
  expect("the user's file", readFileSync(join(work, "mine"), "utf8"), "mine\n");
  expect("the user's errors", guest.out.errors, "");
}

const folder = mkdtempSync(join(tmpdir(), "linux-sandbox-"));
try {
  // A part by itself, by its name as an argument.
  const wanted = [pipes, terminal, unprivileged].filter(({ name }) => (process.argv[2] ?? name) === name);
  for (const part of wanted) {
    const begin = Date.now();
    await part(folder);
    console.log(`${part.name}: ${((Date.now() - begin) / 1000).toFixed(1)} s`);
  }
} catch (error) {
  faults.push(error.message);
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
for (const fault of faults) console.log(`FAULT: ${fault}`);
process.exitCode = faults.length === 0 ? 0 : 1;
