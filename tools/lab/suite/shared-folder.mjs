/**
 * Linux's own 9p client on the server for shared folders: a folder is mounted with several ways of caching, and what
 * programs do to file systems is done to it, by system calls and by git, tar and Python's mmap.
 * Exit status: 0 all of it worked, 1 something did not, 77 this kernel has no 9p.
 */
import { strict as assert } from "node:assert";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const MIB = 2 ** 20;
const BIG_FILE_BYTES = Number(process.env.BIG_FILE_MIB ?? 8) * MIB;
const MANY = Number(process.env.MANY_FILES ?? 1000);
const here = dirname(fileURLToPath(import.meta.url));
const folder = fs.mkdtempSync(join(tmpdir(), "shared-folder-"));

const run = (command, args, options = {}) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], ...options });
const python = (script, ...args) => run("python3", ["-c", script, ...args]);
const fails = (code, call) => assert.throws(call, (error) => error.code === code, `${code} was expected`);
/** Lets the client write back what it keeps, before a look at the server's side. */
const settle = (m) => run("sync", ["-f", m]);
const sum = (path) => createHash("sha256").update(fs.readFileSync(path)).digest("hex");

/** Each is given the mounted folder `m` and the same folder as the server has it, `s`. */
const checks = {
  "files: create, append, truncate, read in parts"(m, s) {
    fs.writeFileSync(join(m, "file"), "one\n");
    fs.appendFileSync(join(m, "file"), "two\n");
    settle(m);
    assert.equal(fs.readFileSync(join(s, "file"), "utf8"), "one\ntwo\n");
    fs.truncateSync(join(m, "file"), 3);
    assert.equal(fs.readFileSync(join(m, "file"), "utf8"), "one");
    const fd = fs.openSync(join(m, "file"), "r+");
    fs.writeSync(fd, "tail", 10_000);
    fs.fsyncSync(fd);
    assert.equal(fs.fstatSync(fd).size, 10_004);
    const part = Buffer.alloc(6);
    assert.equal(fs.readSync(fd, part, 0, 6, 9_999), 5);
    assert.equal(part.toString("latin1", 0, 5), "\0tail");
    fs.closeSync(fd);
    fails("EEXIST", () => fs.openSync(join(m, "file"), "wx"));
    fails("ENOENT", () => fs.readFileSync(join(m, "nothing")));
    fails("ENOTDIR", () => fs.readFileSync(join(m, "file", "x")));
    fails("EISDIR", () => fs.openSync(m, "r+"));
  },

  "names: rename, over another, into another directory; rmdir; not UTF-8; the longest"(m, s) {
    fs.mkdirSync(join(m, "d1/d2"), { recursive: true });
    fs.writeFileSync(join(m, "a"), "a");
    fs.writeFileSync(join(m, "b"), "b");
    fs.renameSync(join(m, "a"), join(m, "b"));
    fs.renameSync(join(m, "b"), join(m, "d1/d2/c"));
    settle(m);
    assert.equal(fs.readFileSync(join(s, "d1/d2/c"), "utf8"), "a");
    fs.renameSync(join(m, "d1/d2"), join(m, "d3"));
    assert.equal(fs.readFileSync(join(m, "d3/c"), "utf8"), "a");
    fails("EINVAL", () => fs.renameSync(join(m, "d3"), join(m, "d3/below")));
    fails("ENOTEMPTY", () => fs.rmdirSync(join(m, "d3")));
    fs.unlinkSync(join(m, "d3/c"));
    fs.rmdirSync(join(m, "d3"));
    const odd = Buffer.concat([Buffer.from(`${m}/`), Buffer.from([0xff, 0xc3, 0x28])]);
    fs.writeFileSync(odd, "odd");
    assert.ok(fs.readdirSync(s, "buffer").some((name) => name.equals(odd.subarray(-3))));
    fs.unlinkSync(odd);
    fs.writeFileSync(join(m, "n".repeat(255)), "");
    fs.unlinkSync(join(m, "n".repeat(255)));
    fails("ENAMETOOLONG", () => fs.writeFileSync(join(m, "n".repeat(256)), ""));
  },

  "a file unlinked while open is read, written, stretched and looked at"(m) {
    const fd = fs.openSync(join(m, "gone"), "w+");
    fs.unlinkSync(join(m, "gone"));
    fs.writeSync(fd, "still here", 0);
    fs.fchmodSync(fd, 0o600);
    fs.ftruncateSync(fd, 8);
    const bytes = Buffer.alloc(20);
    assert.equal(fs.readSync(fd, bytes, 0, 20, 0), 8);
    assert.equal(bytes.toString("latin1", 0, 8), "still he");
    assert.equal(fs.fstatSync(fd).size, 8);
    fs.closeSync(fd);
    assert.ok(!fs.existsSync(join(m, "gone")));
  },

  "links, symbolic and hard"(m, s) {
    fs.writeFileSync(join(m, "target"), "target");
    fs.symlinkSync("target", join(m, "link"));
    fs.symlinkSync("/etc/hostname", join(m, "absolute"));
    assert.equal(fs.readFileSync(join(m, "link"), "utf8"), "target");
    assert.equal(fs.readlinkSync(join(m, "absolute")), "/etc/hostname");
    fs.linkSync(join(m, "target"), join(m, "hard"));
    assert.equal(fs.statSync(join(m, "hard")).nlink, 2);
    assert.equal(fs.statSync(join(m, "hard")).ino, fs.statSync(join(m, "target")).ino);
    fs.appendFileSync(join(m, "hard"), "!");
    settle(m);
    assert.equal(fs.readFileSync(join(s, "target"), "utf8"), "target!");
    fs.linkSync(join(m, "link"), join(m, "hard link"));
    assert.equal(fs.readlinkSync(join(s, "hard link")), "target");
    fs.lutimesSync(join(m, "link"), 5, 6);
    assert.equal(fs.lstatSync(join(s, "link")).mtimeMs, 6000);
  },

  "permissions, owners and times"(m, s) {
    fs.writeFileSync(join(m, "owned"), "", { mode: 0o666 });
    fs.chmodSync(join(m, "owned"), 0o6754);
    assert.equal(fs.statSync(join(s, "owned")).mode & 0o7777, 0o6754);
    fs.chownSync(join(m, "owned"), 1234, 5678);
    fs.lchownSync(join(m, "link"), 1, 2);
    assert.deepEqual([fs.statSync(join(s, "owned")).uid, fs.statSync(join(s, "owned")).gid], [1234, 5678]);
    assert.deepEqual([fs.lstatSync(join(s, "link")).uid, fs.lstatSync(join(s, "link")).gid], [1, 2]);
    assert.equal(fs.statSync(join(s, "owned")).mode & 0o6000, 0, "a new owner clears setuid");
    fs.utimesSync(join(m, "owned"), 1000, 2000); // v9fs sets whole seconds
    assert.deepEqual(
      [fs.statSync(join(s, "owned")).atimeMs, fs.statSync(join(s, "owned")).mtimeMs],
      [1_000_000, 2_000_000],
    );
    fs.mkdirSync(join(m, "sticky"), { mode: 0o1777 });
    fs.chmodSync(join(m, "sticky"), 0o3777);
    fs.mkdirSync(join(m, "closed"), { mode: 0o700 });
    fs.writeFileSync(join(m, "closed/file"), "x");
    const asNobody = (script) =>
      spawnSync("python3", ["-c", `import os\nos.setgid(65534); os.setuid(65534)\n${script}`], { cwd: m });
    assert.equal(asNobody(`open("sticky/mine", "w").close()`).status, 0);
    assert.equal(fs.statSync(join(s, "sticky/mine")).uid, 65534);
    assert.notEqual(asNobody(`open("closed/file")`).status, 0);
    assert.notEqual(asNobody(`open("new", "w")`).status, 0);
  },

  "pipes, sockets and nodes"(m, s) {
    run("mkfifo", [join(m, "pipe")]);
    assert.ok(fs.lstatSync(join(s, "pipe")).isFIFO());
    python(
      `
import os, sys, socket
pipe = os.path.join(sys.argv[1], "pipe")
if os.fork() == 0:
    open(pipe, "w").write("through"); os._exit(0)
assert open(pipe).read() == "through"
listener = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); listener.bind("socket"); listener.listen()
client = socket.socket(socket.AF_UNIX); client.connect("socket"); client.send(b"x")
assert listener.accept()[0].recv(1) == b"x"`,
      m,
    );
    assert.ok(fs.lstatSync(join(s, "socket")).isSocket());
    assert.notEqual(spawnSync("mknod", [join(m, "disk"), "b", "8", "0"]).status, 0, "a device was made");
  },

  "extended attributes"(m, s) {
    fs.writeFileSync(join(m, "attributes"), "");
    python(
      `
import os, sys
m, s = (os.path.join(folder, "attributes") for folder in sys.argv[1:3])
os.setxattr(m, "trusted.a", b"value")
os.setxattr(m, "trusted.long", b"x" * 60000)
assert os.getxattr(s, "trusted.a") == b"value" == os.getxattr(m, "trusted.a")
assert len(os.getxattr(m, "trusted.long")) == 60000
assert set(os.listxattr(m)) >= {"trusted.a", "trusted.long"}
try: os.setxattr(m, "trusted.a", b"", os.XATTR_CREATE); raise SystemExit("XATTR_CREATE did not refuse")
except FileExistsError: pass
os.removexattr(m, "trusted.a")
try: os.getxattr(s, "trusted.a"); raise SystemExit("it is still there")
except OSError as error: assert error.errno == 61, error`,
      m,
      s,
    );
  },

  "locks of two processes on one file"(m) {
    python(
      `
import fcntl, os, sys
path = os.path.join(sys.argv[1], "locked")
mine = open(path, "w"); fcntl.lockf(mine, fcntl.LOCK_EX)
if os.fork() == 0:
    try: fcntl.lockf(open(path, "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB); os._exit(1)
    except BlockingIOError: os._exit(0)
assert os.wait()[1] == 0
fcntl.lockf(mine, fcntl.LOCK_UN)`,
      m,
    );
  },

  "statfs tells the server's file system"(m, s) {
    assert.equal(fs.statfsSync(m).blocks, fs.statfsSync(s).blocks);
  },
};

const many = {
  [`a directory of ${MANY} files is listed, each once, and removed`](m, s) {
    fs.mkdirSync(join(m, "many"));
    for (let i = 0; i < MANY; i++) fs.writeFileSync(join(s, `many/file-${i}`), "");
    const names = fs.readdirSync(join(m, "many"));
    assert.equal(names.length, MANY);
    assert.equal(new Set(names).size, MANY);
    for (let i = 0; i < MANY; i += 50) fs.unlinkSync(join(m, `many/file-${i}`));
    assert.equal(fs.readdirSync(join(m, "many")).length, MANY - MANY / 50);
    fs.rmSync(join(s, "many"), { recursive: true });
  },
};

const big = {
  [`${BIG_FILE_BYTES / MIB} MiB written and read back are the same bytes`](m, s) {
    const source = join(folder, "source");
    run("dd", ["if=/dev/urandom", `of=${source}`, "bs=1M", `count=${BIG_FILE_BYTES / MIB}`, "status=none"]);
    run("cp", [source, join(m, "big")]);
    settle(m);
    assert.equal(sum(join(s, "big")), sum(source));
    run("cmp", [source, join(m, "big")]);
    fs.unlinkSync(source);
    fs.unlinkSync(join(m, "big"));
  },
};

const programs = {
  "tar writes a tree and reads it back with owners, modes and times"(m, s) {
    const archive = join(folder, "tree.tar");
    run("tar", ["-C", join(here, "../../../packages/vmm"), "-cf", archive, "src"]);
    fs.mkdirSync(join(m, "tree"));
    run("tar", ["-C", join(m, "tree"), "-xpf", archive]);
    run("tar", ["-C", join(m, "tree"), "-df", archive]);
    settle(m);
    run("tar", ["-C", join(s, "tree"), "-df", archive]);
    fs.rmSync(join(m, "tree"), { recursive: true });
    assert.ok(!fs.existsSync(join(s, "tree")));
    fs.unlinkSync(archive);
  },

  "git makes a repository, commits, and finds nothing changed"(m) {
    const repository = join(m, "repository");
    fs.mkdirSync(repository);
    const git = (...args) =>
      run("git", ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "safe.directory=*", ...args], { cwd: repository });
    git("init", "-q");
    for (let i = 0; i < 20; i++) fs.writeFileSync(join(repository, `file-${i}`), `${i}\n`.repeat(i));
    git("add", "-A");
    git("commit", "-q", "-m", "first");
    assert.equal(git("status", "--porcelain"), "");
    fs.appendFileSync(join(repository, "file-7"), "changed");
    assert.equal(git("status", "--porcelain"), " M file-7\n");
    git("repack", "-adq");
    git("fsck", "--strict");
    fs.rmSync(repository, { recursive: true });
  },
};

const mmap = {
  "a shared mapping is written through"(m, s) {
    fs.writeFileSync(join(m, "mapped"), Buffer.alloc(10_000));
    python(
      `
import mmap, os, sys
with open(os.path.join(sys.argv[1], "mapped"), "r+b") as file:
    with mmap.mmap(file.fileno(), 0) as pages:
        pages[5000:5005] = b"hello"
        pages.flush()`,
      m,
    );
    settle(m);
    assert.equal(fs.readFileSync(join(s, "mapped"), "latin1").slice(4999, 5006), "\0hello\0");
  },
};

/** A server, a mount, the checks; `options` are the server's. */
async function withMount(name, mountOptions, options, checksOfIt) {
  const place = fs.mkdtempSync(join(folder, "mount-"));
  const [s, m, socket] = ["server", "mounted", "socket"].map((part) => join(place, part));
  fs.mkdirSync(s);
  fs.mkdirSync(m);
  fs.writeFileSync(join(s, "given"), "given");
  const server = spawn(process.execPath, [join(here, "serve-folder.mjs"), s, socket, JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const line = () => new Promise((resolve) => server.stdout.once("data", (bytes) => resolve(bytes.toString())));
  try {
    await line();
    run("mount", ["-t", "9p", "-o", `trans=unix,version=9p2000.L,${mountOptions}`, socket, m]);
    try {
      for (const [check, act] of Object.entries(checksOfIt)) {
        const started = Date.now();
        try {
          act(m, s);
        } catch (error) {
          // What a file system complains of is in the kernel's log, and not in its error number.
          console.log(run("dmesg").split("\n").slice(-10).join("\n"));
          throw new Error(`${name}: ${check}: ${error.stack}`, { cause: error });
        }
        console.log(`ok: ${name}: ${check} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
      }
      fs.writeFileSync("/proc/sys/vm/drop_caches", "3");
      const report = line();
      server.kill("SIGUSR1");
      const { fids, fds } = JSON.parse(await report);
      assert.ok(fids < 20 && fds < 50, `${name}: ${fids} fids and ${fds} descriptors are left when nothing is used`);
    } finally {
      run("umount", [m]);
    }
    assert.equal(server.exitCode, null, "the server ended");
  } finally {
    server.kill();
  }
}

const readonly = {
  "a folder shared for reading only is read, and not changed"(m, s) {
    assert.equal(fs.readFileSync(join(m, "given"), "utf8"), "given");
    fails("EROFS", () => fs.writeFileSync(join(m, "given"), "x"));
    fails("EROFS", () => fs.writeFileSync(join(m, "new"), "x"));
    fails("EROFS", () => fs.mkdirSync(join(m, "new")));
    fails("EROFS", () => fs.unlinkSync(join(m, "given")));
    fails("EROFS", () => fs.chmodSync(join(m, "given"), 0o777));
    assert.deepEqual(fs.readdirSync(s), ["given"]);
  },

  "it is the lower layer of an overlay"(m) {
    // An overlay's upper layer cannot be on an overlay, and where the checkout is below it, the lab's /tmp is on one.
    const own = fs.mkdtempSync(join(folder, "layers-"));
    run("mount", ["-t", "tmpfs", "layers", own]);
    const layers = ["upper", "work", "merged"].map((part) => join(own, part));
    for (const layer of layers) fs.mkdirSync(layer);
    run("mount", [
      "-t",
      "overlay",
      "-o",
      `lowerdir=${m},upperdir=${layers[0]},workdir=${layers[1]}`,
      "overlay",
      layers[2],
    ]);
    try {
      fs.appendFileSync(join(layers[2], "given"), " and more");
      fs.renameSync(join(layers[2], "given"), join(layers[2], "moved"));
      assert.equal(fs.readFileSync(join(layers[2], "moved"), "utf8"), "given and more");
      assert.deepEqual(fs.readdirSync(layers[2]), ["moved"]);
    } finally {
      run("umount", [layers[2]]);
      run("umount", [own]);
    }
  },
};

for (const module of ["9p", "9pnet_fd", "overlay"]) {
  const { status } = spawnSync("modprobe", [module]);
  if (status !== 0) {
    console.log(`there is no ${module} in this kernel`);
    process.exit(77);
  }
}
try {
  const msize = "msize=262144,access=client";
  await withMount("cache=none", `cache=none,${msize}`, {}, { ...checks, ...many, ...big });
  await withMount("cache=mmap", `cache=mmap,${msize}`, {}, { ...checks, ...programs, ...mmap });
  // With fewer descriptors than this way of caching has names.
  await withMount(
    "cache=loose",
    `cache=loose,${msize}`,
    { maxDescriptors: 256 },
    { ...checks, ...many, ...big, ...programs, ...mmap },
  );
  await withMount("readonly", `cache=none,${msize}`, { readonly: true }, readonly);
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
