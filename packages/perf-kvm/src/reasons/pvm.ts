/**
 * Exit reasons of kvm-pvm, the software KVM that runs a guest's kernel in user mode over shadow page tables
 * (arch/x86/kvm/pvm, the series of February 2024 and its successors). A guest leaves by an exception, an interrupt or
 * SYSCALL; what a SYSCALL meant is told by where it was executed. Where revisions number differently, a reason has all
 * its numbers, the series' first.
 */
import { ADVICE } from "./advice.js";
import { type Entry, type ExitReason, exceptionAliases, reason } from "./reason.js";

const SPECIFICATION = "Documentation/virt/kvm/x86/pvm-spec.rst of the PVM series";

const PAGE_TABLES = [
  "Every change of the guest's page tables goes through KVM's shadow of them: forks, memory maps and short processes cost most.",
];

/** Vectors, as the x86 architecture has them, and what kvm-pvm does with each. */
const EXCEPTIONS: Readonly<Record<number, readonly [mnemonic: string, text: Omit<Entry, "source">]>> = {
  0: ["DE", guestOnly("Divide error")],
  1: [
    "DB",
    {
      meaning: "Debug exception: a hardware breakpoint or a single step, for the VMM's debugger or the guest's own.",
      causes: ["A debugger, on either side."],
      tries: ["Detach it."],
    },
  ],
  2: ["NMI", { meaning: "A non-maskable interrupt of the host; it has been handled on the way out.", ...ADVICE.nmi }],
  3: [
    "BP",
    {
      meaning: "Breakpoint: INT3, for the VMM's debugger or the guest's own.",
      causes: ["A debugger; in a Linux guest also its own code patching (static keys, tracing)."],
      tries: ["Detach the debugger."],
    },
  ],
  4: ["OF", guestOnly("Overflow")],
  5: ["BR", guestOnly("Bound range exceeded")],
  6: [
    "UD",
    {
      meaning:
        "Invalid opcode. In the guest's kernel KVM looks whether it emulates the instruction; in its programs it is the guest's.",
      causes: [
        "A hypercall instruction of VMX or SVM, which are nothing here; BUG() and WARN() of a Linux guest, which are UD2.",
      ],
      tries: ["Look at the guest's log. Do not tell a guest of KVM's paravirtual features here: it would use VMCALL."],
    },
  ],
  7: ["NM", guestOnly("Device not available")],
  8: ["DF", { meaning: "Double fault: it belongs to the host and should never get here.", ...ADVICE.impossible }],
  10: ["TS", guestOnly("Invalid TSS")],
  11: ["NP", guestOnly("Segment not present")],
  12: ["SS", guestOnly("Stack fault")],
  13: [
    "GP",
    {
      meaning:
        "General protection: the guest's kernel executed a privileged instruction in user mode, and KVM emulates it.",
      causes: [
        "Privileged instructions that have no hypercall in the guest's kernel: MSR and control register accesses, HLT, port I/O, CPUID in its synthetic form.",
        "Kernels without PVM's paravirtual code, which leave so at each of them.",
      ],
      tries: [
        "A guest kernel with CONFIG_PVM_GUEST uses hypercalls. kvm_emulate_insn traces each emulated instruction.",
      ],
    },
  ],
  14: [
    "PF",
    {
      meaning:
        "Page fault. KVM fills its shadow page tables, writes what the guest wrote to its own, or gives the fault to the guest.",
      causes: [...PAGE_TABLES, "The first touch of memory; device registers, whose access KVM emulates."],
      tries: [
        "Huge pages in the guest: fewer entries to shadow. Fewer short processes (vfork, pre-forked servers).",
        "Look at pf_fixed, pf_emulate and mmu_shadow_zapped of KVM's statistics: `perf-kvm top --json`.",
      ],
    },
  ],
  16: ["MF", guestOnly("x87 floating-point error")],
  17: ["AC", guestOnly("Alignment check")],
  18: [
    "MC",
    {
      meaning: "Machine check of the host.",
      causes: ["Failing hardware."],
      tries: ["Read the host's machine-check log."],
    },
  ],
  19: ["XF", guestOnly("SIMD floating-point error")],
  20: [
    "VE",
    {
      meaning:
        "Virtualization exception: the host itself is a TDX guest. Not supported: KVM leaves to the VMM with KVM_EXIT_EXCEPTION.",
      causes: ["kvm-pvm inside a TDX guest."],
      tries: ["Keep the guest's memory private and accepted before it runs."],
    },
  ],
  29: [
    "VC",
    {
      meaning:
        "VMM communication exception: the host itself is an SEV-ES guest. Not supported: KVM leaves to the VMM with KVM_EXIT_EXCEPTION.",
      causes: ["kvm-pvm inside an SEV-ES guest."],
      tries: ["None on this host."],
    },
  ],
};

function guestOnly(name: string): Omit<Entry, "source"> {
  return {
    meaning: `${name}: the guest's own exception; KVM gives it to the guest's handler.`,
    causes: ["The guest's programs or kernel."],
    tries: ["As on real hardware: look in the guest."],
  };
}

const HYPERCALL_CAUSES = ["The guest's kernel asks for what user mode may not do: it is how PVM's kernels work."];

/** Reasons above the vectors: what the SYSCALL or the vector meant. */
const OTHERS: readonly (readonly [codes: readonly number[], name: string, text: Omit<Entry, "source">])[] = [
  [
    [1025],
    "FAILED_VMENTRY",
    {
      meaning: "KVM would not enter the guest: its state could not be run in user mode. It gets #GP.",
      causes: ["A kernel that left the address range PVM gave it, or segments that user mode may not load."],
      tries: ["Compare the guest's CS, RIP and page tables with the range in MSR_PVM_LINEAR_ADDRESS_RANGE."],
    },
  ],
  [
    [0x1_0000],
    "SYSCALL",
    {
      meaning:
        "A program of the guest made a system call; KVM switches to the guest's kernel. The switcher does most without KVM.",
      causes: [
        "The direct switch was not possible: an interrupt is pending, single-stepping, or the kernel's page tables are not ready.",
      ],
      tries: ["Many: look why direct switching is off. Fewer system calls help as they do everywhere, only more."],
    },
  ],
  [
    [0x2_0000],
    "HYPERCALL",
    {
      meaning: "The guest's kernel made a hypercall; RAX holds its number. Newer revisions name the known ones.",
      causes: HYPERCALL_CAUSES,
      tries: ["The number tells what for: page tables and TLB flushes grow with forks and context switches."],
    },
  ],
  [
    [0x2_0001],
    "HC_IRQ_WIN",
    hypercall(
      "lets a pending interrupt in, having enabled interrupts.",
      "Interrupts that came while it had them disabled.",
    ),
  ],
  [[0x2_0002], "HC_IRQ_HALT", { meaning: "The guest's kernel halts until the next interrupt.", ...ADVICE.hlt }],
  [
    [0x2_0003],
    "HC_LOAD_PGTBL",
    hypercall("loads other page tables: a switch of processes.", "Context switches between processes."),
  ],
  [
    [0x2_0004],
    "HC_TLB_FLUSH",
    hypercall("drops all translations.", "Changes of the kernel's own mappings: vmalloc, modules, eBPF."),
  ],
  [
    [0x2_0005],
    "HC_TLB_FLUSH_CURRENT",
    hypercall("drops the translations of the current page tables.", "munmap, mprotect and fork of large processes."),
  ],
  [
    [0x2_0006],
    "HC_TLB_INVLPG",
    hypercall("drops the translation of one page.", "munmap, page reclaim, copy on write."),
  ],
  [
    [0x2_0007],
    "HC_LOAD_GS",
    hypercall("loads the GS selector.", "32-bit programs, which use it; context switches to them."),
  ],
  [[0x2_0008], "HC_RDMSR", hypercall("reads a model-specific register.", "Timer, APIC and feature registers.")],
  [
    [0x2_0009],
    "HC_WRMSR",
    hypercall(
      "writes a model-specific register.",
      "The TSC deadline timer, interrupts to other vCPUs by x2APIC, the end of an interrupt.",
    ),
  ],
  [
    [0x2_000a],
    "HC_LOAD_TLS",
    hypercall("loads the thread-local segments.", "Context switches between 32-bit programs."),
  ],
  [
    [0x3_0000],
    "ERETU",
    {
      meaning:
        "The guest's kernel returns to one of its programs, by the synthetic instruction for it. The switcher does most without KVM.",
      causes: [
        "The direct switch was not possible: an interrupt is pending, single-stepping, or the program's page tables are not ready.",
      ],
      tries: ["As for SYSCALL."],
    },
  ],
  [
    [0x4_0000],
    "ERETS",
    {
      meaning:
        "The guest's kernel returns from an event to itself, by the synthetic instruction for it. Newer revisions have none.",
      causes: ["Interrupts and exceptions that came while its kernel ran."],
      tries: ["Fewer interrupts: coalescing in drivers, a lower CONFIG_HZ."],
    },
  ],
  [
    [0x5_0000, 0x4_0000],
    "INTERRUPT",
    { meaning: "An interrupt for the host came while the guest ran.", ...ADVICE.externalInterrupt },
  ],
  [
    [0x6_0000, 0x5_0000],
    "INT80",
    {
      meaning: "A 32-bit program of the guest made a system call by INT 0x80; KVM gives it to the guest's kernel.",
      causes: ["32-bit programs."],
      tries: ["64-bit programs: their SYSCALL is switched without KVM."],
    },
  ],
];

function hypercall(what: string, cause: string): Omit<Entry, "source"> {
  return {
    meaning: `Hypercall: the guest's kernel ${what}`,
    causes: [...HYPERCALL_CAUSES, cause],
    tries: ["Less of what causes it, in the guest; nothing on the host helps."],
  };
}

export const PVM_REASONS: readonly ExitReason[] = [
  ...Object.entries(EXCEPTIONS).map(([vector, [mnemonic, text]]) =>
    reason("pvm", Number(vector), `EXCEPTION_${vector}`, {
      aliases: exceptionAliases(mnemonic),
      ...text,
      meaning: `#${mnemonic}. ${text.meaning}`,
      source: SPECIFICATION,
    }),
  ),
  ...OTHERS.map(([codes, name, text]) => reason("pvm", codes, name, { ...text, source: SPECIFICATION })),
];
