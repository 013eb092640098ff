/** The virtio devices under load, driven by the embedded guest on this host's KVM. */
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { commands } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

/** What the guest said, without what differs from run to run. */
const saidBy = (stdout: string): string[] =>
  stdout
    .replaceAll("\r", "")
    .replaceAll(/ (kicks|cycles)=\d+/g, "")
    .split("\n")
    .slice(0, -1);

describe.skipIf(!hasKvm)(`a guest${NEEDS_KVM}`, { concurrent: true }, () => {
  it.each(["split", "packed"])(
    "reads, writes and flushes its disk, many requests at once (%s rings)",
    async (rings) => {
      const disk = scratch.file(`${rings}.raw`, new Uint8Array(2 ** 20));
      const list = [
        "blk randwrite 4096 16 500",
        "blk flush 512 1 2",
        "blk read 65536 32 300",
        "blk randread 4096 1 200",
      ];
      const { stdout, stderr } = await scratch.run([
        ...["run", "--disk", disk, "--virtio-rings", rings, "--append", commands(...list, "poweroff")],
      ]);
      expect({ said: saidBy(stdout), stderr }).toEqual({
        said: [
          "blk: kind=randwrite bytes=4096 depth=16 requests=500 errors=0",
          "blk: kind=flush bytes=512 depth=1 requests=2 errors=0",
          "blk: kind=read bytes=65536 depth=32 requests=300 errors=0",
          "blk: kind=randread bytes=4096 depth=1 requests=200 errors=0",
        ],
        stderr: "",
      });
    },
  );

  it("is given no more requests a second than its disk's limit says", async () => {
    const disk = scratch.file("limited.raw", new Uint8Array(2 ** 20));
    const start = performance.now();
    const { stdout, stderr } = await scratch.run([
      ...["run", "--disk", `${disk},iops=40,bps=1M,burst=0.05`],
      ...["--append", commands("blk randread 4096 4 30", "poweroff")],
    ]);
    // Two at once, and 28 at 40 a second.
    expect(performance.now() - start).toBeGreaterThanOrEqual(700);
    expect({ said: saidBy(stdout), stderr }).toEqual({
      said: ["blk: kind=randread bytes=4096 depth=4 requests=30 errors=0"],
      stderr: "",
    });
  });
});
