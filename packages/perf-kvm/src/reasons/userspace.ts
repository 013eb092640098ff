/**
 * KVM's exits to user space: KVM_EXIT_* of include/uapi/linux/kvm.h, Documentation/virt/kvm/api.rst, section 5 (the
 * kvm_run structure). Numbers and names are the binding's; here is what they mean.
 */
import { exitReasonNames } from "@tools-kvm/kvm-binding";
import { type Entry, type ExitReason, reason } from "./reason.js";

type Text = Omit<Entry, "source">;

const foreign = (architecture: string, meaning: string): Text => ({
  meaning: `${architecture} only. ${meaning}`,
  causes: [`A guest on ${architecture}; never on x86.`],
  tries: ["On x86, a VMM that sees it reads the wrong page, or another's numbers."],
});

const S390 = "s390";
const POWER = "PowerPC";
const ARM = "arm64";
const RISCV = "RISC-V";

const TEXTS: Readonly<Record<string, Text>> = {
  UNKNOWN: {
    meaning: "The processor gave an exit reason that KVM does not know; hw.hardware_exit_reason holds it.",
    causes: ["A processor newer than the kernel, or a control block that KVM filled wrongly."],
    tries: ["A newer kernel. Look the number up: `perf-kvm explain NUMBER`."],
  },
  EXCEPTION: {
    meaning: "An exception of the guest that KVM has no use for, with its vector and error code.",
    causes: [
      "On x86 practically none: KVM keeps exceptions or gives them to the guest. kvm-pvm uses it for #VE and #VC.",
    ],
    tries: ["Note the vector and the kernel's log."],
  },
  IO: {
    meaning:
      "The guest used a port that nothing in the kernel answers. kvm_run.io has port, size, direction and count; the data lie in the same page.",
    causes: [
      "The VMM emulates a device with ports: serial port, CMOS clock, PS/2, IDE, PCI configuration, ACPI, a debug port.",
      "A doorbell of legacy virtio without ioeventfd.",
    ],
    tries: [
      "The detail column names the port, and of a running `vmm` the device that answered.",
      "ioeventfd for doorbells, coalesced I/O (KVM_CAP_COALESCED_PIO) for registers that are only written, virtio for the rest.",
    ],
  },
  HYPERCALL: {
    meaning:
      "A hypercall that KVM leaves to the VMM: on x86 KVM_HC_MAP_GPA_RANGE of an encrypted guest, when the VMM asked for it.",
    causes: ["An SEV or TDX guest makes pages shared or private."],
    tries: ["Larger pieces; a larger swiotlb in the guest from the start."],
  },
  DEBUG: {
    meaning:
      "The guest met a breakpoint, a watchpoint or a single step of KVM_SET_GUEST_DEBUG. kvm_run.debug holds address, DR6 and DR7.",
    causes: ["A debugger is attached."],
    tries: ["Hardware breakpoints cost nothing until they are met; a single step costs an exit an instruction."],
  },
  HLT: {
    meaning: "The guest halted, and the VMM has no in-kernel interrupt controller that could wake it.",
    causes: [
      "A VMM that emulates the local APIC itself: each idle moment is an exit.",
      "With an in-kernel APIC there is none: KVM sleeps by itself. Tests without interrupt controllers end this way.",
    ],
    tries: ["KVM_CREATE_IRQCHIP, or a split irqchip (KVM_CAP_SPLIT_IRQCHIP)."],
  },
  MMIO: {
    meaning:
      "The guest accessed a physical address without memory behind it. kvm_run.mmio has address, length, direction and up to 8 bytes.",
    causes: [
      "The VMM emulates a device with memory-mapped registers: virtio, NVMe, HPET, VGA, PCI configuration by ECAM, flash.",
      "A guest that probes for memory or devices that are not there.",
    ],
    tries: [
      "The detail column names the address, and of a running `vmm` the device that answered.",
      "ioeventfd for doorbells, coalesced MMIO for registers that are only written, memory slots for what is read like memory.",
    ],
  },
  IRQ_WINDOW_OPEN: {
    meaning: "The guest can take an interrupt now, as the VMM asked by request_interrupt_window.",
    causes: ["A VMM that emulates the interrupt controller itself."],
    tries: ["An in-kernel interrupt controller."],
  },
  SHUTDOWN: {
    meaning: "The guest's processor shut down: a triple fault, or its equivalent.",
    causes: [
      "Descriptor tables, page tables or stack of the guest are gone.",
      "A kernel restarts the machine that way when nothing else works.",
    ],
    tries: [
      "Registers at that moment tell most: `vmm inspect`, or KVM_GET_REGS and KVM_GET_SREGS: CR3, RIP, IDTR.",
      "The guest's early messages: earlyprintk=serial.",
    ],
  },
  FAIL_ENTRY: {
    meaning:
      "The processor refused to enter the guest. fail_entry.hardware_entry_failure_reason is the VMX or SVM number, beside the processor's.",
    causes: ["The VMM set registers that do not fit each other."],
    tries: [
      "`perf-kvm explain NUMBER` for the number. 0x80000021 is VMX's invalid guest state.",
      "kvm_intel.dump_invalid_vmcs=1 or kvm_amd.dump_invalid_vmcb=1 prints the state to the kernel's log.",
    ],
  },
  INTR: {
    meaning: "A signal is pending for the thread, and KVM_RUN returned EINTR; or the VMM asked by immediate_exit.",
    causes: [
      "The VMM brings its vCPU out: to pause it, to inject something, to hand over a lock.",
      "Timers and signals that the VMM lets reach vCPU threads.",
    ],
    tries: ["Block signals in vCPU threads but the one that is meant for them (KVM_SET_SIGNAL_MASK)."],
  },
  SET_TPR: {
    meaning: "The guest raised its task priority by CR8, and the VMM emulates the local APIC.",
    causes: ["64-bit Windows under a VMM without an in-kernel APIC."],
    tries: ["An in-kernel interrupt controller."],
  },
  TPR_ACCESS: {
    meaning:
      "The guest accessed the task priority by memory, and the VMM asked to hear of it (KVM_TPR_ACCESS_REPORTING).",
    causes: ["32-bit Windows XP or 2003, whose code the VMM patches to avoid just this."],
    tries: ["A few at start are the patching. Many: a newer guest."],
  },
  S390_SIEIC: foreign(S390, "An interception by SIE, with its code."),
  S390_RESET: foreign(S390, "The guest asked for a reset."),
  DCR: foreign(POWER, "An access to a device control register; no longer used."),
  NMI: {
    meaning:
      "A non-maskable interrupt of the guest is to be handled by the VMM; KVM itself no longer makes this exit on x86.",
    causes: ["None with today's kernels."],
    tries: ["Look whether the number was read from the right field."],
  },
  INTERNAL_ERROR: {
    meaning:
      "KVM cannot go on. internal.suberror: 1 an instruction it cannot emulate (its bytes may be in the exit), 2 two exceptions at once, 3 an exit while delivering an event, 4 an exit reason that nobody expects.",
    causes: [
      "Suberror 1: memory-mapped I/O by an instruction that the emulator does not know (SSE, AVX), or real mode on a processor without unrestricted guest; on kvm-pvm any rarer instruction of kernel code.",
      "Suberror 1 as well: the guest ran away into device memory.",
      "Suberror 3: page tables of the guest in device memory, or a fault while an interrupt is delivered.",
    ],
    tries: [
      "RIP and the bytes there name the instruction; kvm_emulate_insn traces every one that KVM emulates.",
      "Have the guest's driver use plain loads and stores (readl, writel) for device memory.",
    ],
  },
  OSI: foreign(POWER, "A call of the Open Source Interface."),
  PAPR_HCALL: foreign(POWER, "A hypercall of PAPR."),
  S390_UCONTROL: foreign(S390, "A page fault of a user-controlled virtual machine."),
  WATCHDOG: foreign(POWER, "The watchdog of the processor ran out."),
  S390_TSCH: foreign(S390, "A TEST SUBCHANNEL."),
  EPR: foreign(POWER, "The external proxy wants an interrupt's vector."),
  SYSTEM_EVENT: {
    meaning:
      "The guest asked for something of the whole machine: shutdown, reset, crash, suspend; or an encrypted guest ended itself (SEV_TERM, TDX_FATAL).",
    causes: ["Hyper-V's crash registers, an SEV-ES guest's request to be ended, PSCI on arm64."],
    tries: ["system_event.type says which; data[0] the reason of an encrypted guest's end."],
  },
  S390_STSI: foreign(S390, "A STORE SYSTEM INFORMATION."),
  IOAPIC_EOI: {
    meaning:
      "The guest ended a level-triggered interrupt, and the I/O APIC is the VMM's (split irqchip). eoi.vector names it.",
    causes: ["Devices with level-triggered lines, once an interrupt."],
    tries: ["Message-signalled interrupts (MSI-X) for these devices; or the whole interrupt controller in the kernel."],
  },
  HYPERV: {
    meaning:
      "The guest used a part of Hyper-V's interface that the VMM handles: its interrupt controller's pages, a message by hypercall, the debugger.",
    causes: ["A Windows guest, or a Linux one with Hyper-V's drivers."],
    tries: ["Messages and events only: usual. The debugger (SYNDBG): switch it off in the guest."],
  },
  ARM_NISV: foreign(ARM, "A memory access that the processor does not describe."),
  X86_RDMSR: {
    meaning:
      "The guest read a model-specific register that is the VMM's: one that KVM does not know, denies or filters (KVM_CAP_X86_USER_SPACE_MSR, KVM_X86_SET_MSR_FILTER).",
    causes: [
      "A VMM that emulates registers, or lets user space see unknown ones.",
      "Agents in the guest that read power or thermal registers in a loop.",
    ],
    tries: ["msr.index names it. A filter as narrow as the VMM needs it."],
  },
  X86_WRMSR: {
    meaning:
      "The guest wrote a model-specific register that is the VMM's: one that KVM does not know, denies or filters.",
    causes: ["A VMM that emulates registers, or lets user space see unknown ones."],
    tries: ["msr.index names it. A filter as narrow as the VMM needs it."],
  },
  DIRTY_RING_FULL: {
    meaning: "The vCPU's ring of modified pages is full up to its limit: the VMM must collect before the vCPU goes on.",
    causes: ["A live migration or snapshot of a guest that writes faster than the VMM collects."],
    tries: [
      "A larger ring (KVM_CAP_DIRTY_LOG_RING_ACQ_REL), collecting more often; as a brake on the guest it is wanted.",
    ],
  },
  AP_RESET_HOLD: {
    meaning: "A further vCPU of an SEV-ES guest waits to be started.",
    causes: ["The guest boots, or takes vCPUs offline."],
    tries: ["None needed: the VMM treats it as a halt."],
  },
  X86_BUS_LOCK: {
    meaning: "The guest asserted a bus lock, and the VMM asked to hear of it (KVM_CAP_X86_BUS_LOCK_EXIT).",
    causes: ["A locked access across a cache line: old or misaligned code."],
    tries: ["The guest's RIP names the code. The VMM may slow the vCPU down."],
  },
  XEN: {
    meaning: "The guest made a hypercall of Xen's interface that the VMM handles.",
    causes: ["A guest with Xen's paravirtual drivers."],
    tries: ["Let KVM handle event channels itself (KVM_XEN_HVM_CONFIG_EVTCHN_SEND)."],
  },
  RISCV_SBI: foreign(RISCV, "A call of the supervisor binary interface that KVM does not handle."),
  RISCV_CSR: foreign(RISCV, "An access to a control and status register that KVM does not handle."),
  NOTIFY: {
    meaning:
      "The guest gave no chance to deliver an event for longer than the notify window (KVM_CAP_X86_NOTIFY_VMEXIT).",
    causes: ["Code that tries to hang the processor."],
    tries: [
      "With KVM_NOTIFY_CONTEXT_INVALID the guest cannot go on; else the VMM decides. A larger window if it was no attack.",
    ],
  },
  LOONGARCH_IOCSR: foreign("LoongArch", "An access to an I/O control and status register."),
  MEMORY_FAULT: {
    meaning:
      "The guest accessed memory that KVM cannot resolve: memory_fault has address, size, and whether it was private. KVM_RUN returns EFAULT or EHWPOISON.",
    causes: [
      "A guest_memfd guest used a page as private that is shared, or the other way round: the VMM converts it.",
      "The VMM's mapping is gone, or the page has a hardware error.",
    ],
    tries: ["Convert by KVM_SET_MEMORY_ATTRIBUTES in larger pieces; look at the mapping otherwise."],
  },
  TDX: {
    meaning:
      "A TDX guest made a call (TDG.VP.VMCALL) that the VMM handles: a quote, what it supports, an interrupt for events.",
    causes: ["Attestation, and the guest's start."],
    tries: ["Ask once and keep the quote."],
  },
  ARM_SEA: foreign(ARM, "A synchronous external abort of the guest."),
};

const NO_TEXT: Text = {
  meaning: "A reason newer than this text; linux/kvm.h has it.",
  causes: ["See Documentation/virt/kvm/api.rst of the kernel that makes it."],
  tries: ["A newer version of this program."],
};

export const USERSPACE_REASONS: readonly ExitReason[] = [...exitReasonNames].map(([code, name]) =>
  reason("userspace", code, name, {
    source: `Documentation/virt/kvm/api.rst, section 5, KVM_EXIT_${name}`,
    ...(TEXTS[name] ?? NO_TEXT),
  }),
);
