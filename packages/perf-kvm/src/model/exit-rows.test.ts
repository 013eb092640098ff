import { describe, expect, it } from "vitest";
import { exitRows } from "./exit-rows.js";
import { OTHER_RIPS } from "./rip-tally.js";

const KERNEL = -0x7f00_0000;
const row = (rip: number) => ({ source: "kvm_exit" as const, reason: "IOIO", detail: "", count: 1, rip });

describe("rows with the guest's instruction", () => {
  it("have its address, and its function where the guest's symbols are known", () => {
    const resolver = {
      resolve: (address: number) => {
        if (address === KERNEL) return { name: "native_io_delay", offset: 0 };
        return address < 0 ? { name: "xmit_skb", offset: 0x1a, module: "virtio_net" } : { why: "user space" };
      },
    };
    const rips = [KERNEL, -0x5fff_f000, 0x40_1000, OTHER_RIPS];
    const rows = exitRows(rips.map(row), { name: "demo", pid: 1 }, 1, resolver);
    expect(rows.map(({ rip, symbol }) => [rip, symbol])).toEqual([
      ["0xffffffff81000000", "native_io_delay"],
      ["0xffffffffa0001000", "virtio_net:xmit_skb+0x1a"],
      ["0x401000", null],
      ["other", null],
    ]);
    expect(rows[2]).toMatchObject({ why: "user space" });
    expect(exitRows(rips.map(row), { name: "demo", pid: 1 }, 1)[0]).toMatchObject({ symbol: null });
  });
});
