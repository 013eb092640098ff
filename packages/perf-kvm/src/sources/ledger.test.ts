import { ExitLedger, GuestMemory, Kvm, LedgerDirection } from "@tools-kvm/kvm-binding";
import { hasKvm, NEEDS_KVM } from "tools-testing";
import { describe, expect, it } from "vitest";
import { LedgerSource } from "./ledger.js";

const SLOT = { reason: 2, direction: LedgerDirection.out, detail: 0xe0, device: "latch" };

describe.skipIf(!hasKvm)(`the ledger as a source${NEEDS_KVM}`, () => {
  it("gives what has happened since it was looked at last, to the exit", () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    using memory = GuestMemory.create({ sizeBytes: 1 << 20 });
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
    memory.bytes.set([0xe6, 0xe0, 0xeb, 0xfc], 0x1000); // out 0xe0, al; jmp back
    using vcpu = vm.createVcpu(0);
    const sregs = vcpu.getSregs();
    sregs.cs.assign({ base: 0, selector: 0 });
    vcpu.setSregs(sregs);
    vcpu.setRegs({ rip: 0x1000n, rflags: 2n });
    using writer = ExitLedger.create({ machineName: "test", vcpuIds: [0], slots: [SLOT] });
    vcpu.useLedger(writer);
    const currentSlot = writer.currentSlot(0);
    const exits = (count: number): void => {
      for (let i = 0; i < count; i++) {
        vcpu.run();
        currentSlot[0] = 64;
      }
    };

    exits(10);
    const source = new LedgerSource(ExitLedger.openPid(process.pid)[0]!);
    expect(source.collect()).toEqual([]);
    exits(25);
    // An exit is written down when the next one comes: its handler ends there.
    const rows = source.collect();
    expect(rows).toMatchObject([{ source: "ledger", reason: "IO", detail: "0xe0 out", device: "latch", count: 25 }]);
    const [{ handler, spentNs }] = rows as [(typeof rows)[0]];
    expect(handler!.histogram.reduce((a, b) => a + b)).toBe(25);
    expect(spentNs).toBe(handler!.sumNs);
    expect(source.collect()).toEqual([]);
    source.close();
  });
});
