import { BUCKET_COUNT, KVM_EXIT_IO, KVM_EXIT_X86_RDMSR } from "@tools-kvm/kvm-binding";
import { describe, expect, it } from "vitest";
import { exitRows } from "./exit-rows.js";

type Snapshot = Parameters<typeof exitRows>[0];
type Slot = Snapshot["vcpus"][number]["slots"][number];

/** A slot with `count` exits; the handler took long in `slow` of them. */
function slot(count: number, slow: number, more: Partial<Slot> = {}): Slot {
  const handlerHistogram = new Float64Array(BUCKET_COUNT);
  handlerHistogram[1] = count - slow;
  handlerHistogram[50] = slow;
  return {
    ...{ slot: 64, reason: KVM_EXIT_IO, direction: 2, device: "serial16550", detail: 0x3f8, count },
    ...{ kernelNs: count * 10, handlerNs: count * 4 },
    ...{ minKernelNs: 0, maxKernelNs: 0, minHandlerNs: 0, maxHandlerNs: 0 },
    ...{ kernelHistogram: new Float64Array(BUCKET_COUNT).fill(count, 3, 4), handlerHistogram },
    ...more,
  };
}

const snapshot = (...vcpus: Slot[][]): Snapshot => ({
  ...{ machineName: "t", pid: 1, createdNs: 0, takenNs: 0 },
  vcpus: vcpus.map((slots, id) => ({
    ...{ id, tid: 1, state: 1, currentSlot: 0, lastEnterNs: 0, lastExitNs: 0 },
    slots,
  })),
});

describe("the exit table", () => {
  it("has one row for a kind of exit on all vCPUs, the most frequent kind first", () => {
    const rare = slot(2, 0, { slot: 70, device: "", reason: KVM_EXIT_X86_RDMSR, direction: 0 });
    const rows = exitRows(snapshot([slot(10, 0), rare], [slot(30, 0)]));
    expect(rows.map(({ count }) => count)).toEqual([40, 2]);
    expect(rows[0]).toMatchObject({ reason: "IO", device: "serial16550", direction: "write", address: 0x3f8 });
    expect(rows[0]).toMatchObject({ kernelAvgNs: 10, handlerAvgNs: 4 });
    expect(rows[1]).toMatchObject({ reason: "X86_RDMSR", device: undefined, direction: undefined, address: undefined });
  });

  it("has the 99th percentile over all vCPUs: slow ones count from one in a hundred on", () => {
    const fast = exitRows(snapshot([slot(1000, 0)], [slot(1000, 10)]))[0]!.handlerP99Ns;
    const slow = exitRows(snapshot([slot(1000, 0)], [slot(1000, 30)]))[0]!.handlerP99Ns;
    expect(fast).toBeLessThan(5);
    expect(slow).toBeGreaterThan(40);
  });
});
