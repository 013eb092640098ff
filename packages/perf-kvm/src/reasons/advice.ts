/** Causes and remedies that VMX and SVM share: the same instruction or event, under two names. */
import type { Advice } from "./reason.js";

const NESTED = {
  causes: [
    "The guest is a hypervisor itself: a VMM in it enters, leaves or prepares a guest of its own.",
    "A security product or Windows' virtualization-based security runs a hypervisor underneath the guest's kernel.",
  ],
  tries: [
    "Every exit of a nested guest costs several of these: reduce the exits inside, with this profiler in the guest.",
    "Take the feature away where nobody needs it: kvm_intel.nested=0, kvm_amd.nested=0, or -cpu without vmx or svm.",
  ],
} satisfies Advice;

const RANDOM = {
  causes: ["KVM intercepts it only to refuse it: the feature is not in the guest's CPUID, and it gets #UD."],
  tries: ["Look which program in the guest uses it without asking CPUID, or give the guest the feature."],
} satisfies Advice;

const CACHE = {
  causes: [
    "A driver with a device that is not cache-coherent, above all a graphics driver, or firmware setting up its cache.",
    "A kernel that changes the memory type of pages, or goes to sleep.",
  ],
  tries: [
    "With no passed-through device KVM does nothing: only the exit itself costs. With one, it flushes a whole cache.",
    "A guest kernel that flushes by CLFLUSH never leaves for it.",
  ],
} satisfies Advice;

const DESCRIPTOR_TABLE = {
  causes: [
    "KVM asks for it only when the guest's CPUID has UMIP (user-mode instruction prevention) and the processor has not.",
    "Programs that read the tables' addresses from user mode: old anti-debugging tricks, some emulators.",
  ],
  tries: ["Take UMIP out of the guest's CPUID (-cpu ...,-umip): the intercept goes with it."],
} satisfies Advice;

const IMPOSSIBLE = {
  causes: ["None that a program can make: KVM does not ask the processor for this exit."],
  tries: ["If there is one, note the kernel's version and report it to the KVM list: the control block is wrong."],
} satisfies Advice;

export const ADVICE = {
  nested: NESTED,
  random: RANDOM,
  cache: CACHE,
  descriptorTable: DESCRIPTOR_TABLE,
  impossible: IMPOSSIBLE,
  cpuid: {
    causes: [
      "CPUID is the one instruction that every processor's virtualization always intercepts: KVM answers from the table that the VMM set.",
      "Programs that use CPUID as a serializing instruction, around RDTSC in benchmarks above all.",
      "Language runtimes, crypto libraries and loaders that ask for features when they start: many short processes make many.",
    ],
    tries: [
      "Find the program: with guest samples, or the guest's RIP of this exit.",
      "Serialize by LFENCE or RDTSCP; ask once and remember.",
    ],
  },
  hlt: {
    causes: [
      "The guest is idle. The time until something wakes it is in this exit: sleep, not work.",
      "Short sleeps: an exit, a halt, a wake-up and an entry for each request of a network or disk that is answered slowly.",
    ],
    tries: [
      "Leave it out when you look for lost time: filter by reason, or compare counts, not shares.",
      "For latency let KVM poll longer (kvm.halt_poll_ns), or the guest (cpuidle-haltpoll, idle=poll).",
      "With a processor of its own for each vCPU, stop intercepting: KVM_CAP_X86_DISABLE_EXITS, QEMU's -overcommit cpu-pm=on.",
    ],
  },
  invlpg: {
    causes: [
      "Without nested paging (ept=0, npt=0), KVM keeps shadow page tables and must see every invalidation.",
      "A nested hypervisor asked for it.",
    ],
    tries: [
      "Switch nested paging on: kvm_intel.ept=1, kvm_amd.npt=1; both are the default where the processor has it.",
    ],
  },
  rdpmc: {
    causes: ["A profiler in the guest reads its counters: KVM's virtual PMU answers."],
    tries: [
      "Sample less often in the guest, or read counters in groups.",
      "A guest that needs no PMU is better without (-cpu ...,pmu=off): context switches get cheaper as well.",
    ],
  },
  rdtsc: {
    causes: [
      "KVM does not intercept it by itself: a nested hypervisor asked for it, or the VMM wants exits for time's sake.",
      "The guest's TSC cannot be scaled by the processor, and is made up in software.",
    ],
    tries: [
      "Keep the guest's TSC at the host's frequency, or use a processor that scales it (tsc_scaling in /proc/cpuinfo).",
    ],
  },
  rdtscp: {
    causes: [
      "Intercepted only to refuse it when the guest's CPUID lacks RDTSCP, or because a nested hypervisor asked.",
    ],
    tries: ["Give the guest RDTSCP: programs read the time with it."],
  },
  pause: {
    causes: [
      "A vCPU spins on a lock whose holder does not run: the processor counted many PAUSEs close together (pause-loop exiting).",
      "More vCPUs that want to run than processors of the host.",
      "A program of the guest spins in user mode, by design (DPDK and the like).",
    ],
    tries: [
      "Give every vCPU a processor, or fewer vCPUs to the guest; look at the host's run queues and steal time in the guest.",
      "In the guest: paravirtual spinlocks (CONFIG_PARAVIRT_SPINLOCKS), which halt instead of spinning.",
      "With pinned vCPUs switch it off: kvm_intel.ple_gap=0, kvm_amd.pause_filter_count=0, -overcommit cpu-pm=on.",
    ],
  },
  mwait: {
    causes: [
      "The guest's idle loop, or a program, uses MONITOR and MWAIT although its CPUID does not have them; KVM treats it as nothing.",
    ],
    tries: ["With a processor of its own for each vCPU: KVM_CAP_X86_DISABLE_EXITS, QEMU's -overcommit cpu-pm=on."],
  },
  io: {
    causes: [
      "A device with ports is used: serial port, PIT, PIC, CMOS clock, PS/2, IDE, PCI configuration by 0xcf8, ACPI's PM timer at 0x608 or 0x408, legacy virtio's doorbell.",
      "A delay loop by port 0x80.",
    ],
    tries: [
      "The port names the device: look at the detail column, then replace the device by a virtio one or use it less.",
      "0x608 or 0x408 in numbers: the guest keeps time by the PM timer; let it use kvmclock or the TSC.",
      "Doorbells: ioeventfd and vhost keep them in the kernel. Serial consoles: fewer messages, virtio-console.",
    ],
  },
  msrRead: {
    causes: [
      "Model-specific registers that the guest may not read by itself: x2APIC ones without APIC virtualization, PMU counters, power and thermal registers.",
      "Monitoring agents in the guest that read registers in a loop (turbostat, mcelog).",
    ],
    tries: [
      "The kvm_msr tracepoint names the register and the value.",
      "Switch APIC virtualization on (apicv, avic): x2APIC registers then cost nothing.",
    ],
  },
  msrWrite: {
    causes: [
      "The guest's timer: each TSC deadline written (0x6e0) is an exit.",
      "Interrupts to other vCPUs: x2APIC's ICR (0x830); and the end of an interrupt (0x80b) where it is not virtualized.",
      "A PMU in use, or a mitigation that writes SPEC_CTRL (0x48) or PRED_CMD (0x49) at each switch of context.",
    ],
    tries: [
      "The kvm_msr tracepoint names the register and the value.",
      "Timers: a lower CONFIG_HZ or nohz in the guest, fewer short sleeps. Interrupts: fewer wake-ups between vCPUs, IPI virtualization where the processor has it.",
      "Switch APIC virtualization on (apicv, avic): the end of an interrupt then costs nothing.",
    ],
  },
  externalInterrupt: {
    causes: [
      "An interrupt for the host came while the guest ran: its timer tick, a network card or disk, a wake-up of another processor.",
      "The host kicks the vCPU to deliver it something: a signal of the VMM, an interrupt where nothing is posted.",
    ],
    tries: [
      "/proc/interrupts tells which grow on the vCPU's processor; move devices' interrupts away (/proc/irq/N/smp_affinity).",
      "Isolate the processors of vCPUs: nohz_full=, isolcpus=, rcu_nocbs= on the host's command line.",
      "Posted interrupts and AVIC deliver a passed-through device's interrupts without this exit.",
    ],
  },
  nmi: {
    causes: [
      "A profiler on the host (perf's counters overflow by NMI), the hard-lockup watchdog, or a hardware error.",
    ],
    tries: ["Sample less often on the host; kernel.nmi_watchdog=0."],
  },
  smi: {
    causes: ["A system-management interrupt came: firmware handles power, temperature or an emulated device."],
    tries: ["Count them with `turbostat` (SMI column); look for firmware settings on legacy USB and power management."],
  },
  init: {
    causes: [
      "The physical processor got an INIT: somebody restarts it. Under KVM only while the host goes down or into kexec.",
    ],
    tries: ["Look at the host's log around that time."],
  },
  interruptWindow: {
    causes: [
      "An interrupt waited for the guest to enable interrupts, and it just has: KVM injects it now.",
      "Interrupts that come faster than the guest finishes handling them, or long stretches with interrupts disabled.",
    ],
    tries: [
      "Interrupt coalescing in the guest's drivers, so that one interrupt stands for many.",
      "APIC virtualization (apicv, avic) delivers without KVM's help.",
    ],
  },
  taskSwitch: {
    causes: ["A 32-bit guest switches tasks by hardware (a task gate or TSS): old systems, and double-fault handlers."],
    tries: ["None needed: a modern kernel makes none."],
  },
  shutdown: {
    causes: [
      "An exception while delivering a double fault: the guest's descriptor tables, page tables or stack are gone.",
      "On purpose: kernels restart a machine that way when nothing else works (reboot=t).",
      "A kernel loaded to the wrong place, or entered in a mode it does not expect.",
    ],
    tries: [
      "Registers at the moment of the fault tell most: CR3, RIP, IDTR. `vmm inspect` or a debugger shows them.",
      "Switch the guest's own messages on early: earlyprintk=serial, loglevel=8; and QEMU's -d int,cpu_reset for a comparison.",
    ],
  },
  pageFault: {
    causes: [
      "The first touch of each page: a guest that has just started, or memory that was freed to the host (balloon, free page reporting).",
      "The host took the page away: swap, KSM, NUMA balancing, compaction into huge pages.",
      "A write to a page that is write-protected on purpose: dirty logging in a live migration, a shadowed page table, ROM.",
      "A device's registers, the first time; after that KVM knows the page for one.",
    ],
    tries: [
      "Fill memory beforehand (QEMU's prealloc=on) and back it with huge pages: one fault in place of 512.",
      "Keep the host from touching it: mlock, numa_balancing off, KSM off for this VMM.",
      "The kvm_page_fault tracepoint names address and error code.",
    ],
  },
  xsetbv: {
    causes: ["The guest changes which register states are enabled (XCR0): once a vCPU at boot."],
    tries: [
      "Many mean that a program or a nested hypervisor switches XCR0 for each context; nothing on the host helps.",
    ],
  },
  invpcid: {
    causes: ["Without nested paging KVM keeps shadow page tables and must see it; otherwise only to refuse it."],
    tries: ["Switch nested paging on: kvm_intel.ept=1, kvm_amd.npt=1."],
  },
  busLock: {
    causes: [
      "A locked access crossed a cache line or touched uncached memory: it stops all processors for a thousand cycles.",
      "Old or misaligned code, often a game or a structure packed by hand.",
    ],
    tries: [
      "The guest's RIP names the code: align the variable.",
      "The VMM may slow such a guest down (KVM_CAP_X86_BUS_LOCK_EXIT, QEMU's bus-lock-ratelimit).",
    ],
  },
  hypercall: {
    causes: [
      "The guest calls KVM: waking a halted vCPU (KVM_HC_KICK_CPU), interrupts to many vCPUs (KVM_HC_SEND_IPI), yielding (KVM_HC_SCHED_YIELD), clock pairing.",
      "A Windows guest calls Hyper-V's interface: TLB flushes, interrupts, timers.",
    ],
    tries: [
      "The kvm_hypercall and kvm_hv_hypercall tracepoints name the call.",
      "Many wake-ups mean contended locks: see PAUSE.",
    ],
  },
} as const satisfies Record<string, Advice>;
