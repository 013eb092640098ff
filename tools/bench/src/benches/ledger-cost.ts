/**
 * What the exit ledger costs: `vcpu.run()` of the same guest with a ledger and without, in short stretches that
 * alternate, so that both meet the same machine. Prints `{"withNs":N,"withoutNs":N}`, nanoseconds an exit.
 *
 *   node ledger-cost.js STRETCHES
 */
import { ExitLedger, GuestMemory, KVM_EXIT_IO, Kvm, LedgerDirection } from "@tools-kvm/kvm-binding";
import { median } from "../runner.js";
import { ENTRY, singleGuest } from "./exits-guest.js";

const MEMORY_BYTES = 2 << 20;
const PORT = 0xe0;
/** Long enough to hide the two clock readings around it, short enough to fit between two interruptions. */
const EXITS_A_STRETCH = 100;
const WARM_UP_STRETCHES = 50;
const FOREVER = 0xffff_ffff;

const stretches = Number(process.argv[2]);
using kvm = Kvm.open();
using vm = kvm.createVm();
using memory = GuestMemory.create({ sizeBytes: MEMORY_BYTES, name: "bench" });
memory.bytes.set(singleGuest({ bus: "pio", address: PORT }, FOREVER), ENTRY);
vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
using vcpu = vm.createVcpu(0);
enterFlat();

using ledger = ExitLedger.create({
  machineName: "bench",
  vcpuIds: [0],
  slots: [{ reason: KVM_EXIT_IO, direction: LedgerDirection.out, detail: PORT, device: "bench" }],
});

function enterFlat(): void {
  const CODE = { type: 0xb, selector: 0x08 };
  const DATA = { type: 0x3, selector: 0x10 };
  const flat = (kind: typeof CODE) => ({ ...kind, base: 0, limit: 0xffff_ffff, s: 1, present: 1, db: 1, g: 1 });
  const sregs = vcpu.getSregs();
  const data = flat(DATA);
  sregs.assign({ cs: flat(CODE), ds: data, es: data, fs: data, gs: data, ss: data, cr0: sregs.cr0 | 1n });
  vcpu.setSregs(sregs);
  vcpu.setRegs({ rip: BigInt(ENTRY), rflags: 2n });
}

/** Nanoseconds an exit. */
function stretch(): number {
  const before = process.hrtime.bigint();
  for (let exit = 0; exit < EXITS_A_STRETCH; exit++) {
    if (vcpu.run() !== KVM_EXIT_IO) throw new Error("the guest left its loop");
  }
  return Number(process.hrtime.bigint() - before) / EXITS_A_STRETCH;
}

const withNs: number[] = [];
const withoutNs: number[] = [];
for (let done = -WARM_UP_STRETCHES; done < stretches; done++) {
  vcpu.useLedger(ledger);
  const accounted = stretch();
  vcpu.useLedger(null);
  const bare = stretch();
  if (done < 0) continue;
  withNs.push(accounted);
  withoutNs.push(bare);
}
process.stdout.write(`${JSON.stringify({ withNs: median(withNs), withoutNs: median(withoutNs) })}\n`);
