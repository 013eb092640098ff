/**
 * Small guests that ask this host's KVM one question each: a few bytes of code that halt when all went well.
 * What they find decides which guests the host can run.
 */
import {
  GuestMemory,
  KVM_EXIT_HLT,
  KVM_EXIT_IO,
  type Kvm,
  monotonicNs,
  Regs,
  type Sregs,
  type Vcpu,
} from "@tools-kvm/kvm-binding";
import { exitReasonName } from "../machine/exit-name.js";

export interface ProbeResult {
  readonly name: string;
  readonly ok: boolean;
  /** What happened when it did not go well. */
  readonly found: string;
  /** What that means for guests, and what to do. */
  readonly meaning: string;
}

/** `user` is long mode at CPL3 with IOPL 3, so that it may use ports. */
type Mode = "real" | "protected" | "protected-paged" | "long" | "user";

interface Probe {
  readonly name: string;
  readonly mode: Mode;
  /** Machine code. It ends with HLT, at CPL3 with a port, and RAX is then checked against `expectRax` if that is given. */
  readonly code: readonly number[];
  readonly expectRax?: bigint;
  readonly meaning: string;
  /** Further preparation of guest memory. */
  readonly prepare?: (memory: Uint8Array) => void;
}

const HLT = 0xf4;
/** out 0x80, al */
const OUT = [0xe6, 0x80];
const CODE = 0x1000;
const STACK = 0x8000;
const PAGE_TABLES = 0x1_0000;
const INTERRUPT_TABLE = 0x2_0000;
const DESCRIPTOR_TABLE = 0x2_2000;
const CODE_SELECTOR = 0x8;
const RFLAGS = { RESERVED: 2, IOPL3: 3 << 12 } as const;
const MEMORY_BYTES = 0x20_0000;
/** What the probe of CPUID puts into EAX of leaf 0x40000000. */
const CPUID_MARK = 0x4000_0abc;
const INTERRUPT_MARK = 0x1234;

const PROBES: readonly Probe[] = [
  { name: "real mode", mode: "real", code: [HLT], meaning: "firmware that starts in real mode cannot run" },
  {
    name: "32-bit protected mode",
    mode: "protected",
    code: [HLT],
    meaning: "multiboot and PVH kernels cannot be entered",
  },
  {
    name: "32-bit paging",
    mode: "protected-paged",
    code: [HLT],
    meaning: "32-bit kernels cannot run; use 64-bit ones",
  },
  { name: "64-bit long mode", mode: "long", code: [HLT], meaning: "64-bit kernels cannot run" },
  {
    name: "CPUID as the machine sets it, at CPL0",
    mode: "long",
    // mov eax, 0x40000000; cpuid; hlt
    code: [0xb8, 0x00, 0x00, 0x00, 0x40, 0x0f, 0xa2, HLT],
    expectRax: BigInt(CPUID_MARK),
    meaning: "guests see the host's own CPUID: distribution kernels may use what KVM here does not emulate",
  },
  {
    name: "CPUID as the machine sets it, at CPL3",
    mode: "user",
    // mov eax, 0x40000000; cpuid; out 0x80, al
    code: [0xb8, 0x00, 0x00, 0x00, 0x40, 0x0f, 0xa2, ...OUT],
    expectRax: BigInt(CPUID_MARK),
    meaning: "programs in the guest see the host's own CPUID, and what it promises",
  },
  {
    name: "software interrupts (int n), 64-bit",
    mode: "long",
    // int 0x20; hlt
    code: [0xcd, 0x20, HLT],
    expectRax: BigInt(INTERRUPT_MARK),
    meaning: "kernels that use int 0x80 or int3 at CPL0 stop with an internal error of KVM",
    prepare(memory) {
      const handler = 0x2000;
      // A present 64-bit interrupt gate (Intel SDM vol 3, figure 7-8).
      memory.set([handler & 0xff, handler >> 8, CODE_SELECTOR, 0, 0, 0x8e], INTERRUPT_TABLE + 0x20 * 16);
      // mov eax, 0x1234; hlt
      memory.set([0xb8, INTERRUPT_MARK & 0xff, INTERRUPT_MARK >> 8, 0, 0, HLT], handler);
    },
  },
  {
    name: "software interrupts (int n), real mode",
    mode: "real",
    // int 0x20; hlt
    code: [0xcd, 0x20, HLT],
    expectRax: BigInt(INTERRUPT_MARK),
    meaning: "boot loaders and firmware that call a BIOS cannot run",
    prepare(memory) {
      const handler = 0x2000;
      memory.set([handler & 0xff, handler >> 8, 0, 0], 0x20 * 4);
      // mov ax, 0x1234; hlt
      memory.set([0xb8, INTERRUPT_MARK & 0xff, INTERRUPT_MARK >> 8, HLT], handler);
    },
  },
  {
    name: "popcnt at CPL0",
    mode: "long",
    // mov ecx, 7; popcnt eax, ecx; hlt
    code: [0xb9, 0x07, 0x00, 0x00, 0x00, 0xf3, 0x0f, 0xb8, 0xc1, HLT],
    expectRax: 3n,
    meaning: "kernels built for newer processors stop with an internal error of KVM",
  },
  {
    name: "cmpxchg16b at CPL0",
    mode: "long",
    // xor eax,eax; xor edx,edx; mov edi, 0x3000; cmpxchg16b [rdi]; hlt
    code: [0x31, 0xc0, 0x31, 0xd2, 0xbf, 0x00, 0x30, 0x00, 0x00, 0x48, 0x0f, 0xc7, 0x0f, HLT],
    expectRax: 0n,
    meaning: "Linux's allocator uses it: distribution kernels stop with an internal error of KVM",
  },
];

/** Runs every probe; each has a VM of its own, so that one that goes wrong does not spoil the next. */
export function runProbes(kvm: Kvm): ProbeResult[] {
  return PROBES.map((probe) => {
    try {
      return inGuest(kvm, probe.mode, probe.code, (vcpu, memory) => {
        probe.prepare?.(memory);
        const reason = vcpu.run();
        const { rax } = vcpu.getRegs();
        if (reason !== (probe.mode === "user" ? KVM_EXIT_IO : KVM_EXIT_HLT))
          return result(probe, `exit ${exitReasonName(reason)}`);
        if (probe.expectRax !== undefined && rax !== probe.expectRax) {
          return result(probe, `the guest saw 0x${rax.toString(16)}, not 0x${probe.expectRax.toString(16)}`);
        }
        return result(probe, "");
      });
    } catch (error) {
      return result(probe, (error as Error).message);
    }
  });
}

function result({ name, meaning }: Probe, found: string): ProbeResult {
  return { name, ok: found === "", found, meaning };
}

/** How many PIO exits one vCPU makes a second, measured over `milliseconds`. */
export function pioExitsPerSecond(kvm: Kvm, milliseconds: number): number {
  // out 0x80, al; jmp back
  return inGuest(kvm, "long", [0xe6, 0x80, 0xeb, 0xfc], (vcpu) => {
    const start = monotonicNs();
    const end = start + milliseconds * 1e6;
    let exits = 0;
    let now = start;
    while (now < end) {
      if (vcpu.run() !== KVM_EXIT_IO) throw new Error("the guest left for another reason than its port");
      exits++;
      now = monotonicNs();
    }
    return exits / ((now - start) / 1e9);
  });
}

function inGuest<T>(kvm: Kvm, mode: Mode, code: readonly number[], use: (vcpu: Vcpu, memory: Uint8Array) => T): T {
  using vm = kvm.createVm();
  using memory = GuestMemory.create({ sizeBytes: MEMORY_BYTES, name: "tools-kvm-probe" });
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
  using vcpu = vm.createVcpu(0);
  vcpu.setCpuid2(
    kvm.getSupportedCpuid().map((entry) => (entry.function === 0x4000_0000 ? { ...entry, eax: CPUID_MARK } : entry)),
  );
  memory.bytes.set(code, CODE);
  const sregs = vcpu.getSregs();
  enterMode(sregs, mode, memory.bytes);
  vcpu.setSregs(sregs);
  vcpu.setRegs(Regs.from({ rip: CODE, rsp: STACK, rflags: RFLAGS.RESERVED | (mode === "user" ? RFLAGS.IOPL3 : 0) }));
  return use(vcpu, memory.bytes);
}

const CR0_PE = 1n;
const CR0_PG = 1n << 31n;
const CR4_PSE = 1n << 4n;
const CR4_PAE = 1n << 5n;
const EFER_LME_LMA = (1n << 8n) | (1n << 10n);
/** Present, writable, open to CPL3. */
const PAGE = 0x7;
const LARGE_PAGE = 0x80;

function enterMode(sregs: Sregs, mode: Mode, memory: Uint8Array): void {
  const tables = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  const dpl = mode === "user" ? 3 : 0;
  const flat = { base: 0, limit: 0xffff_ffff, present: 1, dpl, s: 1, g: 1, avl: 0, unusable: 0 };
  if (mode === "real") {
    sregs.assign({ cs: { base: 0, selector: 0 }, ds: { base: 0, selector: 0 }, ss: { base: 0, selector: 0 } });
    return;
  }
  const long = mode === "long" || mode === "user";
  const data = { ...flat, type: 0x3, selector: 0x10 | dpl, db: 1, l: 0 };
  sregs.assign({
    cs: { ...flat, type: 0xb, selector: CODE_SELECTOR | dpl, db: long ? 0 : 1, l: long ? 1 : 0 },
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    cr0: sregs.cr0 | CR0_PE,
  });
  // What the handler of an interrupt is entered with: the flat 64-bit code segment.
  tables.setBigUint64(DESCRIPTOR_TABLE + CODE_SELECTOR, 0x00af_9b00_0000_ffffn, true);
  sregs.assign({ gdt: { base: DESCRIPTOR_TABLE, limit: 0x17 }, idt: { base: INTERRUPT_TABLE, limit: 0xfff } });
  if (mode === "protected-paged") {
    tables.setUint32(PAGE_TABLES, PAGE | LARGE_PAGE, true);
    sregs.assign({ cr3: PAGE_TABLES, cr4: CR4_PSE, cr0: sregs.cr0 | CR0_PG });
  } else if (long) {
    tables.setBigUint64(PAGE_TABLES, BigInt((PAGE_TABLES + 0x1000) | PAGE), true);
    tables.setBigUint64(PAGE_TABLES + 0x1000, BigInt((PAGE_TABLES + 0x2000) | PAGE), true);
    tables.setBigUint64(PAGE_TABLES + 0x2000, BigInt(PAGE | LARGE_PAGE), true);
    sregs.assign({ cr3: PAGE_TABLES, cr4: CR4_PAE, efer: EFER_LME_LMA, cr0: sregs.cr0 | CR0_PG });
  }
}
