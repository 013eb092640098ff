/** VMX basic exit reasons: Intel SDM volume 3, appendix C, with KVM's use of each (arch/x86/kvm/vmx). */
import { ADVICE } from "./advice.js";
import { type ExitReason, reasons } from "./reason.js";

const SDM = {
  always: "Intel SDM volume 3, 26.1.2, Instructions That Cause VM Exits Unconditionally",
  asked: "Intel SDM volume 3, 26.1.3, Instructions That Cause VM Exits Conditionally",
  other: "Intel SDM volume 3, 26.2, Other Causes of VM Exits",
  entry: "Intel SDM volume 3, 27.8, VM-Entry Failures During or After Loading Guest State",
  ept: "Intel SDM volume 3, 29.3.3, EPT-Induced VM Exits",
  apic: "Intel SDM volume 3, chapter 30, APIC Virtualization and Virtual Interrupts",
  smm: "Intel SDM volume 3, chapter on System Management Mode, Dual-Monitor Treatment",
  tdx: "Intel TDX Module specification",
} as const;

const NESTED_INSTRUCTION = "The guest executed an instruction of VMX itself";

export const VMX_REASONS: readonly ExitReason[] = reasons("vmx", {
  "0 EXCEPTION_NMI": {
    source: SDM.other,
    meaning:
      "The guest raised an exception that KVM asked for, or a non-maskable interrupt of the host came. The VM-exit interruption information (intr_info of the kvm_exit tracepoint) holds the vector.",
    causes: [
      "#PF (14) without EPT, or when the guest's physical addresses are narrower than the host's; #UD (6) for instructions that KVM emulates.",
      "#DB (1) and #BP (3) while a debugger is attached; #AC (17) and #MC (18), which KVM always takes.",
      "A profiler on the host: its counters' NMIs end here.",
    ],
    tries: [
      "Look at the vector first. With #PF in numbers: is EPT on (kvm_intel.ept)?",
      "Sample less often on the host; detach the debugger; kernel.nmi_watchdog=0.",
    ],
  },
  "1 EXTERNAL_INTERRUPT": {
    source: SDM.other,
    meaning: "An interrupt for the host arrived while the guest ran; the host handles it before the guest goes on.",
    ...ADVICE.externalInterrupt,
  },
  "2 TRIPLE_FAULT": {
    source: SDM.other,
    meaning:
      "An exception came while the processor delivered a double fault: a real machine would reset. KVM leaves to the VMM with KVM_EXIT_SHUTDOWN.",
    ...ADVICE.shutdown,
  },
  "3 INIT_SIGNAL": {
    source: SDM.other,
    meaning: "An INIT signal arrived at the physical processor.",
    ...ADVICE.init,
  },
  "4 SIPI_SIGNAL": {
    source: SDM.other,
    meaning: "A start-up interrupt arrived at a logical processor whose guest is in the wait-for-SIPI state.",
    causes: ["A nested hypervisor lets its guest wait for SIPI; KVM keeps its own waiting vCPUs in software."],
    tries: ["None needed: one a vCPU at the nested guest's boot."],
  },
  "5 IO_SMI": {
    source: SDM.smm,
    aliases: ["IO_SYSTEM_MANAGEMENT_INTERRUPT"],
    meaning: "A system-management interrupt came right after an I/O instruction, under the dual-monitor treatment.",
    ...ADVICE.impossible,
  },
  "6 OTHER_SMI": {
    source: SDM.smm,
    meaning: "Another system-management interrupt came, under the dual-monitor treatment.",
    ...ADVICE.impossible,
  },
  "7 INTERRUPT_WINDOW": {
    source: SDM.other,
    aliases: ["PENDING_INTERRUPT"],
    meaning: "The guest can take an interrupt now: RFLAGS.IF is set and nothing blocks it. KVM had one waiting.",
    ...ADVICE.interruptWindow,
  },
  "8 NMI_WINDOW": {
    source: SDM.other,
    meaning: "The guest can take a non-maskable interrupt now, and KVM had one waiting.",
    causes: ["A profiler or watchdog in the guest, whose NMIs come while it is still handling one."],
    tries: ["Sample less often in the guest; switch its NMI watchdog off."],
  },
  "9 TASK_SWITCH": {
    source: SDM.always,
    meaning: "The guest tried a hardware task switch, which VMX never does by itself. KVM emulates it.",
    ...ADVICE.taskSwitch,
  },
  "10 CPUID": {
    source: SDM.always,
    meaning: "The guest executed CPUID; EAX and ECX name the leaf.",
    ...ADVICE.cpuid,
  },
  "11 GETSEC": {
    source: SDM.always,
    meaning: "The guest executed GETSEC, the leaf functions of Safer Mode Extensions. KVM gives it #UD.",
    causes: ["A measured-launch loader (tboot) in the guest."],
    tries: ["Start the guest without it: KVM has no SMX."],
  },
  "12 HLT": {
    source: SDM.asked,
    meaning: "The guest executed HLT: it has nothing to do until the next interrupt.",
    ...ADVICE.hlt,
  },
  "13 INVD": {
    source: SDM.always,
    meaning: "The guest executed INVD, which would throw dirty cache lines away. KVM does nothing instead.",
    causes: ["Firmware that uses the cache as RAM before memory works."],
    tries: ["None needed: firmware makes one or two."],
  },
  "14 INVLPG": { source: SDM.asked, meaning: "The guest invalidated the translation of one page.", ...ADVICE.invlpg },
  "15 RDPMC": { source: SDM.asked, meaning: "The guest read a performance counter.", ...ADVICE.rdpmc },
  "16 RDTSC": { source: SDM.asked, meaning: "The guest read the time-stamp counter.", ...ADVICE.rdtsc },
  "17 RSM": {
    source: SDM.smm,
    meaning: "The guest executed RSM in system-management mode, under the dual-monitor treatment.",
    ...ADVICE.impossible,
  },
  "18 VMCALL": {
    source: SDM.always,
    meaning: "The guest executed VMCALL: a hypercall; RAX holds its number.",
    ...ADVICE.hypercall,
  },
  "19 VMCLEAR": {
    source: SDM.always,
    meaning: `${NESTED_INSTRUCTION}: VMCLEAR, which writes a control structure back.`,
    ...ADVICE.nested,
  },
  "20 VMLAUNCH": {
    source: SDM.always,
    meaning: `${NESTED_INSTRUCTION}: VMLAUNCH, the first entry into its own guest.`,
    ...ADVICE.nested,
  },
  "21 VMPTRLD": {
    source: SDM.always,
    meaning: `${NESTED_INSTRUCTION}: VMPTRLD, which makes a control structure current.`,
    ...ADVICE.nested,
  },
  "22 VMPTRST": {
    source: SDM.always,
    meaning: `${NESTED_INSTRUCTION}: VMPTRST, which asks for the current control structure.`,
    ...ADVICE.nested,
  },
  "23 VMREAD": {
    source: SDM.asked,
    meaning: `${NESTED_INSTRUCTION}: VMREAD of a field that is not shadowed.`,
    causes: ADVICE.nested.causes,
    tries: ["VMCS shadowing takes nearly all of them away: kvm_intel.enable_shadow_vmcs=1.", ...ADVICE.nested.tries],
  },
  "24 VMRESUME": {
    source: SDM.always,
    meaning: `${NESTED_INSTRUCTION}: VMRESUME, a further entry into its own guest.`,
    ...ADVICE.nested,
  },
  "25 VMWRITE": {
    source: SDM.asked,
    meaning: `${NESTED_INSTRUCTION}: VMWRITE of a field that is not shadowed.`,
    causes: ADVICE.nested.causes,
    tries: ["VMCS shadowing takes nearly all of them away: kvm_intel.enable_shadow_vmcs=1.", ...ADVICE.nested.tries],
  },
  "26 VMXOFF": {
    source: SDM.always,
    aliases: ["VMOFF"],
    meaning: `${NESTED_INSTRUCTION}: VMXOFF, which ends VMX operation.`,
    ...ADVICE.nested,
  },
  "27 VMXON": {
    source: SDM.always,
    aliases: ["VMON"],
    meaning: `${NESTED_INSTRUCTION}: VMXON, which begins VMX operation.`,
    ...ADVICE.nested,
  },
  "28 CR_ACCESS": {
    source: SDM.asked,
    meaning:
      "The guest moved to or from a control register, or executed CLTS or LMSW, where KVM owns the bits. The exit qualification tells register, direction and general register (28.2.1).",
    causes: [
      "CR8 (the task priority) without a TPR shadow; CR0 and CR4 bits that KVM keeps, at boot and at changes of mode.",
      "CR3 without EPT: each switch of the guest's processes.",
    ],
    tries: [
      "Switch EPT on (kvm_intel.ept=1). Many CR0 writes: a guest that toggles CR0.TS or CR0.WP; the RIP tells where.",
    ],
  },
  "29 DR_ACCESS": {
    source: SDM.asked,
    meaning: "The guest moved to or from a debug register.",
    causes: [
      "The first access after KVM took the registers back: then the guest has them until it leaves for the host's scheduler.",
      "The VMM debugs the guest by hardware breakpoints (KVM_SET_GUEST_DEBUG).",
    ],
    tries: ["A debugger or profiler with breakpoints in the guest: end it. A few at boot are usual."],
  },
  "30 IO_INSTRUCTION": {
    source: SDM.asked,
    meaning: "The guest used a port: IN, OUT, INS or OUTS. The exit qualification holds port, size and direction.",
    ...ADVICE.io,
  },
  "31 MSR_READ": {
    source: SDM.asked,
    aliases: ["RDMSR"],
    meaning: "The guest executed RDMSR on a register that the MSR bitmap keeps from it.",
    ...ADVICE.msrRead,
  },
  "32 MSR_WRITE": {
    source: SDM.asked,
    aliases: ["WRMSR"],
    meaning: "The guest executed WRMSR on a register that the MSR bitmap keeps from it.",
    ...ADVICE.msrWrite,
  },
  "33 INVALID_GUEST_STATE": {
    source: SDM.entry,
    aliases: ["INVALID_STATE"],
    meaning:
      "VM entry failed: the guest state area breaks a rule of the architecture. Bit 31 of the reason is set; KVM leaves to the VMM with KVM_EXIT_FAIL_ENTRY and this number.",
    causes: [
      "The VMM set registers that do not fit each other: a 64-bit code segment without EFER.LMA, a bad access-rights byte, reserved bits in CR0 or CR4.",
      "A guest in real mode on a processor without unrestricted guest.",
    ],
    tries: [
      "kvm_intel.dump_invalid_vmcs=1 makes the kernel print the whole control structure; compare with 27.3, Checking and Loading Guest State.",
    ],
  },
  "34 MSR_LOADING": {
    source: SDM.entry,
    aliases: ["MSR_LOAD_FAIL"],
    meaning:
      "VM entry failed while it loaded model-specific registers from the entry's list. Bit 31 of the reason is set.",
    causes: ["A value that the register does not take, in the list of a nested hypervisor, or a bug of KVM."],
    tries: ["The exit qualification is the number of the entry in the list, counted from 1."],
  },
  "36 MWAIT": {
    source: SDM.asked,
    aliases: ["MWAIT_INSTRUCTION"],
    meaning: "The guest executed MWAIT.",
    ...ADVICE.mwait,
  },
  "37 MONITOR_TRAP_FLAG": {
    source: SDM.other,
    aliases: ["MTF"],
    meaning: "The guest executed one instruction under the monitor trap flag: a single step that it cannot see.",
    causes: ["A nested hypervisor, or introspection, steps its guest."],
    tries: ["None: it ends when the debugger does."],
  },
  "39 MONITOR": {
    source: SDM.asked,
    aliases: ["MONITOR_INSTRUCTION"],
    meaning: "The guest executed MONITOR.",
    ...ADVICE.mwait,
  },
  "40 PAUSE": {
    source: SDM.asked,
    aliases: ["PAUSE_INSTRUCTION", "PLE"],
    meaning: "The guest executed PAUSE in a tight loop for longer than the pause-loop window.",
    ...ADVICE.pause,
  },
  "41 MACHINE_CHECK_ON_ENTRY": {
    source: SDM.entry,
    aliases: ["MCE_DURING_VMENTRY"],
    meaning: "A machine check came during VM entry. Bit 31 of the reason is set.",
    causes: ["Failing hardware: memory, cache or interconnect."],
    tries: ["Read the host's machine-check log (rasdaemon, mcelog), and move the guests away."],
  },
  "43 TPR_BELOW_THRESHOLD": {
    source: SDM.apic,
    meaning:
      "The guest lowered its task priority below the threshold that KVM set: an interrupt that waited can be delivered.",
    causes: ["32-bit Windows guests, which change the task priority all the time, without APIC virtualization."],
    tries: ["kvm_intel.enable_apicv=1 on a processor that has it; a 64-bit guest."],
  },
  "44 APIC_ACCESS": {
    source: SDM.apic,
    meaning:
      "The guest accessed the page of its local APIC in a way that the processor does not virtualize. The exit qualification holds the offset.",
    causes: [
      "An xAPIC guest without full APIC virtualization: timer and inter-processor interrupts are memory accesses that KVM emulates.",
    ],
    tries: [
      "Use x2APIC in the guest (give it the CPUID bit): a register write instead of an emulated access.",
      "kvm_intel.enable_apicv=1.",
    ],
  },
  "45 VIRTUALIZED_EOI": {
    source: SDM.apic,
    aliases: ["EOI_INDUCED"],
    meaning:
      "The guest ended an interrupt whose vector KVM wants to hear of: a level-triggered one, so that the I/O APIC can look again.",
    causes: ["Devices with level-triggered lines: legacy interrupts of PCI, the timer of the I/O APIC."],
    tries: ["Message-signalled interrupts (MSI-X) in the guest: nothing has to be said at their end."],
  },
  "46 GDTR_IDTR": {
    source: SDM.asked,
    aliases: ["ACCESS_GDTR_OR_IDTR"],
    meaning: "The guest executed LGDT, LIDT, SGDT or SIDT under descriptor-table exiting.",
    ...ADVICE.descriptorTable,
  },
  "47 LDTR_TR": {
    source: SDM.asked,
    aliases: ["ACCESS_LDTR_OR_TR"],
    meaning: "The guest executed LLDT, LTR, SLDT or STR under descriptor-table exiting.",
    ...ADVICE.descriptorTable,
  },
  "48 EPT_VIOLATION": {
    source: SDM.ept,
    meaning:
      "The guest accessed a physical address that the extended page tables do not map, or not for this kind of access. The exit qualification tells read, write or fetch; the guest-physical address is info2 of newer kernels.",
    ...ADVICE.pageFault,
  },
  "49 EPT_MISCONFIG": {
    source: SDM.ept,
    meaning:
      "The guest's access met an entry of the extended page tables that the architecture forbids. KVM makes such entries on purpose for the pages of devices: nearly always this is memory-mapped I/O.",
    causes: [
      "A device with memory-mapped registers: virtio's doorbell, a HPET, the I/O APIC, a VGA window, NVMe's doorbells.",
      "An eventfd on the address (fast MMIO): cheap, it ends in the kernel.",
    ],
    tries: [
      "The kvm_mmio tracepoint names the address, the ledger the device.",
      "Doorbells: ioeventfd and vhost keep them in the kernel; fewer of them by event index (VIRTIO_F_EVENT_IDX) and larger batches.",
      "A HPET in numbers: the guest keeps time by it; let it use kvmclock or the TSC.",
    ],
  },
  "50 INVEPT": {
    source: SDM.always,
    meaning: `${NESTED_INSTRUCTION}: INVEPT, which drops its own guests' translations.`,
    ...ADVICE.nested,
  },
  "51 RDTSCP": { source: SDM.asked, meaning: "The guest executed RDTSCP.", ...ADVICE.rdtscp },
  "52 PREEMPTION_TIMER": {
    source: SDM.other,
    meaning:
      "The VMX-preemption timer ran out. KVM sets it to the guest's own timer deadline, or to leave a guest at once.",
    causes: ["The guest's LAPIC timer: each of its ticks that comes while it runs."],
    tries: [
      "A lower CONFIG_HZ, or nohz_full, in the guest; fewer short timers.",
      "It is cheaper than what it replaces, a timer of the host and its interrupt.",
    ],
  },
  "53 INVVPID": {
    source: SDM.always,
    meaning: `${NESTED_INSTRUCTION}: INVVPID, which drops translations by processor tag.`,
    ...ADVICE.nested,
  },
  "54 WBINVD": {
    source: SDM.asked,
    aliases: ["WBNOINVD"],
    meaning: "The guest executed WBINVD or WBNOINVD: write all caches back.",
    ...ADVICE.cache,
  },
  "55 XSETBV": { source: SDM.always, meaning: "The guest executed XSETBV.", ...ADVICE.xsetbv },
  "56 APIC_WRITE": {
    source: SDM.apic,
    meaning:
      "The guest wrote a register of its virtualized APIC that has an effect beyond the page. The write is done; KVM acts on it.",
    causes: ["Interrupts to other vCPUs (ICR, 0x300), the timer's count (0x380), the logical destination at boot."],
    tries: [
      "IPI virtualization (kvm_intel.enable_ipiv=1, Sapphire Rapids and later) sends them without an exit.",
      "The TSC deadline timer instead of the count; fewer wake-ups between vCPUs.",
    ],
  },
  "57 RDRAND": { source: SDM.asked, meaning: "The guest executed RDRAND.", ...ADVICE.random },
  "58 INVPCID": { source: SDM.asked, meaning: "The guest executed INVPCID.", ...ADVICE.invpcid },
  "59 VMFUNC": {
    source: SDM.asked,
    meaning: "The guest executed VMFUNC with a function that is not there, or an EPTP switch failed.",
    causes: ["A nested hypervisor's guest switches its page tables; KVM does it in software."],
    tries: ["None on the host; see VMRESUME for nested guests."],
  },
  "60 ENCLS": {
    source: SDM.asked,
    meaning: "The guest executed ENCLS, the privileged leaf functions of SGX.",
    causes: [
      "A driver in the guest builds enclaves (ECREATE, EINIT), or SGX is refused by #UD when the guest does not have it.",
    ],
    tries: ["Load the guest's SGX driver only where there are enclaves."],
  },
  "61 RDSEED": { source: SDM.asked, meaning: "The guest executed RDSEED.", ...ADVICE.random },
  "62 PML_FULL": {
    source: "Intel SDM volume 3, 29.3.6, Page-Modification Logging",
    meaning: "The log of modified pages has no room left: 512 pages were written since it was emptied.",
    causes: [
      "Dirty logging is on: a live migration or a snapshot in progress, a display that is redrawn by what changed.",
    ],
    tries: [
      "It ends with the migration. A guest that writes faster than is sent needs throttling (auto-converge) or post-copy.",
    ],
  },
  "63 XSAVES": {
    source: SDM.asked,
    meaning: "The guest executed XSAVES with a state component that is set in the XSS-exiting bitmap.",
    ...ADVICE.impossible,
  },
  "64 XRSTORS": {
    source: SDM.asked,
    meaning: "The guest executed XRSTORS with a state component that is set in the XSS-exiting bitmap.",
    ...ADVICE.impossible,
  },
  "65 PCONFIG": {
    source: SDM.asked,
    meaning: "The guest executed PCONFIG, which sets up keys of memory encryption.",
    ...ADVICE.impossible,
  },
  "66 SPP": {
    source: SDM.other,
    meaning: "Sub-page write permission: a table that describes parts of pages misses an entry or has a bad one.",
    ...ADVICE.impossible,
  },
  "67 UMWAIT": {
    source: SDM.asked,
    meaning: "The guest executed UMWAIT while RDTSC exiting is on.",
    ...ADVICE.mwait,
  },
  "68 TPAUSE": {
    source: SDM.asked,
    meaning: "The guest executed TPAUSE while RDTSC exiting is on.",
    ...ADVICE.mwait,
  },
  "69 LOADIWKEY": {
    source: SDM.asked,
    meaning: "The guest loaded the internal wrapping key of Key Locker.",
    ...ADVICE.impossible,
  },
  "70 ENCLV": {
    source: SDM.asked,
    meaning: "The guest executed ENCLV, SGX's leaf functions for hypervisors.",
    ...ADVICE.impossible,
  },
  "72 ENQCMD": {
    source: SDM.other,
    aliases: ["ENQCMD_PASID_TRANSLATION_FAILURE"],
    meaning: "ENQCMD: the address space identifier of the guest has no valid translation.",
    ...ADVICE.impossible,
  },
  "73 ENQCMDS": {
    source: SDM.other,
    aliases: ["ENQCMDS_PASID_TRANSLATION_FAILURE"],
    meaning: "ENQCMDS: the address space identifier of the guest has no valid translation.",
    ...ADVICE.impossible,
  },
  "74 BUS_LOCK": {
    source: SDM.other,
    meaning: "The guest asserted a bus lock. The instruction is done.",
    ...ADVICE.busLock,
  },
  "75 NOTIFY": {
    source: SDM.other,
    aliases: ["INSTRUCTION_TIMEOUT"],
    meaning: "The guest left no chance to deliver an event for longer than the notify window allows.",
    causes: ["Code that tries to hang the processor: an endless chain of #AC or #DB while delivering #AC or #DB."],
    tries: [
      "Suspect the guest. The VMM sets the window (KVM_CAP_X86_NOTIFY_VMEXIT) and may stop it.",
      "Window too small: raise it, QEMU's notify-window.",
    ],
  },
  "76 SEAMCALL": {
    source: SDM.tdx,
    meaning: "The guest executed SEAMCALL, by which a hypervisor calls the TDX module.",
    causes: ["A guest that believes it is a TDX host."],
    tries: ["It gets #UD. Look what tries it: no guest of KVM can use it."],
  },
  "77 TDCALL": {
    source: SDM.tdx,
    meaning:
      "A TDX guest called out by TDCALL: for KVM a hypercall through the TDX module. A guest without TDX gets #UD.",
    causes: [
      "Everything that an ordinary guest does by exits: port and memory-mapped I/O, MSRs, CPUID, halts, and shared memory.",
    ],
    tries: ["The guest's #VE handler makes them: reduce what it emulates, as for the exit that stands behind it."],
  },
  "78 RDMSRLIST": {
    source: SDM.asked,
    meaning: "The guest executed RDMSRLIST, and one of the registers is kept from it.",
    ...ADVICE.impossible,
  },
  "79 WRMSRLIST": {
    source: SDM.asked,
    meaning: "The guest executed WRMSRLIST, and one of the registers is kept from it.",
    ...ADVICE.impossible,
  },
  "80 URDMSR": {
    source: SDM.asked,
    meaning: "The guest executed URDMSR in user mode on a register that is kept from it.",
    ...ADVICE.impossible,
  },
  "81 UWRMSR": {
    source: SDM.asked,
    meaning: "The guest executed UWRMSR in user mode on a register that is kept from it.",
    ...ADVICE.impossible,
  },
  "84 RDMSR_IMMEDIATE": {
    source: SDM.asked,
    aliases: ["MSR_READ_IMM"],
    meaning: "The guest executed RDMSR with the register's number in the instruction.",
    ...ADVICE.msrRead,
  },
  "85 WRMSRNS_IMMEDIATE": {
    source: SDM.asked,
    aliases: ["MSR_WRITE_IMM"],
    meaning: "The guest executed WRMSRNS with the register's number in the instruction.",
    ...ADVICE.msrWrite,
  },
});

/** Bit 31: the entry failed, and the guest's state is as it was (SDM volume 3, 25.9.1). */
export const VMX_FAILED_ENTRY = 0x8000_0000;
/** The basic reason is in the low 16 bits. */
export const VMX_BASIC_REASON = 0xffff;
