/** What is behind a guest's devices fails while it runs: the guest is told, the machine's owner hears one line, and all goes on. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, truncateSync } from "node:fs";
import { HANG_MS, hasKvm, NEEDS_KVM, type Process, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";

const scratch = new Scratch(VMM);
const mounted = scratch.path("small");
mkdirSync(mounted);
const canMount = spawnSync("mount", ["-t", "tmpfs", "-o", "size=200k", "small", mounted]).status === 0;
const canUnshare = spawnSync("unshare", ["--net", "ip", "link"]).status === 0;
const hasPasst = spawnSync("passt", ["--version"]).status === 0;
afterAll(async () => {
  if (canMount) spawnSync("umount", ["--lazy", mounted]);
  await scratch.close();
});
vi.setConfig({ testTimeout: 2 * HANG_MS });

const MIB = 2 ** 20;

/** What the guest answers to a command, without what differs from run to run. */
async function ask(machine: Process, command: string): Promise<string> {
  const before = machine.stdout.length;
  machine.type(`${command}\r`);
  await machine.until(/\n(blk|net): .*\r?\nkvm> $/, before);
  const [, answer] = /\n((?:blk|net): .*)\n/.exec(machine.stdout.slice(before).replaceAll("\r", ""))!;
  return answer!.replaceAll(/ (kicks|cycles)=\d+/g, "");
}

async function powerOff(machine: Process) {
  machine.type("poweroff\r");
  const { status, stderr } = await machine.ended;
  return { status, stderr: stderr.split("\n").slice(0, -1) };
}

const errorsOf = (answer: string): number => Number(/ errors=(\d+)/.exec(answer)![1]);

describe.skipIf(!hasKvm)(`a machine${NEEDS_KVM}`, { concurrent: true }, () => {
  it("whose disk's image is truncated", async () => {
    const disk = scratch.file("truncated.raw", new Uint8Array(MIB));
    const machine = await scratch.machine("truncated", ["--disk", `${disk},format=raw`]);
    expect(await ask(machine, "blk read 4096 8 256")).toBe("blk: kind=read bytes=4096 depth=8 requests=256 errors=0");
    truncateSync(disk, MIB / 2);
    expect(errorsOf(await ask(machine, "blk read 4096 8 256"))).toBe(128);
    truncateSync(disk, MIB);
    expect(errorsOf(await ask(machine, "blk read 4096 8 256"))).toBe(0);
    expect(await powerOff(machine)).toEqual({
      status: 0,
      stderr: [
        expect.stringMatching(/^vmm: truncated: virtio-blk0: EIO: .*truncated.raw ends at \d+ .*: it was truncated$/),
      ],
    });
  });

  it.skipIf(!canMount)("whose disk fills the host's file system (needs root, to mount a tmpfs)", async () => {
    const disk = `${mounted}/full.raw`;
    scratch.file("small/full.raw", "");
    truncateSync(disk, MIB);
    const machine = await scratch.machine("full", ["--disk", `${disk},format=raw`]);
    const answer = await ask(machine, "blk write 4096 8 256");
    expect(errorsOf(answer)).toBeGreaterThan(0);
    expect(errorsOf(answer)).toBeLessThan(256);
    // What was written stays, and the rest is a hole.
    expect(errorsOf(await ask(machine, "blk read 4096 8 256"))).toBe(0);
    expect(errorsOf(await ask(machine, "blk flush 512 1 1"))).toBe(0);
    expect(await powerOff(machine)).toEqual({
      status: 0,
      stderr: [expect.stringMatching(/^vmm: full: virtio-blk0: ENOSPC: no space left on device, write/)],
    });
  });

  it.skipIf(!canUnshare)("whose tap goes down and comes back (needs root, for a network namespace)", async () => {
    const setUp = "ip tuntap add dev tap0 mode tap; ip address add 10.99.0.1/24 dev tap0; ip link set tap0 up";
    const machine = await scratch.machine("tap", ["--net", "tap,name=tap0"], {
      keepsInput: true,
      by: ["unshare", "--net", "sh", "-ec", `${setUp}; exec "$@"`, "sh"],
    });
    const ip = (...args: string[]) =>
      expect(spawnSync("nsenter", [`--net=/proc/${machine.pid}/ns/net`, "ip", ...args]).status).toBe(0);
    const answered = "net: kind=echo bytes=42 depth=4 sent=20 answered=20 link=up";
    expect(await ask(machine, "net echo 4 20")).toBe(answered);
    ip("link", "set", "tap0", "down");
    expect(await ask(machine, "net send 60 4 100")).toBe("net: kind=send bytes=60 depth=4 sent=100 answered=0 link=up");
    ip("link", "set", "tap0", "up");
    expect(await ask(machine, "net echo 4 20")).toBe(answered);
    ip("link", "delete", "tap0");
    await machine.until("the link is down");
    expect(await ask(machine, "net send 60 4 100")).toContain("sent=100 answered=0 link=down");
    expect(await powerOff(machine)).toEqual({
      status: 0,
      stderr: [
        "vmm: tap: virtio-net0: tap0 is down: what the guest sends is lost until it is up again",
        "vmm: tap: virtio-net0: tap0 is up again",
        "vmm: tap: virtio-net0: the link is down",
      ],
    });
  });

  it.skipIf(!hasPasst)("whose passt is killed (needs passt)", async () => {
    const machine = await scratch.machine("passt", ["--net", "user"]);
    expect(await ask(machine, "net send 60 4 100")).toContain("sent=100 answered=0 link=up");
    const children = readFileSync(`/proc/${machine.pid}/task/${machine.pid}/children`, "latin1").trim().split(" ");
    for (const child of children) process.kill(Number(child), "SIGKILL");
    await machine.until("passt has ended");
    await machine.until("the link is down");
    expect(await ask(machine, "net send 60 4 100")).toContain("sent=100 answered=0 link=down");
    const { status, stderr } = await powerOff(machine);
    expect({ status, stderr: stderr.sort() }).toEqual({
      status: 0,
      stderr: [
        "vmm: passt has ended (by SIGKILL): the guest has no network",
        "vmm: passt: virtio-net0: the link is down",
      ],
    });
  });
});
