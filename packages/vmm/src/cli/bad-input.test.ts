/** What a user gets wrong: one line on stderr that names the option and the value, exit code 2, and nothing left. */
import { chmodSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { embeddedGuestPath } from "@tools-kvm/firmware";
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { buildElf } from "../boot/testing.js";
import { codeGuest } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

const bzImage = new Uint8Array(1024);
bzImage.set([0x55, 0xaa], 0x1fe);
bzImage.set(Buffer.from("HdrS"), 0x202);
const segment = { gpa: 2 ** 20, bytes: new Uint8Array(16) };
const kernels = {
  empty: scratch.file("empty", ""),
  text: scratch.file("text", "#!/bin/sh\necho this is no kernel\n"),
  truncated: scratch.file("truncated", readFileSync(embeddedGuestPath()).subarray(0, 9000)),
  headOnly: scratch.file("head", readFileSync(embeddedGuestPath()).subarray(0, 20)),
  program32: scratch.file("program32", buildElf({ bits: 32, entry: 2 ** 20, segments: [segment] })),
  program64: scratch.file("program64", buildElf({ bits: 64, machine: 62, entry: 2 ** 20, segments: [segment] })),
  bzImage: scratch.file("bzImage", bzImage),
  missing: scratch.path("missing"),
};
const tooMuch = `${Math.ceil(totalmem() / 2 ** 30) + 1}G`;
const threeMebibytes = scratch.file("three-mebibytes", new Uint8Array(3 * 2 ** 20));
const onePage = scratch.file("one-page", new Uint8Array(4096));
const small = scratch.file("small.elf", codeGuest([0xf4]));

/** Arguments of `vmm`, and what the line says. */
const mistakes: [string[], string | RegExp][] = [
  [["run", "--kernel", kernels.missing], `--kernel ${kernels.missing}: no such file`],
  [["run", "--kernel", scratch.folder], `--kernel ${scratch.folder}: not a file`],
  [["run", "--kernel", "/dev/null"], "--kernel /dev/null: not a file"],
  [["run", "--kernel", kernels.empty], `--kernel ${kernels.empty}: the file is empty`],
  [["run", "--kernel", kernels.text], `--kernel ${kernels.text}: not a kernel`],
  [["run", "--kernel", kernels.truncated], `--kernel ${kernels.truncated}: truncated`],
  [["run", "--kernel", kernels.headOnly], `--kernel ${kernels.headOnly}: `],
  [["run", "--kernel", kernels.program32], `--kernel ${kernels.program32}: a 32-bit ELF file with neither`],
  [["run", "--kernel", kernels.program64], `--kernel ${kernels.program64}: a 64-bit ELF file with neither`],
  [["run", "--kernel", kernels.bzImage], `--kernel ${kernels.bzImage}: a Linux bzImage`],
  [["run", "--initrd", kernels.missing], `--initrd ${kernels.missing}: no such file`],
  [["run", "--kernel", small, "--memory", "2M", "--initrd", threeMebibytes], "--memory 2M: "],
  [["run", "--memory", "0"], "--memory 0: "],
  [["run", "--memory", "1"], "--memory 1: "],
  [["run", "--memory", "1B"], "--memory 1B: "],
  [["run", "--memory", "-1G"], "--memory -1G: "],
  [["run", "--memory", "3000T"], "--memory 3000T: this host has "],
  [["run", "--memory", "99999999T"], "--memory 99999999T: "],
  [["run", "--memory", tooMuch], `--memory ${tooMuch}: this host has `],
  [["run", "--memory", "lots"], "--memory lots: not a size"],
  [["run", "--memory", ""], "--memory : not a size"],
  [["run", "--memory", "5000000B"], "--memory 5000000B: not a whole number of 4 KiB pages"],
  [["run", "--balloon", "much"], "--balloon much: not a size"],
  [["run", "--balloon", "5000B"], "--balloon 5000B: not a whole number of 4 KiB pages"],
  [["run", "--balloon", "128M"], "--balloon 128 MiB: the guest has 128 MiB, and cannot give back all of it"],
  [["run", "--vsock", "3"], "--vsock 3: cid=N,uds=PATH"],
  [["run", "--vsock", "cid=2,uds=x"], "--vsock cid=2,uds=x: a guest's cid is a whole number from 3 to 4294967294"],
  [["run", "--vsock", "cid=3,uds=/no/such/folder"], "--vsock cid=3,uds=/no/such/folder: /no/such: "],
  [["run", "--vsock", "cid=3,uds=/dev/null"], "--vsock cid=3,uds=/dev/null: /dev/null is there, and no socket"],
  [["run", "--vsock", `cid=3,uds=/${"x".repeat(96)}`], /the socket's path is longer than 96 bytes/],
  [["balloon", "anybody", "much"], "vmm balloon: SIZE much: not a size"],
  [["run", "--disk", "no-such-image"], "--disk no-such-image: ENOENT: no such file"],
  [["run", "--disk", ",ro"], "--disk ,ro: names no file"],
  [
    ["run", "--disk", scratch.folder],
    `--disk ${scratch.folder}: ${scratch.folder} is neither a file nor a block device`,
  ],
  [["run", "--disk", kernels.empty], `--disk ${kernels.empty}: a disk has at least one sector of 512 bytes`],
  [["run", "--disk", `${threeMebibytes},format=vmdk`], "format=vmdk: one of raw, qcow2"],
  [["run", "--disk", `${threeMebibytes},format=qcow2`], `--disk ${threeMebibytes},format=qcow2: `],
  [["run", "--disk", `${threeMebibytes},cache=none`], "cache=none: one of writeback, direct"],
  [["run", "--disk", `${threeMebibytes},queues=0`], "queues: a whole number from 1 to 16"],
  [["run", "--disk", `${threeMebibytes},serial=${"x".repeat(21)}`], "at most 20 bytes"],
  [["run", "--disk", `${threeMebibytes},rw`], "rw: there are format, ro, cache, serial, queues, bps"],
  [["run", "--disk", `${threeMebibytes},iops=0`], "iops=0: a whole number a second"],
  [["run", "--disk", `${threeMebibytes},iops=1e3`], "iops=1e3: a whole number a second"],
  [["run", "--disk", `${threeMebibytes},bps=fast`], "bps=fast: bytes a second, such as 10M"],
  [["run", "--disk", `${threeMebibytes},bps=1M,burst=61`], "burst=61: seconds, such as 0.5, up to 60"],
  [["run", "--disk", `${threeMebibytes},burst=1`], "burst without bps or iops limits nothing"],
  [["run", "--net", "tap,name=none,pps=-1"], "pps=-1: a whole number a second"],
  [["run", "--net", "user,iops=5"], "iops=5: there are forward, mac, bps, pps, burst"],
  [["run", "--disk", threeMebibytes, "--disk", threeMebibytes], "the same image twice"],
  [
    ["run", ...new Array(18).fill(["--disk", `${threeMebibytes},ro`]).flat()],
    "--disk, --net, --share: 18 devices, and a machine has room for 17",
  ],
  [["run", "--net", "bridge"], "--net bridge: one of user, tap, none"],
  [["run", "--net", "tap"], "--net tap: name=NAME is missing"],
  [["run", "--net", "tap,forward=1:2"], "forward=1:2: there are name, mac, bps"],
  [["run", "--net", "user,forward=80"], "forward=80: HOST:GUEST, two ports"],
  [["run", "--net", "user,forward=0:80"], "forward=0:80: HOST:GUEST"],
  [["run", "--net", "user,forward=8080:65536"], "forward=8080:65536: HOST:GUEST"],
  [["run", "--net", "user,mac=52:54:00"], "mac=52:54:00: not an Ethernet address"],
  [["run", "--net", "user,mac=01:00:00:00:00:01"], "a group's address"],
  [["run", "--share", scratch.folder], "TAG=DIR, and ,ro behind it"],
  [["run", "--share", "x=/no/such/folder"], "--share x=/no/such/folder: /no/such/folder: no such file"],
  [["run", "--share", `x=${threeMebibytes}`], `${threeMebibytes}: not a folder`],
  [["run", "--share", `${"x".repeat(129)}=/`], "a tag is at most 128 bytes"],
  [["run", "--share", "x=/", "--share", "x=/tmp,ro"], "the tag x twice"],
  [["run", "--cpus", "0"], "--cpus 0: "],
  [["run", "--cpus", "-1"], "--cpus -1: "],
  [["run", "--cpus", "1000"], "--cpus 1000: "],
  [["run", "--cpus", "1000000"], "--cpus 1000000: "],
  [["run", "--cpus", "1.5"], "--cpus 1.5: "],
  [["run", "--cpus", "abc"], "--cpus abc: "],
  [["run", "--cpus", "0x4"], "--cpus 0x4: "],
  [["run", "--console", "tty"], "--console tty: one of stdio, file:PATH, socket:PATH, pty, null"],
  [["run", "--console", "stdio", "--serial", "stdio"], "--serial stdio: --console has the terminal"],
  [["run", "--console", "socket:/no/such/folder/sock"], "/no/such/folder: no such file or folder"],
  [["run", "--console", `socket:${scratch.folder}`], "is there, and no socket"],
  [["run", "--console", `socket:/tmp/${"x".repeat(110)}`], "the socket's path is longer than 107 bytes"],
  [["run", "--port", "agent"], "--port agent: NAME=WHERE"],
  [["run", "--port", "../x=pty"], "--port ../x=pty: a name is 1 to 63 letters"],
  [["run", "--port", "a=pty", "--port", "a=pty"], "--port a=pty: there is a port of that name"],
  [["run", "--port", "a=stdio"], "--port a=stdio: one of socket:PATH, file:PATH, pty"],
  [
    ["run", ...Array.from({ length: 17 }, (_, i) => ["--port", `p${i}=pty`]).flat()],
    "17 ports, and there is room for 16",
  ],
  [["run", "--serial", "tty"], "--serial tty: one of stdio, file:PATH, pty, null"],
  [["run", "--serial", "file:"], "--serial file:: one of"],
  [["run", "--serial", "file:/no/such/folder/log"], "--serial file:/no/such/folder/log: no such file"],
  [["run", "--serial", `file:${scratch.folder}`], `--serial file:${scratch.folder}: `],
  [["run", "--debug-console", "stdio"], "--debug-console stdio: one of stderr, file:PATH, null"],
  [["run", "--bus", "isa"], /--bus .*'isa'/],
  [["run", "--bus", "pci", "--firmware", onePage, "--memory", "3G"], "has room for 2.8 GiB of memory at most"],
  [["run", "--irqchip", "none"], /--irqchip .*'none'/],
  [["run", "--name", "../x"], "--name ../x: "],
  [["run", "--name", ""], "--name : "],
  [["run", "--name", "a b"], "--name a b: "],
  [["run", "--name", "x".repeat(64)], `--name ${"x".repeat(64)}: `],
  [["run", "--no-such-option"], "'--no-such-option'"],
  [["run", "--jso"], /'--jso' .*--json/],
  [["run", "--memory"], "--memory"],
  [["run", "--kernel"], "--kernel"],
  [["run", "kernel.elf"], "run"],
  [["no-such-command"], "'no-such-command'"],
  [["--no-such-option"], "'--no-such-option'"],
  [["stop"], "'name'"],
  [["attach"], "'name'"],
  [["inspect"], "'name'"],
];

describe.skipIf(!hasKvm)(`a mistake is one line and exit code 2${NEEDS_KVM}`, { concurrent: true }, () => {
  it.each(mistakes.map(([args, said]) => ({ args, said, title: args.join(" ").replaceAll(scratch.folder, "...") })))(
    "vmm $title",
    async ({ args, said }) => {
      const { status, stdout, stderr } = await scratch.run(args);
      expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
      expect(stderr).toMatch(/^vmm: [^\n]+\n$/);
      if (typeof said === "string") expect(stderr).toContain(said);
      else expect(stderr).toMatch(said);
    },
  );
});

it("a mistake leaves no socket", () => {
  expect(existsSync(scratch.sockets) ? readdirSync(scratch.sockets) : []).toEqual([]);
});

const canBeNobody = process.getuid?.() === 0 && existsSync("/usr/bin/setpriv");

describe.skipIf(!hasKvm || !canBeNobody)(
  "somebody without rights (needs /dev/kvm, root and setpriv)",
  { concurrent: true },
  () => {
    const by = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    const folder = scratch.path("nobody");
    const env = scratch.env({ XDG_RUNTIME_DIR: folder, HOME: folder });

    it("is told in one line what to do about /dev/kvm", async () => {
      const { status, stdout, stderr } = await scratch.run(["run"], { by, env });
      expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
      expect(stderr).toMatch(/^vmm: [^\n]*\/dev\/kvm[^\n]*usermod -aG kvm[^\n]*\n$/);
    });

    it("is told the same by vmm doctor", async () => {
      const { status, stdout } = await scratch.run(["doctor"], { by, env });
      expect(status).toBe(1);
      expect(stdout).toMatch(/^wrong +\/dev\/kvm +permission denied: .*usermod -aG kvm/m);
    });

    it("is told of a kernel that only its owner may read", async () => {
      const secret = scratch.file("secret.elf", readFileSync(embeddedGuestPath()));
      chmodSync(secret, 0o600);
      chmodSync(scratch.folder, 0o755);
      // With the group of /dev/kvm, but not the file's.
      const group = ["setpriv", "--reuid", "65534", "--regid", "kvm", "--clear-groups"];
      const { status, stderr } = await scratch.run(["run", "--kernel", secret], { by: group, env });
      expect({ status, stderr }).toEqual({ status: 2, stderr: `vmm: --kernel ${secret}: permission denied\n` });
    });
  },
);

describe.skipIf(!hasKvm)(`a runtime folder${NEEDS_KVM}`, { concurrent: true }, () => {
  it("whose path is too long for a socket is named in one line", async () => {
    const { status, stderr } = await scratch.run(["run"], {
      env: scratch.env({ XDG_RUNTIME_DIR: scratch.path("x".repeat(120)) }),
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^vmm: [^\n]+\n$/);
  });

  it("that cannot be made is named in one line", async () => {
    const { status, stderr } = await scratch.run(["run"], { env: scratch.env({ XDG_RUNTIME_DIR: kernels.text }) });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^vmm: [^\n]+\n$/);
  });
});
