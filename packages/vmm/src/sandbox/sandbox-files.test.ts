import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { sandboxInitPath } from "@tools-kvm/firmware";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { defaultRoute, resolver } from "./host-network.js";
import { sandboxInitramfs } from "./initramfs.js";
import { encodeJob, type SandboxJob } from "./job.js";
import { hostKernel, kernelAt, versionOf } from "./kernel.js";
import { moduleFile } from "./module-file.js";

const JOB: SandboxJob = {
  modules: ["/modules/0-9p.ko"],
  shares: [{ tag: "root", path: "/", readonly: true }],
  command: ["echo", "a b", ""],
  environment: { TERM: "xterm" },
  folder: "/work",
  user: 1000,
  group: 100,
  groups: [100, 27],
};

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sandbox-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function put(path: string, content: string | Uint8Array = ""): string {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  return full;
}

const VERSION_AT = 0x300;

/** As much of a bzImage as says its version. */
function bzImage(version: string): Buffer {
  const bytes = Buffer.alloc(1024);
  bytes.write("HdrS", 0x202, "latin1");
  bytes.writeUInt16LE(VERSION_AT - 0x200, 0x20e);
  bytes.write(`${version} (builder@host)`, VERSION_AT, "latin1");
  return bytes;
}

const ALL =
  "fs/9p.ko: net/9pnet.ko\nnet/9pnet.ko:\nnet/9pnet_virtio.ko: net/9pnet.ko\nfs/overlay.ko.xz:\nchar/virtio_console.ko:\n";

function install(version: string, dep = ALL): void {
  put(`boot/vmlinuz-${version}`, bzImage(version));
  put(`lib/modules/${version}/modules.dep`, dep);
  put(`lib/modules/${version}/modules.builtin`, "kernel/drivers/virtio/virtio_mmio.ko\n");
}

describe("the kernel of a sandbox", () => {
  const find = (running = "none", network = false) => hostKernel(network, { root, running });

  it("is the running one, or else the newest", () => {
    for (const version of ["6.9.0-1", "6.10.0-1", "6.2.0"]) install(version);
    expect(find("6.2.0").path).toBe(join(root, "boot/vmlinuz-6.2.0"));
    expect(find().path).toBe(join(root, "boot/vmlinuz-6.10.0-1"));
  });

  it("has its modules in the order of insertion, dependencies first, and none that is built in", () => {
    install("6.1.0");
    expect(find().modules.map((path) => path.slice(path.indexOf("6.1.0/") + 6))).toEqual([
      "char/virtio_console.ko",
      "net/9pnet.ko",
      "net/9pnet_virtio.ko",
      "fs/9p.ko",
      "fs/overlay.ko.xz",
    ]);
  });

  it("is another one where modules are missing, and the network needs one more", () => {
    install("6.1.0-cloud", "fs/overlay.ko:\n");
    install("6.0.0", `${ALL}net/virtio_net.ko:\n`);
    expect(find("6.1.0-cloud", true).path).toContain("6.0.0");
    rmSync(join(root, "boot/vmlinuz-6.0.0"));
    expect(() => find()).toThrow(/6.1.0-cloud has no module virtio_console, 9pnet_virtio, 9p in /);
  });

  it("lies beside its modules elsewhere than on Debian", () => {
    install("6.1.0");
    rmSync(join(root, "boot"), { recursive: true });
    put("lib/modules/6.1.0/vmlinuz", bzImage("6.1.0"));
    expect(find().path).toBe(join(root, "lib/modules/6.1.0/vmlinuz"));
  });

  it("is missed in one line that says what to do", () => {
    expect(() => find()).toThrow(/^no kernel in \/boot has its modules in \/lib\/modules; install one/);
    install("6.1.0");
    rmSync(join(root, "lib/modules/6.1.0/modules.dep"));
    expect(() => find()).toThrow(/no modules.dep/);
  });

  it.skipIf(process.geteuid?.() === 0)("is asked for where it cannot be read (needs a user who is not root)", () => {
    install("6.1.0");
    chmodSync(join(root, "boot/vmlinuz-6.1.0"), 0);
    expect(() => find()).toThrow(/sudo chmod a\+r .*vmlinuz-6.1.0, or name another by --kernel FILE/);
  });

  it("says its version, and a file that does not is refused", () => {
    expect(versionOf(put("k", bzImage("6.1.0-13-amd64")))).toBe("6.1.0-13-amd64");
    for (const bytes of ["", "short", bzImage("../../etc"), bzImage("").subarray(0, 0x210)])
      expect(versionOf(put("k", bytes))).toBeUndefined();
    expect(() => kernelAt(put("k", "no kernel"), false, { root, running: "" })).toThrow(/k: a bzImage is needed/);
  });
});

describe("what a sandbox is told", () => {
  it("is words that end with a NUL, an empty one too", () => {
    expect(encodeJob(JOB).toString().split("\0")).toEqual([
      ...["module", "/modules/0-9p.ko", "share", "root", "/", "ro"],
      ...["argument", "echo", "argument", "a b", "argument", "", "environment", "TERM=xterm"],
      ...["folder", "/work", "user", "1000", "group", "100", "group-of", "100", "group-of", "27", ""],
    ]);
  });

  it("has the network in the bytes' own order", () => {
    const network = { address: "192.0.2.2", netmask: "255.255.255.0", gateway: "192.0.2.1", resolver: "x" };
    const words = encodeJob({ ...JOB, network })
      .toString()
      .split("\0");
    const numbers = words.slice(words.indexOf("address") + 1).slice(0, 3);
    expect(numbers).toEqual([String(0x020200c0), String(0x00ffffff), String(0x010200c0)]);
  });

  it("is refused with a NUL in a word, or when it is longer than init can take", () => {
    expect(() => encodeJob({ ...JOB, command: ["a\0b"] })).toThrow(/NUL/);
    expect(() => encodeJob({ ...JOB, command: ["x".repeat(2 ** 22)] })).toThrow(/bytes long/);
  });

  it("is an initramfs with init, the job and the modules, which cpio unpacks", () => {
    const module = put("overlay.ko", "module");
    const archive = put("archive", sandboxInitramfs([module], JOB));
    execFileSync("sh", [
      "-c",
      'cd "$1" && mkdir out && cd out && busybox cpio -i <"$2" 2>/dev/null || true',
      "sh",
      root,
      archive,
    ]);
    expect(readFileSync(join(root, "out/modules/0-overlay.ko"), "utf8")).toBe("module");
    expect(readFileSync(join(root, "out/init")).equals(readFileSync(sandboxInitPath()))).toBe(true);
    expect(readFileSync(join(root, "out/job"), "utf8")).toContain("module\0/modules/0-overlay.ko\0");
  });
});

describe("a module's file", () => {
  const EXTENSION: Record<string, string> = { gzip: "gz", xz: "xz", zstd: "zst" };
  const packedBy = (program: string): string =>
    put(`a.ko.${EXTENSION[program]}`, execFileSync(program, ["-c"], { input: "module" }));

  it("is unpacked: gzip", () => {
    const { name, content } = moduleFile(packedBy("gzip"));
    expect([name, Buffer.from(content).toString()]).toEqual(["a.ko", "module"]);
  });

  for (const program of ["xz", "zstd"]) {
    const isThere = spawnSync(program, ["--version"]).status === 0;
    it.skipIf(!isThere)(`is unpacked: ${program} (needs ${program})`, () => {
      const { name, content } = moduleFile(packedBy(program));
      expect([name, Buffer.from(content).toString()]).toEqual(["a.ko", "module"]);
    });
  }

  it("stays as it is where it is not packed, or does not unpack", () => {
    for (const name of ["b.ko", "b.ko.xz", "b.ko.gz"]) {
      const { name: found, content } = moduleFile(put(name, "module"));
      expect([found, Buffer.from(content).toString()]).toEqual([name, "module"]);
    }
  });
});

describe("the host's network", () => {
  const HEAD = "Iface\tDestination\tGateway\tFlags\n";

  it("is the one with the first default route", () => {
    const table = `${HEAD}eth1\t0000A8C0\t00000000\t0001\neth0\t00000000\t0101A8C0\t0003\nwlan0\t00000000\t01020304\t0003\n`;
    expect(defaultRoute(table)).toEqual({ interface: "eth0", gateway: "192.168.1.1" });
    for (const bad of [
      "",
      HEAD,
      `${HEAD}ppp0\t00000000\t00000000\t0001\n`,
      `${HEAD}x\t00000000\tzz\t0003\n`,
      `${HEAD}\n\n`,
    ])
      expect(defaultRoute(bad)).toBeUndefined();
  });

  it("has the gateway for a resolver of the host's own", () => {
    expect(resolver("# own\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch lan\n", "192.0.2.1")).toBe(
      "# own\nnameserver 192.0.2.1\nnameserver 9.9.9.9\nsearch lan\n",
    );
  });
});
