/**
 * The state in which a kernel is entered by Multiboot (0.6.96, 3.2) and by Xen's PVH (docs/misc/pvh.pandoc): 32-bit
 * protected mode, flat segments, paging and interrupts off.
 */
import { Regs, type Sregs, type Vcpu } from "@tools-kvm/kvm-binding";
import type { BootEntry } from "../boot/load.js";

const CR0_PE = 1n << 0n;
const CR0_ET = 1n << 4n;
/** The bit of RFLAGS that is always set. */
const RFLAGS_RESERVED = 2n;

/** Segment types (Intel SDM vol 3, 3.4.5.1 and 3.5). */
const CODE = { type: 0xb, selector: 0x08, s: 1, db: 1, g: 1, limit: 0xffff_ffff };
const DATA = { type: 0x3, selector: 0x10, s: 1, db: 1, g: 1, limit: 0xffff_ffff };
const TASK = { type: 0xb, selector: 0, s: 0, db: 0, g: 0, limit: 0x67 };

function segment(kind: typeof CODE) {
  return { ...kind, base: 0, present: 1, dpl: 0, l: 0, avl: 0, unusable: 0 };
}

/** Puts the boot processor where the kernel wants to be entered. */
export function enterKernel(vcpu: Vcpu, entry: BootEntry): void {
  const sregs = vcpu.getSregs();
  sregs.assign({
    cs: segment(CODE),
    ds: segment(DATA),
    es: segment(DATA),
    fs: segment(DATA),
    gs: segment(DATA),
    ss: segment(DATA),
    tr: segment(TASK),
    cr0: CR0_PE | CR0_ET,
    cr3: 0n,
    cr4: 0n,
    efer: 0n,
  });
  vcpu.setSregs(sregs);
  vcpu.setRegs(Regs.from({ rip: entry.rip, rax: entry.eax, rbx: entry.ebx, rflags: RFLAGS_RESERVED }));
}

/** Everything a crash report shows of one vCPU. */
export interface VcpuRegisters {
  readonly regs: Regs;
  readonly sregs: Sregs;
}
