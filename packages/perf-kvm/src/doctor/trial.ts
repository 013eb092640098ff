/** A guest of twenty-one bytes that leaves in every way the profiler counts, and which of KVM's tracepoints noticed. */
import {
  GuestMemory,
  KVM_EXIT_HLT,
  Kvm,
  PERF_SAMPLE_RAW,
  PERF_TYPE_TRACEPOINT,
  PerfEvent,
  StatsFd,
} from "@tools-kvm/kvm-binding";
import { kvmTraceFormat } from "../sources/trace-format.js";

/** The tracepoints that the profiler knows, in the order in which they matter. */
export const TRACEPOINTS = [
  "kvm_exit",
  "kvm_entry",
  "kvm_userspace_exit",
  "kvm_pio",
  "kvm_mmio",
  "kvm_msr",
  "kvm_cpuid",
  "kvm_page_fault",
  "kvm_vcpu_wakeup",
  "kvm_emulate_insn",
] as const;
export type Tracepoint = (typeof TRACEPOINTS)[number];

/** What one tracepoint did: it fired so often, it is not there, or it could not be opened. */
export type Firing =
  | { readonly state: "fired"; readonly count: number }
  | { readonly state: "absent" }
  | { readonly state: "refused"; readonly why: string };

export interface Trial {
  readonly firings: ReadonlyMap<Tracepoint, Firing>;
  /** Counters in the VM's and the vCPU's statistics; 0 where KVM has no such descriptors. */
  readonly counters: number;
  /** Why a statistics descriptor could not be taken from a process by pidfd_getfd(2); empty when it could. */
  readonly takeRefused: string;
}

const CODE_ADDRESS = 0x1000;
/** Real mode, up to where a PC's memory ends: above it, at 0xa0000, is nothing, which makes memory-mapped I/O. */
const MEMORY_BYTES = 0xa_0000;
const CODE = [
  ...[0xe6, 0x80], //                               out 0x80, al
  ...[0x66, 0xb9, 0x8b, 0x00, 0x00, 0x00], //       mov ecx, 0x8b (the microcode's revision)
  ...[0x0f, 0x32], //                               rdmsr
  ...[0x0f, 0xa2], //                               cpuid
  ...[0xb8, 0x00, 0xa0, 0x8e, 0xd8], //             mov ax, 0xa000; mov ds, ax
  ...[0xa2, 0x00, 0x00], //                         mov [0], al
  0xf4, //                                          hlt
];
/** The guest leaves three times: by a port, a device's address, a halt. */
const MAXIMUM_EXITS = 8;

/** Runs the guest. Throws KvmError when /dev/kvm cannot be used, Error when the guest ends in another way than it should. */
export function runTrial(): Trial {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  using memory = GuestMemory.create({ sizeBytes: MEMORY_BYTES });
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
  using vcpu = vm.createVcpu(0);
  memory.bytes.set(CODE, CODE_ADDRESS);
  const sregs = vcpu.getSregs();
  sregs.cs.assign({ base: 0, selector: 0 });
  vcpu.setSregs(sregs);
  vcpu.setRegs({ rip: BigInt(CODE_ADDRESS), rflags: 2n });

  const opened = new Map(TRACEPOINTS.map((name) => [name, openCounter(name)]));
  try {
    let reason = -1;
    for (let exits = 0; reason !== KVM_EXIT_HLT; exits++) {
      if (exits === MAXIMUM_EXITS) throw new Error(`the trial guest left by exit ${reason} and never halted`);
      reason = vcpu.run();
    }
    const firings = new Map(TRACEPOINTS.map((name) => [name, firingOf(opened.get(name)!)]));
    return { firings, ...tryStats(() => [vm.getStatsFd(), vcpu.getStatsFd()]) };
  } finally {
    for (const event of opened.values()) if (event instanceof PerfEvent) event.close();
  }
}

function openCounter(name: Tracepoint): PerfEvent | Firing {
  const format = kvmTraceFormat(name);
  if (format === undefined) return { state: "absent" };
  try {
    // Raw samples are what the profiler asks for: a plain count may be allowed where they are not.
    const attr = { type: PERF_TYPE_TRACEPOINT, config: format.id, samplePeriod: 1, sampleType: PERF_SAMPLE_RAW };
    return PerfEvent.open(attr, { pid: 0, cpu: -1 });
  } catch (error) {
    return { state: "refused", why: (error as Error).message };
  }
}

function firingOf(event: PerfEvent | Firing): Firing {
  return event instanceof PerfEvent ? { state: "fired", count: event.read().value } : event;
}

function tryStats(open: () => StatsFd[]): Pick<Trial, "counters" | "takeRefused"> {
  let own: StatsFd[];
  try {
    own = open();
  } catch {
    return { counters: 0, takeRefused: "" };
  }
  try {
    const counters = own.reduce((sum, { descriptors }) => sum + descriptors.length, 0);
    const found = StatsFd.find(process.pid);
    try {
      if (found.length > 0) StatsFd.take(process.pid, found[0]!.fd).close();
      return { counters, takeRefused: "" };
    } catch (error) {
      return { counters, takeRefused: (error as Error).message };
    }
  } finally {
    for (const fd of own) fd.close();
  }
}
