/**
 * The names this tree uses from the kernel's headers: what the generator asks for, and nothing else. A header that has more
 * changes nothing; a header that has less is filled up by newer.h.
 *
 * Constants: a prefix and the words after it. Structs, by the name they have in TypeScript; fields in the notation
 *   name          a number (width and sign are found by the compiler)
 *   name[]        an array of numbers (name[][] flattens two dimensions)
 *   name:Type     a struct of this list;  name[]:Type  an array of them
 *   a.b           a member of an unnamed struct inside; it becomes aB
 */

/** @typedef {{ title: string, names: string[] }} ConstantGroup */
/** @typedef {{ name: string, c: string, doc: string, fields: string[], offsets?: string }} StructSpec */

/** @param {string} title @param {string} prefix @param {string} words @returns {ConstantGroup} */
const group = (title, prefix, words) => ({
  title,
  names: words
    .trim()
    .split(/\s+/)
    .map((word) => prefix + word),
});

/** @param {string} name @param {string} c @param {string} doc @param {string} fields @param {string} [offsets] @returns {StructSpec} */
const struct = (name, c, doc, fields, offsets) => ({
  name,
  c,
  doc,
  fields: fields.trim().split(/\s+/),
  ...(offsets ? { offsets } : {}),
});

/** Headers in the order the C program includes them. */
export const headers = [
  "stddef.h",
  "stdio.h",
  "string.h",
  "errno.h",
  "poll.h",
  "linux/kvm.h",
  "newer.h",
  "linux/perf_event.h",
  "linux/if_tun.h",
  "linux/fcntl.h",
  "linux/openat2.h",
  "linux/stat.h",
  "linux/xattr.h",
];

/** @type {ConstantGroup[]} */
export const kvmConstants = [
  group(
    "Exit reasons (kvm_run.exit_reason)",
    "KVM_EXIT_",
    `
    UNKNOWN EXCEPTION IO HYPERCALL DEBUG HLT MMIO IRQ_WINDOW_OPEN SHUTDOWN FAIL_ENTRY INTR SET_TPR TPR_ACCESS S390_SIEIC
    S390_RESET DCR NMI INTERNAL_ERROR OSI PAPR_HCALL S390_UCONTROL WATCHDOG S390_TSCH EPR SYSTEM_EVENT S390_STSI IOAPIC_EOI
    HYPERV ARM_NISV X86_RDMSR X86_WRMSR DIRTY_RING_FULL AP_RESET_HOLD X86_BUS_LOCK XEN RISCV_SBI RISCV_CSR NOTIFY
    LOONGARCH_IOCSR MEMORY_FAULT TDX ARM_SEA`,
  ),
  group(
    "Details of exits",
    "KVM_",
    `
    EXIT_IO_IN EXIT_IO_OUT EXIT_HYPERV_SYNIC EXIT_HYPERV_HCALL EXIT_HYPERV_SYNDBG EXIT_XEN_HCALL
    INTERNAL_ERROR_EMULATION INTERNAL_ERROR_SIMUL_EX INTERNAL_ERROR_DELIVERY_EV INTERNAL_ERROR_UNEXPECTED_EXIT_REASON
    INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES
    SYSTEM_EVENT_SHUTDOWN SYSTEM_EVENT_RESET SYSTEM_EVENT_CRASH SYSTEM_EVENT_WAKEUP SYSTEM_EVENT_SUSPEND SYSTEM_EVENT_SEV_TERM
    MSR_EXIT_REASON_INVAL MSR_EXIT_REASON_UNKNOWN MSR_EXIT_REASON_FILTER NOTIFY_CONTEXT_INVALID
    MEMORY_EXIT_FLAG_PRIVATE RUN_X86_SMM RUN_X86_BUS_LOCK RUN_X86_GUEST_MODE`,
  ),
  group(
    "Capabilities (KVM_CHECK_EXTENSION, KVM_ENABLE_CAP)",
    "KVM_CAP_",
    `
    IRQCHIP HLT MMU_SHADOW_CACHE_CONTROL USER_MEMORY SET_TSS_ADDR VAPIC EXT_CPUID CLOCKSOURCE NR_VCPUS NR_MEMSLOTS PIT NOP_IO_DELAY
    PV_MMU MP_STATE COALESCED_MMIO SYNC_MMU IOMMU DESTROY_MEMORY_REGION_WORKS USER_NMI SET_GUEST_DEBUG REINJECT_CONTROL IRQ_ROUTING
    IRQ_INJECT_STATUS ASSIGN_DEV_IRQ JOIN_MEMORY_REGIONS_WORKS MCE IRQFD PIT2 SET_BOOT_CPU_ID PIT_STATE2 IOEVENTFD
    SET_IDENTITY_MAP_ADDR XEN_HVM ADJUST_CLOCK INTERNAL_ERROR_DATA VCPU_EVENTS HYPERV HYPERV_VAPIC HYPERV_SPIN PCI_SEGMENT
    INTR_SHADOW DEBUGREGS X86_ROBUST_SINGLESTEP ENABLE_CAP XSAVE XCRS ASYNC_PF TSC_CONTROL GET_TSC_KHZ MAX_VCPUS ONE_REG
    TSC_DEADLINE_TIMER SYNC_REGS PCI_2_3 KVMCLOCK_CTRL SIGNAL_MSI READONLY_MEM IRQFD_RESAMPLE DEVICE_CTRL EXT_EMUL_CPUID HYPERV_TIME
    IOAPIC_POLARITY_IGNORED ENABLE_CAP_VM IOEVENTFD_NO_LENGTH VM_ATTRIBUTES CHECK_EXTENSION_VM DISABLE_QUIRKS X86_SMM
    MULTI_ADDRESS_SPACE GUEST_DEBUG_HW_BPS GUEST_DEBUG_HW_WPS SPLIT_IRQCHIP IOEVENTFD_ANY_LENGTH HYPERV_SYNIC VCPU_ATTRIBUTES
    MAX_VCPU_ID X2APIC_API MSI_DEVID IMMEDIATE_EXIT X86_DISABLE_EXITS HYPERV_SYNIC2 HYPERV_VP_INDEX GET_MSR_FEATURES HYPERV_EVENTFD
    HYPERV_TLBFLUSH NESTED_STATE MSR_PLATFORM_INFO HYPERV_SEND_IPI COALESCED_PIO HYPERV_ENLIGHTENED_VMCS EXCEPTION_PAYLOAD
    MANUAL_DIRTY_LOG_PROTECT HYPERV_CPUID MANUAL_DIRTY_LOG_PROTECT2 PMU_EVENT_FILTER HYPERV_DIRECT_TLBFLUSH HALT_POLL ASYNC_PF_INT
    LAST_CPU SMALLER_MAXPHYADDR STEAL_TIME X86_USER_SPACE_MSR X86_MSR_FILTER ENFORCE_PV_FEATURE_CPUID SYS_HYPERV_CPUID DIRTY_LOG_RING
    X86_BUS_LOCK_EXIT SET_GUEST_DEBUG2 SGX_ATTRIBUTE VM_COPY_ENC_CONTEXT_FROM PTP_KVM HYPERV_ENFORCE_CPUID SREGS2 EXIT_HYPERCALL
    BINARY_STATS_FD EXIT_ON_EMULATION_FAILURE VM_MOVE_ENC_CONTEXT_FROM VM_GPA_BITS XSAVE2 SYS_ATTRIBUTES PMU_CAPABILITY
    DISABLE_QUIRKS2 VM_TSC_CONTROL SYSTEM_EVENT_DATA X86_TRIPLE_FAULT_EVENT X86_NOTIFY_VMEXIT VM_DISABLE_NX_HUGE_PAGES
    DIRTY_LOG_RING_ACQ_REL DIRTY_LOG_RING_WITH_BITMAP PMU_EVENT_MASKED_EVENTS USER_MEMORY2 MEMORY_FAULT_INFO MEMORY_ATTRIBUTES
    GUEST_MEMFD VM_TYPES PRE_FAULT_MEMORY X86_APIC_BUS_CYCLES_NS X86_GUEST_MODE GUEST_MEMFD_FLAGS`,
  ),
  group(
    "Ioctls of /dev/kvm",
    "KVM_",
    `
    GET_API_VERSION CREATE_VM GET_MSR_INDEX_LIST CHECK_EXTENSION GET_VCPU_MMAP_SIZE GET_SUPPORTED_CPUID GET_EMULATED_CPUID
    GET_MSR_FEATURE_INDEX_LIST X86_GET_MCE_CAP_SUPPORTED GET_SUPPORTED_HV_CPUID`,
  ),
  group(
    "Ioctls of a VM",
    "KVM_",
    `
    CREATE_VCPU GET_DIRTY_LOG CLEAR_DIRTY_LOG RESET_DIRTY_RINGS SET_NR_MMU_PAGES SET_USER_MEMORY_REGION SET_USER_MEMORY_REGION2
    SET_TSS_ADDR SET_IDENTITY_MAP_ADDR SET_BOOT_CPU_ID CREATE_IRQCHIP IRQ_LINE IRQ_LINE_STATUS GET_IRQCHIP SET_IRQCHIP
    REGISTER_COALESCED_MMIO UNREGISTER_COALESCED_MMIO SET_GSI_ROUTING REINJECT_CONTROL IRQFD CREATE_PIT2 GET_PIT2 SET_PIT2
    IOEVENTFD SET_CLOCK GET_CLOCK SET_TSC_KHZ GET_TSC_KHZ SIGNAL_MSI SET_PMU_EVENT_FILTER CREATE_DEVICE SET_DEVICE_ATTR
    GET_DEVICE_ATTR HAS_DEVICE_ATTR X86_SET_MSR_FILTER HYPERV_EVENTFD SET_MEMORY_ATTRIBUTES CREATE_GUEST_MEMFD GET_STATS_FD`,
  ),
  group(
    "Ioctls of a vCPU",
    "KVM_",
    `
    RUN GET_REGS SET_REGS GET_SREGS SET_SREGS GET_SREGS2 SET_SREGS2 TRANSLATE INTERRUPT GET_MSRS SET_MSRS SET_CPUID2 GET_CPUID2
    SET_SIGNAL_MASK GET_FPU SET_FPU GET_LAPIC SET_LAPIC TPR_ACCESS_REPORTING SET_VAPIC_ADDR GET_MP_STATE SET_MP_STATE NMI
    SET_GUEST_DEBUG X86_SETUP_MCE X86_SET_MCE GET_VCPU_EVENTS SET_VCPU_EVENTS GET_DEBUGREGS SET_DEBUGREGS ENABLE_CAP GET_XSAVE
    GET_XSAVE2 SET_XSAVE GET_XCRS SET_XCRS GET_ONE_REG SET_ONE_REG KVMCLOCK_CTRL SMI GET_NESTED_STATE SET_NESTED_STATE
    PRE_FAULT_MEMORY`,
  ),
  group(
    "Flags and limits",
    "KVM_",
    `
    API_VERSION MEM_LOG_DIRTY_PAGES MEM_READONLY MEM_GUEST_MEMFD MEMORY_ATTRIBUTE_PRIVATE PIT_SPEAKER_DUMMY NR_INTERRUPTS
    IRQCHIP_PIC_MASTER IRQCHIP_PIC_SLAVE IRQCHIP_IOAPIC IOAPIC_NUM_PINS APIC_REG_SIZE
    IRQ_ROUTING_IRQCHIP IRQ_ROUTING_MSI IRQ_ROUTING_HV_SINT IRQ_ROUTING_XEN_EVTCHN MSI_VALID_DEVID
    IRQFD_FLAG_DEASSIGN IRQFD_FLAG_RESAMPLE IOEVENTFD_FLAG_DATAMATCH IOEVENTFD_FLAG_PIO IOEVENTFD_FLAG_DEASSIGN
    MP_STATE_RUNNABLE MP_STATE_UNINITIALIZED MP_STATE_INIT_RECEIVED MP_STATE_HALTED MP_STATE_SIPI_RECEIVED MP_STATE_STOPPED
    MP_STATE_AP_RESET_HOLD MP_STATE_SUSPENDED
    GUESTDBG_ENABLE GUESTDBG_SINGLESTEP GUESTDBG_USE_SW_BP GUESTDBG_USE_HW_BP GUESTDBG_INJECT_DB GUESTDBG_INJECT_BP GUESTDBG_BLOCKIRQ
    X86_DISABLE_EXITS_MWAIT X86_DISABLE_EXITS_HLT X86_DISABLE_EXITS_PAUSE X86_DISABLE_EXITS_CSTATE
    CLOCK_TSC_STABLE CLOCK_REALTIME CLOCK_HOST_TSC
    CPUID_FLAG_SIGNIFCANT_INDEX CPUID_FLAG_STATEFUL_FUNC CPUID_FLAG_STATE_READ_NEXT
    MSR_FILTER_READ MSR_FILTER_WRITE MSR_FILTER_DEFAULT_ALLOW MSR_FILTER_DEFAULT_DENY MSR_FILTER_MAX_RANGES MSR_FILTER_MAX_BITMAP_SIZE
    PIT_FLAGS_HPET_LEGACY PIT_FLAGS_SPEAKER_DATA_ON
    VCPUEVENT_VALID_NMI_PENDING VCPUEVENT_VALID_SIPI_VECTOR VCPUEVENT_VALID_SHADOW VCPUEVENT_VALID_SMM VCPUEVENT_VALID_PAYLOAD
    VCPUEVENT_VALID_TRIPLE_FAULT X86_SHADOW_INT_MOV_SS X86_SHADOW_INT_STI MAX_XCRS SREGS2_FLAGS_PDPTRS_VALID
    SYNC_X86_REGS SYNC_X86_SREGS SYNC_X86_EVENTS SYNC_X86_VALID_FIELDS
    X86_QUIRK_LINT0_REENABLED X86_QUIRK_CD_NW_CLEARED X86_QUIRK_LAPIC_MMIO_HOLE X86_QUIRK_OUT_7E_INC_RIP
    X86_QUIRK_MISC_ENABLE_NO_MWAIT X86_QUIRK_FIX_HYPERCALL_INSN X86_QUIRK_MWAIT_NEVER_UD_FAULTS
    STATE_NESTED_FORMAT_VMX STATE_NESTED_FORMAT_SVM STATE_NESTED_GUEST_MODE STATE_NESTED_RUN_PENDING STATE_NESTED_GIF_SET
    PMU_EVENT_ALLOW PMU_EVENT_DENY PMU_EVENT_FLAG_MASKED_EVENTS PMU_CAP_DISABLE VCPU_TSC_CTRL VCPU_TSC_OFFSET X86_XCOMP_GUEST_SUPP
    DEV_TYPE_VFIO CREATE_DEVICE_TEST X2APIC_API_USE_32BIT_IDS X2APIC_API_DISABLE_BROADCAST_QUIRK
    DIRTY_LOG_MANUAL_PROTECT_ENABLE DIRTY_LOG_INITIALLY_SET DIRTY_LOG_PAGE_OFFSET DIRTY_GFN_F_DIRTY DIRTY_GFN_F_RESET
    PIO_PAGE_OFFSET COALESCED_MMIO_PAGE_OFFSET BUS_LOCK_DETECTION_OFF BUS_LOCK_DETECTION_EXIT
    X86_NOTIFY_VMEXIT_ENABLED X86_NOTIFY_VMEXIT_USER HYPERV_EVENTFD_DEASSIGN
    X86_DEFAULT_VM X86_SW_PROTECTED_VM X86_SEV_VM X86_SEV_ES_VM X86_SNP_VM X86_TDX_VM
    STATS_TYPE_SHIFT STATS_TYPE_MASK STATS_TYPE_CUMULATIVE STATS_TYPE_INSTANT STATS_TYPE_PEAK STATS_TYPE_LINEAR_HIST STATS_TYPE_LOG_HIST
    STATS_UNIT_SHIFT STATS_UNIT_MASK STATS_UNIT_NONE STATS_UNIT_BYTES STATS_UNIT_SECONDS STATS_UNIT_CYCLES STATS_UNIT_BOOLEAN
    STATS_BASE_SHIFT STATS_BASE_MASK STATS_BASE_POW10 STATS_BASE_POW2`,
  ),
  group("guest_memfd", "GUEST_MEMFD_FLAG_", "MMAP INIT_SHARED"),
];

/** @type {ConstantGroup[]} */
export const perfConstants = [
  group("perf_event_attr.type", "PERF_TYPE_", "HARDWARE SOFTWARE TRACEPOINT HW_CACHE RAW BREAKPOINT"),
  group(
    "perf_event_attr.config of hardware events",
    "PERF_COUNT_HW_",
    `
    CPU_CYCLES INSTRUCTIONS CACHE_REFERENCES CACHE_MISSES BRANCH_INSTRUCTIONS BRANCH_MISSES BUS_CYCLES STALLED_CYCLES_FRONTEND
    STALLED_CYCLES_BACKEND REF_CPU_CYCLES`,
  ),
  group(
    "perf_event_attr.config of software events",
    "PERF_COUNT_SW_",
    `
    CPU_CLOCK TASK_CLOCK PAGE_FAULTS CONTEXT_SWITCHES CPU_MIGRATIONS PAGE_FAULTS_MIN PAGE_FAULTS_MAJ ALIGNMENT_FAULTS
    EMULATION_FAULTS DUMMY BPF_OUTPUT CGROUP_SWITCHES`,
  ),
  group(
    "perf_event_attr.sample_type",
    "PERF_SAMPLE_",
    `
    IP TID TIME ADDR READ CALLCHAIN ID CPU PERIOD STREAM_ID RAW BRANCH_STACK REGS_USER STACK_USER WEIGHT DATA_SRC IDENTIFIER
    TRANSACTION REGS_INTR PHYS_ADDR AUX CGROUP DATA_PAGE_SIZE CODE_PAGE_SIZE WEIGHT_STRUCT`,
  ),
  group("perf_event_attr.read_format", "PERF_FORMAT_", "TOTAL_TIME_ENABLED TOTAL_TIME_RUNNING ID GROUP LOST"),
  group(
    "Record types in the ring and in perf.data",
    "PERF_RECORD_",
    `
    MMAP LOST COMM EXIT THROTTLE UNTHROTTLE FORK READ SAMPLE MMAP2 AUX ITRACE_START LOST_SAMPLES SWITCH SWITCH_CPU_WIDE NAMESPACES
    KSYMBOL BPF_EVENT CGROUP TEXT_POKE AUX_OUTPUT_HW_ID`,
  ),
  group(
    "perf_event_header.misc",
    "PERF_RECORD_MISC_",
    `
    CPUMODE_MASK CPUMODE_UNKNOWN KERNEL USER HYPERVISOR GUEST_KERNEL GUEST_USER MMAP_DATA COMM_EXEC SWITCH_OUT EXACT_IP
    SWITCH_OUT_PREEMPT MMAP_BUILD_ID`,
  ),
  group(
    "Ioctls of a perf event",
    "PERF_EVENT_IOC_",
    "ENABLE DISABLE REFRESH RESET PERIOD SET_OUTPUT SET_FILTER ID PAUSE_OUTPUT",
  ),
  group("perf_event_open flags", "PERF_FLAG_", "FD_NO_GROUP FD_OUTPUT PID_CGROUP FD_CLOEXEC"),
];

/** One-bit members of perf_event_attr, in declaration order: their bit numbers become PERF_ATTR_BITS. */
export const perfAttrBits = `
  disabled inherit pinned exclusive exclude_user exclude_kernel exclude_hv exclude_idle mmap comm freq inherit_stat enable_on_exec
  task watermark precise_ip mmap_data sample_id_all exclude_host exclude_guest exclude_callchain_kernel exclude_callchain_user mmap2
  comm_exec use_clockid context_switch write_backward namespaces ksymbol bpf_event aux_output cgroup text_poke build_id
  inherit_thread remove_on_exec sigtrap`
  .trim()
  .split(/\s+/);

/** @type {ConstantGroup[]} */
export const systemConstants = [
  group(
    "errno",
    "E",
    `
    PERM NOENT SRCH INTR IO NXIO 2BIG NOEXEC BADF CHILD AGAIN NOMEM ACCES FAULT NOTBLK BUSY EXIST XDEV NODEV NOTDIR ISDIR INVAL NFILE
    MFILE NOTTY TXTBSY FBIG NOSPC SPIPE ROFS MLINK PIPE DOM RANGE DEADLK NAMETOOLONG NOLCK NOSYS NOTEMPTY LOOP NODATA TIME OVERFLOW
    BADFD ILSEQ USERS NOTSOCK DESTADDRREQ MSGSIZE PROTOTYPE NOPROTOOPT PROTONOSUPPORT OPNOTSUPP AFNOSUPPORT ADDRINUSE ADDRNOTAVAIL
    NETDOWN NETUNREACH CONNABORTED CONNRESET NOBUFS ISCONN NOTCONN SHUTDOWN TIMEDOUT CONNREFUSED HOSTDOWN HOSTUNREACH ALREADY
    INPROGRESS STALE DQUOT PROTO BADMSG CANCELED NOKEY OWNERDEAD HWPOISON`,
  ),
  group("poll(2)", "POLL", "IN PRI OUT ERR HUP NVAL RDHUP"),
  group(
    "tun/tap",
    "",
    `
    TUNSETIFF TUNSETOFFLOAD TUNSETVNETHDRSZ TUNSETQUEUE IFF_TAP IFF_NO_PI IFF_VNET_HDR IFF_MULTI_QUEUE
    TUN_F_CSUM TUN_F_TSO4 TUN_F_TSO6 TUN_F_TSO_ECN TUN_F_UFO`,
  ),
  group(
    "Files by a directory's descriptor (openat2, statx, renameat2)",
    "",
    `
    O_PATH RESOLVE_NO_XDEV RESOLVE_NO_MAGICLINKS RESOLVE_NO_SYMLINKS RESOLVE_BENEATH RESOLVE_IN_ROOT RESOLVE_CACHED
    RENAME_NOREPLACE RENAME_EXCHANGE RENAME_WHITEOUT STATX_BASIC_STATS STATX_BTIME XATTR_CREATE XATTR_REPLACE`,
  ),
];

/** @type {StructSpec[]} */
export const structs = [
  struct(
    "Statx",
    "struct statx",
    "What statx(2) tells about a file.",
    `
    stx_mask stx_blksize stx_attributes stx_nlink stx_uid stx_gid stx_mode stx_ino stx_size stx_blocks stx_attributes_mask
    stx_atime.tv_sec stx_atime.tv_nsec stx_btime.tv_sec stx_btime.tv_nsec stx_ctime.tv_sec stx_ctime.tv_nsec
    stx_mtime.tv_sec stx_mtime.tv_nsec stx_rdev_major stx_rdev_minor stx_dev_major stx_dev_minor stx_mnt_id`,
  ),
  struct(
    "Regs",
    "struct kvm_regs",
    "General registers (KVM_GET_REGS).",
    "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags",
  ),
  struct(
    "Segment",
    "struct kvm_segment",
    "One segment register with its hidden part.",
    "base limit selector type present dpl db s l g avl unusable",
  ),
  struct("Dtable", "struct kvm_dtable", "GDTR or IDTR.", "base limit"),
  struct(
    "Sregs",
    "struct kvm_sregs",
    "Special registers (KVM_GET_SREGS).",
    `
    cs:Segment ds:Segment es:Segment fs:Segment gs:Segment ss:Segment tr:Segment ldt:Segment gdt:Dtable idt:Dtable
    cr0 cr2 cr3 cr4 cr8 efer apic_base interrupt_bitmap[]`,
  ),
  struct(
    "Sregs2",
    "struct kvm_sregs2",
    "Special registers with PDPTRs and without the interrupt bitmap (KVM_GET_SREGS2).",
    `
    cs:Segment ds:Segment es:Segment fs:Segment gs:Segment ss:Segment tr:Segment ldt:Segment gdt:Dtable idt:Dtable
    cr0 cr2 cr3 cr4 cr8 efer apic_base flags pdptrs[]`,
  ),
  struct(
    "Fpu",
    "struct kvm_fpu",
    "x87 and SSE state (KVM_GET_FPU).",
    "fpr[][] fcw fsw ftwx last_opcode last_ip last_dp xmm[][] mxcsr",
  ),
  struct("Debugregs", "struct kvm_debugregs", "Debug registers (KVM_GET_DEBUGREGS).", "db[] dr6 dr7 flags"),
  struct(
    "VcpuEvents",
    "struct kvm_vcpu_events",
    "Pending and injected events (KVM_GET_VCPU_EVENTS).",
    `
    exception.injected exception.nr exception.has_error_code exception.pending exception.error_code
    interrupt.injected interrupt.nr interrupt.soft interrupt.shadow nmi.injected nmi.pending nmi.masked sipi_vector flags
    smi.smm smi.pending smi.smm_inside_nmi smi.latched_init triple_fault.pending exception_has_payload exception_payload`,
  ),
  struct("Xcr", "struct kvm_xcr", "One extended control register.", "xcr value"),
  struct("Xcrs", "struct kvm_xcrs", "Extended control registers (KVM_GET_XCRS).", "nr_xcrs flags xcrs[]:Xcr"),
  struct("Xsave", "struct kvm_xsave", "XSAVE area, standard format (KVM_GET_XSAVE).", "region[]"),
  struct(
    "LapicState",
    "struct kvm_lapic_state",
    "Local APIC registers (KVM_GET_LAPIC); register N is at byte N.",
    "regs[]",
  ),
  struct(
    "Translation",
    "struct kvm_translation",
    "A guest linear address and what it maps to (KVM_TRANSLATE).",
    "linear_address physical_address valid writeable usermode",
  ),
  struct(
    "GuestDebug",
    "struct kvm_guest_debug",
    "What guest debugging is on (KVM_SET_GUEST_DEBUG).",
    "control arch.debugreg[]",
  ),
  struct(
    "SyncRegs",
    "struct kvm_sync_regs",
    "The registers shared through the run page (KVM_CAP_SYNC_REGS).",
    "regs:Regs sregs:Sregs events:VcpuEvents",
  ),
  struct(
    "PitChannelState",
    "struct kvm_pit_channel_state",
    "One counter of the 8254.",
    `
    count latched_count count_latched status_latched status read_state write_state write_latch rw_mode mode bcd gate count_load_time`,
  ),
  struct(
    "PitState2",
    "struct kvm_pit_state2",
    "The in-kernel 8254 (KVM_GET_PIT2).",
    "channels[]:PitChannelState flags",
  ),
  struct("PitConfig", "struct kvm_pit_config", "KVM_CREATE_PIT2.", "flags"),
  struct("ReinjectControl", "struct kvm_reinject_control", "KVM_REINJECT_CONTROL.", "pit_reinject"),
  struct(
    "PicState",
    "struct kvm_pic_state",
    "One in-kernel 8259.",
    `
    last_irr irr imr isr priority_add irq_base read_reg_select poll special_mask init_state auto_eoi rotate_on_auto_eoi
    special_fully_nested_mode init4 elcr elcr_mask`,
  ),
  struct(
    "IoapicState",
    "struct kvm_ioapic_state",
    "The in-kernel I/O APIC.",
    "base_address ioregsel id irr redirtbl[].bits",
  ),
  struct(
    "Irqchip",
    "struct kvm_irqchip",
    "KVM_GET_IRQCHIP: which chip, and its state at byte 8.",
    "chip_id chip.pic:PicState chip.ioapic:IoapicState",
  ),
  struct("ClockData", "struct kvm_clock_data", "kvmclock (KVM_GET_CLOCK).", "clock flags realtime host_tsc"),
  struct(
    "X86Mce",
    "struct kvm_x86_mce",
    "A machine check to inject (KVM_X86_SET_MCE).",
    "status addr misc mcg_status bank",
  ),
  struct("TprAccessCtl", "struct kvm_tpr_access_ctl", "KVM_TPR_ACCESS_REPORTING.", "enabled flags"),
  struct("EnableCap", "struct kvm_enable_cap", "KVM_ENABLE_CAP.", "cap flags args[]"),
  struct(
    "UserspaceMemoryRegion2",
    "struct kvm_userspace_memory_region2",
    "KVM_SET_USER_MEMORY_REGION2.",
    `
    slot flags guest_phys_addr memory_size userspace_addr guest_memfd_offset guest_memfd`,
  ),
  struct("Irqfd", "struct kvm_irqfd", "KVM_IRQFD.", "fd gsi flags resamplefd"),
  struct("Ioeventfd", "struct kvm_ioeventfd", "KVM_IOEVENTFD.", "datamatch addr len fd flags"),
  struct("Msi", "struct kvm_msi", "KVM_SIGNAL_MSI.", "address_lo address_hi data flags devid"),
  struct("CoalescedZone", "struct kvm_coalesced_mmio_zone", "KVM_REGISTER_COALESCED_MMIO.", "addr size pio"),
  struct(
    "CoalescedEntry",
    "struct kvm_coalesced_mmio",
    "One write waiting in the coalesced ring.",
    "phys_addr len pio data[]",
  ),
  struct(
    "CoalescedRing",
    "struct kvm_coalesced_mmio_ring",
    "Head of the coalesced ring; the entries follow.",
    "first last",
  ),
  struct("IrqRouting", "struct kvm_irq_routing", "Head of KVM_SET_GSI_ROUTING; the entries follow.", "nr flags"),
  struct(
    "IrqRoutingRecord",
    "struct kvm_irq_routing_entry",
    "One entry of KVM_SET_GSI_ROUTING.",
    `
    gsi type flags u.irqchip.irqchip u.irqchip.pin u.msi.address_lo u.msi.address_hi u.msi.data u.msi.devid u.hv_sint.vcpu u.hv_sint.sint`,
  ),
  struct("CpuidHead", "struct kvm_cpuid2", "Head of KVM_SET_CPUID2; the entries follow.", "nent"),
  struct("CpuidRecord", "struct kvm_cpuid_entry2", "One CPUID leaf.", "function index flags eax ebx ecx edx"),
  struct("MsrsHead", "struct kvm_msrs", "Head of KVM_GET_MSRS; the entries follow.", "nmsrs"),
  struct("MsrRecord", "struct kvm_msr_entry", "One MSR and its value.", "index data"),
  struct(
    "MemoryAttributes",
    "struct kvm_memory_attributes",
    "KVM_SET_MEMORY_ATTRIBUTES.",
    "address size attributes flags",
  ),
  struct("PreFaultMemory", "struct kvm_pre_fault_memory", "KVM_PRE_FAULT_MEMORY.", "gpa size flags"),
  struct("NestedStateHead", "struct kvm_nested_state", "Head of KVM_GET_NESTED_STATE.", "flags format size"),
  struct(
    "PmuEventFilterHead",
    "struct kvm_pmu_event_filter",
    "Head of KVM_SET_PMU_EVENT_FILTER.",
    "action nevents fixed_counter_bitmap flags",
  ),
  struct("HypervEventfd", "struct kvm_hyperv_eventfd", "KVM_HYPERV_EVENTFD.", "conn_id fd flags"),
  struct("DirtyGfn", "struct kvm_dirty_gfn", "One entry of a dirty ring.", "flags slot offset"),
  struct(
    "StatsHeader",
    "struct kvm_stats_header",
    "Head of a binary stats fd.",
    "flags name_size num_desc id_offset desc_offset data_offset",
  ),
  struct(
    "StatsDesc",
    "struct kvm_stats_desc",
    "Head of one descriptor of a binary stats fd; the name follows.",
    "flags exponent size offset bucket_size",
  ),
  struct(
    "Run",
    "struct kvm_run",
    "The run page (struct kvm_run). In the run loop use the RUN_ offsets with typed arrays instead.",
    `
    request_interrupt_window immediate_exit exit_reason ready_for_interrupt_injection if_flag flags cr8 apic_base
    hw.hardware_exit_reason fail_entry.hardware_entry_failure_reason fail_entry.cpu ex.exception ex.error_code
    io.direction io.size io.port io.count io.data_offset debug.arch.exception debug.arch.pc debug.arch.dr6 debug.arch.dr7
    mmio.phys_addr mmio.data[] mmio.len mmio.is_write hypercall.nr hypercall.args[] hypercall.ret hypercall.longmode
    tpr_access.rip tpr_access.is_write internal.suberror internal.ndata internal.data[]
    emulation_failure.suberror emulation_failure.ndata emulation_failure.flags emulation_failure.insn_size emulation_failure.insn_bytes[]
    system_event.type system_event.ndata system_event.data[] eoi.vector msr.error msr.reason msr.index msr.data
    hyperv.type notify.flags memory_fault.flags memory_fault.gpa memory_fault.size
    kvm_valid_regs kvm_dirty_regs s.regs:SyncRegs`,
    "RUN",
  ),
  struct(
    "PerfEventAttr",
    "struct perf_event_attr",
    "perf_event_attr; its one-bit members are in PERF_ATTR_BITS, relative to `bits`.",
    `
    type size config sample_period sample_type read_format bits wakeup_events bp_type config1 config2 branch_sample_type
    sample_regs_user sample_stack_user clockid sample_regs_intr aux_watermark sample_max_stack aux_sample_size sig_data`,
  ),
  struct(
    "PerfMmapPage",
    "struct perf_event_mmap_page",
    "First page of a perf ring.",
    `
    version compat_version lock index offset time_enabled time_running capabilities time_shift time_mult time_offset time_zero
    data_head data_tail data_offset data_size`,
  ),
];
