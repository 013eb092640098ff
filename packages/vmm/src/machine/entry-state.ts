/**
 * The state in which a kernel is entered. By Multiboot (0.6.96, 3.2) and by Xen's PVH (docs/misc/pvh.pandoc): 32-bit
 * protected mode, flat segments, paging and interrupts off. By Linux's 64-bit boot protocol (Linux,
 * Documentation/arch/x86/boot.rst): long mode, the first gigabytes mapped to themselves, interrupts off.
 */
import { Regs, type Sregs, type Vcpu } from "@tools-kvm/kvm-binding";
import { BOOT_CS, BOOT_DS } from "../boot/linux/boot-params.js";
import type { BootEntry, FlatEntry, LinuxEntry } from "../boot/load.js";

const CR0_PE = 1n << 0n;
const CR0_ET = 1n << 4n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
/** The bit of RFLAGS that is always set. */
const RFLAGS_RESERVED = 2n;

/** Segment types (Intel SDM vol 3, 3.4.5.1 and 3.5). */
const CODE = { type: 0xb, selector: 0x08, s: 1, db: 1, g: 1, limit: 0xffff_ffff };
const DATA = { type: 0x3, selector: 0x10, s: 1, db: 1, g: 1, limit: 0xffff_ffff };
const TASK = { type: 0xb, selector: 0, s: 0, db: 0, g: 0, limit: 0x67 };

function segment(kind: typeof CODE, more: { selector?: number; db?: number; l?: number } = {}) {
  return { ...kind, base: 0, present: 1, dpl: 0, l: 0, avl: 0, unusable: 0, ...more };
}

/** Puts the boot processor where the kernel wants to be entered. */
export function enterKernel(vcpu: Vcpu, entry: BootEntry): void {
  if (entry.protocol === "linux") enterLongMode(vcpu, entry);
  else enterProtectedMode(vcpu, entry);
}

function enterProtectedMode(vcpu: Vcpu, { rip, eax, ebx }: FlatEntry): void {
  const sregs = vcpu.getSregs();
  sregs.assign({
    ...flatSegments(segment(CODE), segment(DATA)),
    tr: segment(TASK),
    cr0: CR0_PE | CR0_ET,
    cr3: 0n,
    cr4: 0n,
    efer: 0n,
  });
  vcpu.setSregs(sregs);
  vcpu.setRegs(Regs.from({ rip, rax: eax, rbx: ebx, rflags: RFLAGS_RESERVED }));
}

function enterLongMode(vcpu: Vcpu, { rip, rsi, cr3, gdt }: LinuxEntry): void {
  const sregs = vcpu.getSregs();
  sregs.assign({
    ...flatSegments(segment(CODE, { selector: BOOT_CS, db: 0, l: 1 }), segment(DATA, { selector: BOOT_DS })),
    tr: segment(TASK),
    gdt: { base: gdt.gpa, limit: gdt.sizeBytes - 1 },
    cr0: CR0_PE | CR0_ET | CR0_PG,
    cr3: BigInt(cr3),
    cr4: CR4_PAE,
    efer: EFER_LME | EFER_LMA,
  });
  vcpu.setSregs(sregs);
  vcpu.setRegs(Regs.from({ rip, rsi, rflags: RFLAGS_RESERVED }));
}

function flatSegments<S>(code: S, data: S) {
  return { cs: code, ds: data, es: data, fs: data, gs: data, ss: data };
}

/** Everything a crash report shows of one vCPU. */
export interface VcpuRegisters {
  readonly regs: Regs;
  readonly sregs: Sregs;
}
