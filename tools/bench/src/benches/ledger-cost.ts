/**
 * What the exit ledger costs: `vcpu.run()` with a ledger and without, in short stretches that alternate, so that both
 * meet the same machine. Once with exits of a guest, whose own time varies by more than the ledger takes, and once with
 * a KVM_RUN that returns before it enters the guest. Prints `{"pioNs":N,"immediateNs":N}`, nanoseconds an exit.
 *
 *   node ledger-cost.js STRETCHES
 */
import {
  EINTR,
  ExitLedger,
  GuestMemory,
  KVM_EXIT_IO,
  Kvm,
  LedgerDirection,
  RUN_IMMEDIATE_EXIT,
} from "@tools-kvm/kvm-binding";
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

/** Nanoseconds a call of `run`. */
function stretch(run: () => void): number {
  const before = process.hrtime.bigint();
  for (let exit = 0; exit < EXITS_A_STRETCH; exit++) run();
  return Number(process.hrtime.bigint() - before) / EXITS_A_STRETCH;
}

/** What the ledger adds to a call of `run`: the median over pairs of stretches. */
function costNs(run: () => void): number {
  const differences: number[] = [];
  for (let done = -WARM_UP_STRETCHES; done < stretches; done++) {
    vcpu.useLedger(ledger);
    const accounted = stretch(run);
    vcpu.useLedger(null);
    const bare = stretch(run);
    if (done >= 0) differences.push(accounted - bare);
  }
  return median(differences);
}

const page = new Uint8Array(vcpu.runPage);
const pioNs = costNs(() => {
  if (vcpu.run() !== KVM_EXIT_IO) throw new Error("the guest left its loop");
});
const immediateNs = costNs(() => {
  page[RUN_IMMEDIATE_EXIT] = 1;
  if (vcpu.run() !== -EINTR) throw new Error("KVM entered the guest");
});
process.stdout.write(`${JSON.stringify({ pioNs, immediateNs })}\n`);
