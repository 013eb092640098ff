/** SVM exit codes: AMD APM volume 2, appendix C, with KVM's use of each (arch/x86/kvm/svm), and those of the GHCB. */
import { ADVICE } from "./advice.js";
import { type Entry, type ExitReason, exceptionAliases, reason, reasons } from "./reason.js";

const APM = {
  cr: "AMD APM volume 2, 15.8, Decode Assists; 15.9, Instruction Intercepts",
  instruction: "AMD APM volume 2, 15.9, Instruction Intercepts",
  io: "AMD APM volume 2, 15.10, IOIO Intercepts",
  msr: "AMD APM volume 2, 15.11, MSR Intercepts",
  exception: "AMD APM volume 2, 15.12, Exception Intercepts",
  interrupt: "AMD APM volume 2, 15.13, Interrupt Intercepts",
  other: "AMD APM volume 2, 15.14, Miscellaneous Intercepts",
  npf: "AMD APM volume 2, 15.25.6, Nested versus Guest Page Faults",
  avic: "AMD APM volume 2, 15.29, Advanced Virtual Interrupt Controller",
  seves: "AMD APM volume 2, 15.35, Encrypted State (SEV-ES)",
  ghcb: "AMD SEV-ES Guest-Hypervisor Communication Block Standardization",
  codes: "AMD APM volume 2, appendix C, SVM Intercept Exit Codes",
} as const;

const NESTED_INSTRUCTION = "The guest executed an instruction of SVM itself";
const NO_SUCH_REGISTER = "The architecture has no such register: the access is #UD, and this code never comes.";

const CR_NOTES: Readonly<Record<number, string>> = {
  0: "CR0 holds the mode of the processor: paging, protection, write protection, the FPU's TS.",
  2: "CR2 is the address of the last page fault.",
  3: "CR3 is the root of the page tables: intercepted without nested paging alone, and then at each switch of processes.",
  4: "CR4 switches extensions on and off; KVM must know, since what CPUID tells depends on it.",
  8: "CR8 is the task priority of the local APIC: 64-bit Windows writes it often. AVIC or the virtual TPR takes it over.",
};

const CR = {
  causes: [
    "CR0 and CR4 at boot and at changes of mode; CR8 where the virtual task priority does not do.",
    "CR3 without nested paging: each switch of the guest's processes.",
  ],
  tries: [
    "Switch nested paging on (kvm_amd.npt=1) and AVIC (kvm_amd.avic=1). The kvm_cr tracepoint names register and value.",
  ],
};

const DR: Omit<Entry, "meaning"> = {
  source: APM.cr,
  causes: [
    "The first access after KVM took the debug registers back: then the guest has them until its thread is scheduled out.",
    "The VMM debugs the guest by hardware breakpoints (KVM_SET_GUEST_DEBUG).",
  ],
  tries: ["A debugger or profiler with breakpoints in the guest: end it. A few at boot are usual."],
};

const drNote = (n: number): string =>
  n < 4
    ? "The address of a breakpoint."
    : n === 6
      ? "Which breakpoint was met."
      : n === 7
        ? "Which breakpoints are on, and on what."
        : n < 6
          ? "An alias of DR6 or DR7 while CR4.DE is clear."
          : NO_SUCH_REGISTER;

/** Vectors of exceptions (AMD APM volume 2, 8.2), and why KVM would ask for each. */
const VECTORS: Readonly<Record<number, readonly [mnemonic: string, note: string]>> = {
  0: ["DE", "Divide error. KVM leaves it to the guest."],
  1: ["DB", "Debug: intercepted while a debugger is attached, or to step over an NMI's end (IRET)."],
  2: ["NMI", "The vector of NMI, which has an exit of its own (0x61)."],
  3: ["BP", "Breakpoint (INT3): intercepted while a debugger uses software breakpoints."],
  4: ["OF", "Overflow (INTO). KVM leaves it to the guest."],
  5: ["BR", "Bound range exceeded. KVM leaves it to the guest."],
  6: ["UD", "Invalid opcode: KVM emulates what the processor lacks, above all another vendor's VMCALL."],
  7: ["NM", "Device not available: KVM no longer switches the FPU lazily, so it leaves it to the guest."],
  8: ["DF", "Double fault. KVM leaves it to the guest."],
  10: ["TS", "Invalid TSS. KVM leaves it to the guest."],
  11: ["NP", "Segment not present. KVM leaves it to the guest."],
  12: ["SS", "Stack fault. KVM leaves it to the guest."],
  13: [
    "GP",
    "General protection: intercepted for VMware's backdoor ports (kvm.enable_vmware_backdoor) and for an erratum of SVM's instructions.",
  ],
  14: ["PF", "Page fault: without nested paging KVM's shadow page tables live by it."],
  16: ["MF", "x87 floating-point error. KVM leaves it to the guest."],
  17: ["AC", "Alignment check: always intercepted, since an endless chain of them would hang the processor."],
  18: ["MC", "Machine check: the host's hardware reports an error."],
  19: ["XF", "SIMD floating-point error. KVM leaves it to the guest."],
  21: ["CP", "Control protection: shadow stack. KVM leaves it to the guest."],
  28: ["HV", "Hypervisor injection, of SEV-SNP."],
  29: ["VC", "VMM communication: an SEV-ES guest handles it itself."],
  30: ["SX", "Security-sensitive event."],
};

const EXCEPTION: Omit<Entry, "meaning"> = {
  source: APM.exception,
  causes: [
    "KVM asked for this vector: it needs it to emulate, to debug or to protect the host (see the vectors).",
    "With nested paging and no debugger, only #UD, #AC and #MC are asked for.",
  ],
  tries: [
    "#PF in numbers: switch nested paging on (kvm_amd.npt=1). #DB and #BP: detach the debugger. #MC: read the host's log.",
  ],
};

const range = <T>(count: number, of: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => of(index));

function controlRegisters(base: number, access: "READ" | "WRITE"): ExitReason[] {
  return range(16, (n) =>
    reason("svm", base + n, `CR${n}_${access}`, {
      ...CR,
      source: APM.cr,
      aliases: [`${access}_CR${n}`],
      family: `CR0_${access} to CR15_${access}`,
      meaning:
        access === "READ"
          ? "The guest read a control register that KVM keeps."
          : "The guest wrote a control register that KVM keeps.",
      note: CR_NOTES[n] ?? NO_SUCH_REGISTER,
    }),
  );
}

function debugRegisters(base: number, access: "READ" | "WRITE"): ExitReason[] {
  return range(16, (n) =>
    reason("svm", base + n, `DR${n}_${access}`, {
      ...DR,
      aliases: [`${access}_DR${n}`],
      family: `DR0_${access} to DR15_${access}`,
      meaning: access === "READ" ? "The guest read a debug register." : "The guest wrote a debug register.",
      note: drNote(n),
    }),
  );
}

function exceptions(): ExitReason[] {
  return range(32, (n) => {
    const [mnemonic, note] = VECTORS[n] ?? ["", "The vector is reserved: this code never comes."];
    return reason("svm", 0x40 + n, `EXCEPTION_${n}`, {
      ...EXCEPTION,
      aliases: exceptionAliases(mnemonic),
      family: "EXCEPTION_0 to EXCEPTION_31",
      meaning:
        "The guest raised an exception that KVM asked for. EXITINFO1 holds the error code, and for #PF EXITINFO2 the address.",
      note: mnemonic === "" ? note : `#${mnemonic}. ${note}`,
    });
  });
}

function writeTraps(): ExitReason[] {
  return range(16, (n) =>
    reason("svm", 0x90 + n, `CR${n}_WRITE_TRAP`, {
      source: APM.seves,
      aliases: [`WRITE_CR${n}_TRAP`],
      family: "CR0_WRITE_TRAP to CR15_WRITE_TRAP",
      meaning:
        "An SEV-ES guest wrote a control register. The write is done; KVM only learns of it, since it cannot see the registers.",
      note: n === 0 || n === 4 || n === 8 ? (CR_NOTES[n] as string) : "KVM does not ask for this one.",
      causes: ["The guest changes its mode at boot; CR8 for its interrupts' priority."],
      tries: ["None needed: few, and KVM does little for each."],
    }),
  );
}

export const SVM_REASONS: readonly ExitReason[] = [
  ...controlRegisters(0x00, "READ"),
  ...controlRegisters(0x10, "WRITE"),
  ...debugRegisters(0x20, "READ"),
  ...debugRegisters(0x30, "WRITE"),
  ...exceptions(),
  ...reasons("svm", {
    "0x60 INTR": {
      source: APM.interrupt,
      aliases: ["INTERRUPT"],
      meaning: "An interrupt for the host arrived while the guest ran; the host handles it before the guest goes on.",
      ...ADVICE.externalInterrupt,
    },
    "0x61 NMI": { source: APM.interrupt, meaning: "A non-maskable interrupt of the host came.", ...ADVICE.nmi },
    "0x62 SMI": { source: APM.interrupt, meaning: "A system-management interrupt came.", ...ADVICE.smi },
    "0x63 INIT": {
      source: APM.interrupt,
      meaning: "An INIT signal arrived at the physical processor.",
      ...ADVICE.init,
    },
    "0x64 VINTR": {
      source: APM.interrupt,
      meaning: "The guest can take a virtual interrupt now, and KVM had one waiting: its interrupt window.",
      ...ADVICE.interruptWindow,
    },
    "0x65 CR0_SEL_WRITE": {
      source: APM.instruction,
      meaning: "The guest wrote CR0 and changed more than TS and MP: the selective intercept.",
      causes: ["Changes of mode: boot, a nested guest's entry, kernels that clear CR0.WP to patch themselves."],
      tries: ["Few are usual. Many: the RIP tells who toggles CR0."],
    },
    "0x66 IDTR_READ": {
      source: APM.instruction,
      aliases: ["READ_IDTR"],
      meaning: "The guest executed SIDT.",
      ...ADVICE.descriptorTable,
    },
    "0x67 GDTR_READ": {
      source: APM.instruction,
      aliases: ["READ_GDTR"],
      meaning: "The guest executed SGDT.",
      ...ADVICE.descriptorTable,
    },
    "0x68 LDTR_READ": {
      source: APM.instruction,
      aliases: ["READ_LDTR"],
      meaning: "The guest executed SLDT.",
      ...ADVICE.descriptorTable,
    },
    "0x69 TR_READ": {
      source: APM.instruction,
      aliases: ["READ_TR", "READ_RT"],
      meaning: "The guest executed STR.",
      ...ADVICE.descriptorTable,
    },
    "0x6a IDTR_WRITE": {
      source: APM.instruction,
      aliases: ["WRITE_IDTR"],
      meaning: "The guest executed LIDT.",
      ...ADVICE.descriptorTable,
    },
    "0x6b GDTR_WRITE": {
      source: APM.instruction,
      aliases: ["WRITE_GDTR"],
      meaning: "The guest executed LGDT.",
      ...ADVICE.descriptorTable,
    },
    "0x6c LDTR_WRITE": {
      source: APM.instruction,
      aliases: ["WRITE_LDTR"],
      meaning: "The guest executed LLDT.",
      ...ADVICE.descriptorTable,
    },
    "0x6d TR_WRITE": {
      source: APM.instruction,
      aliases: ["WRITE_TR", "WRITE_RT"],
      meaning: "The guest executed LTR.",
      ...ADVICE.descriptorTable,
    },
    "0x6e RDTSC": { source: APM.instruction, meaning: "The guest read the time-stamp counter.", ...ADVICE.rdtsc },
    "0x6f RDPMC": { source: APM.instruction, meaning: "The guest read a performance counter.", ...ADVICE.rdpmc },
    "0x70 PUSHF": { source: APM.instruction, meaning: "The guest executed PUSHF.", ...ADVICE.impossible },
    "0x71 POPF": { source: APM.instruction, meaning: "The guest executed POPF.", ...ADVICE.impossible },
    "0x72 CPUID": {
      source: APM.instruction,
      meaning: "The guest executed CPUID; EAX and ECX name the leaf.",
      ...ADVICE.cpuid,
    },
    "0x73 RSM": {
      source: APM.instruction,
      meaning: "The guest left its system-management mode by RSM; KVM emulates the return.",
      causes: [
        "Firmware in the guest handles a system-management interrupt: UEFI variables with secure boot, ACPI being switched on.",
      ],
      tries: ["Without secure boot, a machine without SMM: QEMU's -machine smm=off."],
    },
    "0x74 IRET": {
      source: APM.instruction,
      meaning: "The guest executed IRET while KVM waited for the end of an NMI's handler.",
      causes: ["A profiler or watchdog in the guest whose NMIs come while it still handles one."],
      tries: ["Sample less often in the guest; kvm_amd.vnmi=1 on a processor with virtual NMI."],
    },
    "0x75 SWINT": { source: APM.instruction, meaning: "The guest executed INT n.", ...ADVICE.impossible },
    "0x76 INVD": {
      source: APM.instruction,
      meaning: "The guest executed INVD, which would throw dirty cache lines away. KVM does nothing instead.",
      causes: ["Firmware that uses the cache as RAM before memory works."],
      tries: ["None needed: firmware makes one or two."],
    },
    "0x77 PAUSE": {
      source: APM.other,
      aliases: ["PLE"],
      meaning: "The guest executed PAUSE more often than the filter lets it.",
      ...ADVICE.pause,
    },
    "0x78 HLT": {
      source: APM.instruction,
      meaning: "The guest executed HLT: it has nothing to do until the next interrupt.",
      ...ADVICE.hlt,
    },
    "0x79 INVLPG": {
      source: APM.instruction,
      meaning: "The guest invalidated the translation of one page.",
      ...ADVICE.invlpg,
    },
    "0x7a INVLPGA": {
      source: APM.instruction,
      meaning: `${NESTED_INSTRUCTION}: INVLPGA, which drops one page of an address space.`,
      ...ADVICE.nested,
    },
    "0x7b IOIO": {
      source: APM.io,
      aliases: ["IO"],
      meaning:
        "The guest used a port: IN, OUT, INS or OUTS. EXITINFO1 holds port, size and direction, EXITINFO2 the next RIP.",
      ...ADVICE.io,
    },
    "0x7c MSR": {
      source: APM.msr,
      aliases: ["RDMSR", "WRMSR"],
      meaning:
        "The guest accessed a model-specific register that the permission map keeps from it. EXITINFO1 is 0 for RDMSR, 1 for WRMSR.",
      causes: [...ADVICE.msrWrite.causes, ...ADVICE.msrRead.causes],
      tries: ADVICE.msrWrite.tries,
    },
    "0x7d TASK_SWITCH": {
      source: APM.other,
      meaning: "The guest tried a hardware task switch; KVM emulates it.",
      ...ADVICE.taskSwitch,
    },
    "0x7e FERR_FREEZE": {
      source: APM.other,
      meaning: "The processor froze on a legacy x87 error (FERR) with interrupts disabled.",
      ...ADVICE.impossible,
    },
    "0x7f SHUTDOWN": {
      source: APM.other,
      aliases: ["TRIPLE_FAULT"],
      meaning:
        "The guest shut down: a triple fault. KVM leaves to the VMM with KVM_EXIT_SHUTDOWN; the control block is no longer to be trusted.",
      ...ADVICE.shutdown,
    },
    "0x80 VMRUN": {
      source: APM.instruction,
      meaning: `${NESTED_INSTRUCTION}: VMRUN, an entry into its own guest.`,
      ...ADVICE.nested,
    },
    "0x81 VMMCALL": {
      source: APM.instruction,
      aliases: ["HYPERCALL"],
      meaning: "The guest executed VMMCALL: a hypercall; RAX holds its number.",
      ...ADVICE.hypercall,
    },
    "0x82 VMLOAD": {
      source: APM.instruction,
      meaning: `${NESTED_INSTRUCTION}: VMLOAD, which loads the hidden part of a guest's state.`,
      causes: ADVICE.nested.causes,
      tries: ["Virtual VMLOAD and VMSAVE take it away: kvm_amd.vls=1.", ...ADVICE.nested.tries],
    },
    "0x83 VMSAVE": {
      source: APM.instruction,
      meaning: `${NESTED_INSTRUCTION}: VMSAVE, which stores the hidden part of a guest's state.`,
      causes: ADVICE.nested.causes,
      tries: ["Virtual VMLOAD and VMSAVE take it away: kvm_amd.vls=1.", ...ADVICE.nested.tries],
    },
    "0x84 STGI": {
      source: APM.instruction,
      meaning: `${NESTED_INSTRUCTION}: STGI, which lets interrupts through again.`,
      causes: ADVICE.nested.causes,
      tries: ["A virtual global interrupt flag takes it away: kvm_amd.vgif=1.", ...ADVICE.nested.tries],
    },
    "0x85 CLGI": {
      source: APM.instruction,
      meaning: `${NESTED_INSTRUCTION}: CLGI, which holds all interrupts back.`,
      causes: ADVICE.nested.causes,
      tries: ["A virtual global interrupt flag takes it away: kvm_amd.vgif=1.", ...ADVICE.nested.tries],
    },
    "0x86 SKINIT": {
      source: APM.instruction,
      meaning: "The guest executed SKINIT, the secure start of a loader. KVM gives it #UD.",
      causes: ["A measured-launch loader in the guest."],
      tries: ["Start the guest without it."],
    },
    "0x87 RDTSCP": { source: APM.instruction, meaning: "The guest executed RDTSCP.", ...ADVICE.rdtscp },
    "0x88 ICEBP": {
      source: APM.instruction,
      aliases: ["INT1"],
      meaning: "The guest executed INT1 (ICEBP).",
      ...ADVICE.impossible,
    },
    "0x89 WBINVD": {
      source: APM.instruction,
      aliases: ["WBNOINVD"],
      meaning: "The guest executed WBINVD or WBNOINVD: write all caches back.",
      ...ADVICE.cache,
    },
    "0x8a MONITOR": {
      source: APM.instruction,
      aliases: ["MONITORX"],
      meaning: "The guest executed MONITOR or MONITORX.",
      ...ADVICE.mwait,
    },
    "0x8b MWAIT": {
      source: APM.instruction,
      aliases: ["MWAITX"],
      meaning: "The guest executed MWAIT or MWAITX.",
      ...ADVICE.mwait,
    },
    "0x8c MWAIT_CONDITIONAL": {
      source: APM.instruction,
      aliases: ["MWAIT_COND"],
      meaning: "The guest executed MWAIT while the monitor was armed.",
      ...ADVICE.mwait,
    },
    "0x8d XSETBV": { source: APM.instruction, meaning: "The guest executed XSETBV.", ...ADVICE.xsetbv },
    "0x8e RDPRU": {
      source: APM.instruction,
      meaning: "The guest executed RDPRU, which reads APERF and MPERF in user mode. KVM gives it #UD.",
      ...ADVICE.random,
    },
    "0x8f EFER_WRITE_TRAP": {
      source: APM.seves,
      aliases: ["WRITE_EFER_TRAP"],
      meaning: "An SEV-ES guest wrote EFER. The write is done; KVM only learns of it.",
      causes: ["The guest goes into long mode at boot."],
      tries: ["None needed."],
    },
  }),
  ...writeTraps(),
  ...reasons("svm", {
    "0xa0 INVLPGB": {
      source: APM.instruction,
      meaning: "The guest executed INVLPGB: invalidate pages on all processors.",
      ...ADVICE.impossible,
    },
    "0xa1 INVLPGB_ILLEGAL": {
      source: APM.instruction,
      meaning: "The guest executed INVLPGB with an address space that is not its own.",
      ...ADVICE.impossible,
    },
    "0xa2 INVPCID": { source: APM.instruction, meaning: "The guest executed INVPCID.", ...ADVICE.invpcid },
    "0xa3 MCOMMIT": { source: APM.instruction, meaning: "The guest executed MCOMMIT.", ...ADVICE.impossible },
    "0xa4 TLBSYNC": { source: APM.instruction, meaning: "The guest executed TLBSYNC.", ...ADVICE.impossible },
    "0xa5 BUS_LOCK": {
      source: APM.other,
      aliases: ["BUSLOCK"],
      meaning: "The guest made as many bus locks as the threshold allows. The instruction has not been executed yet.",
      ...ADVICE.busLock,
    },
    "0xa6 IDLE_HLT": {
      source: APM.instruction,
      aliases: ["IDLE_HALT"],
      meaning: "The guest executed HLT and no virtual interrupt is pending: it is idle.",
      ...ADVICE.hlt,
    },
    "0x400 NPF": {
      source: APM.npf,
      meaning:
        "The guest accessed a physical address that the nested page tables do not map, or not for this kind of access. EXITINFO1 holds the error code, EXITINFO2 the guest-physical address. Memory-mapped I/O comes this way too: its pages are kept reserved.",
      causes: [
        ...ADVICE.pageFault.causes,
        "Device registers: a fault with the reserved bit in its error code is memory-mapped I/O, and KVM emulates the instruction.",
      ],
      tries: [
        ...ADVICE.pageFault.tries,
        "Memory-mapped I/O: the kvm_mmio tracepoint names the address; ioeventfd and vhost keep doorbells in the kernel.",
      ],
    },
    "0x401 AVIC_INCOMPLETE_IPI": {
      source: APM.avic,
      meaning: "AVIC could not deliver an interrupt from one vCPU to another by itself: EXITINFO2 says why.",
      causes: [
        "The target does not run: KVM wakes it up.",
        "A delivery mode or destination that AVIC does not know, such as a broadcast.",
      ],
      tries: ["Fewer wake-ups between vCPUs; one processor for each vCPU, so that the target runs."],
    },
    "0x402 AVIC_NOACCEL": {
      source: APM.avic,
      aliases: ["AVIC_UNACCELERATED_ACCESS"],
      meaning:
        "The guest accessed a register of its APIC that AVIC does not virtualize. EXITINFO1 holds the offset, EXITINFO2 the vector.",
      causes: ["The timer's registers; the end of a level-triggered interrupt; the logical destination at boot."],
      tries: ["The TSC deadline timer and message-signalled interrupts in the guest."],
    },
    "0x403 VMGEXIT": {
      source: APM.seves,
      meaning:
        "An SEV-ES guest called KVM by VMGEXIT; the shared block (GHCB) holds what it wants. The codes of 0x80000001 and above name it.",
      causes: ["Everything that an ordinary guest does by exits, once its #VC handler has copied what KVM may know."],
      tries: ["The kvm_vmgexit_enter tracepoint names the call: then as for the exit that stands behind it."],
    },
    "0x407 PML_FULL": {
      source: APM.codes,
      meaning: "The log of modified pages has no room left.",
      causes: ["Dirty logging is on: a live migration or a snapshot in progress."],
      tries: ["It ends with the migration."],
    },
    "0x80000001 VMGEXIT_MMIO_READ": {
      source: APM.ghcb,
      meaning: "An SEV-ES guest reads a device's memory-mapped register.",
      causes: ["Drivers of emulated devices; virtio's configuration."],
      tries: ["Virtio devices with ioeventfd; fewer emulated ones."],
    },
    "0x80000002 VMGEXIT_MMIO_WRITE": {
      source: APM.ghcb,
      meaning: "An SEV-ES guest writes a device's memory-mapped register.",
      causes: ["Doorbells of virtio and NVMe; drivers of emulated devices."],
      tries: ["Larger batches, event index; ioeventfd."],
    },
    "0x80000003 VMGEXIT_NMI_COMPLETE": {
      source: APM.ghcb,
      meaning: "An SEV-ES guest has finished with a non-maskable interrupt: KVM cannot see its IRET.",
      causes: ["A profiler or watchdog in the guest."],
      tries: ["Sample less often in the guest."],
    },
    "0x80000004 VMGEXIT_AP_HLT_LOOP": {
      source: APM.ghcb,
      aliases: ["AP_RESET_HOLD"],
      meaning: "A further vCPU of an SEV-ES guest waits to be started.",
      causes: ["Boot, and vCPUs that are taken offline in the guest."],
      tries: ["None needed."],
    },
    "0x80000005 VMGEXIT_AP_JUMP_TABLE": {
      source: APM.ghcb,
      meaning: "An SEV-ES guest sets or asks where its further vCPUs begin.",
      causes: ["Boot."],
      tries: ["None needed."],
    },
    "0x80000010 VMGEXIT_PSC": {
      source: APM.ghcb,
      aliases: ["VMGEXIT_PAGE_STATE_CHANGE"],
      meaning: "An SEV-SNP guest makes pages private or shared.",
      causes: ["Boot, and buffers that drivers share with devices (swiotlb grows)."],
      tries: ["A larger swiotlb from the start; pages accepted in 2 MiB pieces."],
    },
    "0x80000011 VMGEXIT_GUEST_REQUEST": {
      source: APM.ghcb,
      meaning: "An SEV-SNP guest sends the security processor a message: an attestation report, a key.",
      causes: ["Attestation."],
      tries: ["Ask once and keep the report: the security processor is slow, and one for all guests."],
    },
    "0x80000012 VMGEXIT_EXT_GUEST_REQUEST": {
      source: APM.ghcb,
      meaning: "As a guest request, with the certificates of the host for the answer.",
      causes: ["Attestation."],
      tries: ["Ask once and keep the report and the certificates."],
    },
    "0x80000013 VMGEXIT_AP_CREATION": {
      source: APM.ghcb,
      meaning: "An SEV-SNP guest creates, starts or ends one of its vCPUs.",
      causes: ["Boot, and vCPUs taken on- and offline."],
      tries: ["None needed."],
    },
    "0x80000018 VMGEXIT_SNP_RUN_VMPL": {
      source: APM.ghcb,
      meaning:
        "An SEV-SNP guest wants to go on at another privilege level: a call into its secure module (SVSM) and back.",
      causes: ["A virtual TPM or page validation in the secure module."],
      tries: ["Fewer calls: they are switches between two whole contexts."],
    },
    "0x8000fffd VMGEXIT_HV_FEATURES": {
      source: APM.ghcb,
      aliases: ["VMGEXIT_HYPERVISOR_FEATURE"],
      meaning: "An SEV-SNP guest asks what the hypervisor supports.",
      causes: ["Boot."],
      tries: ["None needed."],
    },
    "0x8000fffe VMGEXIT_TERM_REQUEST": {
      source: APM.ghcb,
      meaning: "An SEV-ES guest wants to be ended: the reason set and code are in EXITINFO1.",
      causes: [
        "Its start failed: no SNP where it needs it, a protocol version that the hypervisor lacks, bad page validation.",
      ],
      tries: ["The reason code names it: Linux's are in arch/x86/include/asm/sev-common.h."],
    },
    "0x8000ffff VMGEXIT_UNSUPPORTED_EVENT": {
      source: APM.ghcb,
      meaning: "An SEV-ES guest met a #VC that it cannot handle, and says so.",
      causes: ["An instruction that its kernel does not know in this mode."],
      tries: ["Its own log names the exit code; a newer guest kernel may know it."],
    },
    "0xf0000000 SW": {
      source: APM.codes,
      meaning: "A code that the processor never makes: it is reserved for hypervisors' own use.",
      causes: ["A nested hypervisor's own signal: Hyper-V marks a synthetic TLB flush so."],
      tries: ["None needed."],
    },
    "0xffffffff INVALID": {
      source: APM.codes,
      aliases: ["ERR", "INVALID_GUEST_STATE"],
      meaning: "VMEXIT_INVALID (-1): VMRUN refused the guest's state. KVM leaves to the VMM with KVM_EXIT_FAIL_ENTRY.",
      causes: [
        "The VMM set registers that do not fit each other: EFER.LME and CR0.PG without CR4.PAE, reserved bits in CR0, CR4 or EFER.",
        "An address space identifier of 0, a permission map beyond memory: a bug of a hypervisor.",
      ],
      tries: [
        "kvm_amd.dump_invalid_vmcb=1 makes the kernel print the whole block; compare with APM volume 2, 15.5.1, canonicalization and consistency checks.",
      ],
    },
  }),
];
