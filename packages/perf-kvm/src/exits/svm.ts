/** SVM exit codes (AMD APM volume 2, appendix C), by number. Ranges are spelt out. */
const range = (first: number, count: number, name: (index: number) => string): [number, string][] =>
  Array.from({ length: count }, (_, index) => [first + index, name(index)]);

const listed = (first: number, names: string): [number, string][] =>
  names.split(/\s+/).map((name, index) => [first + index, name]);

export const SVM_EXITS: ReadonlyMap<number, string> = new Map([
  ...range(0x00, 16, (n) => `CR${n}_READ`),
  ...range(0x10, 16, (n) => `CR${n}_WRITE`),
  ...range(0x20, 16, (n) => `DR${n}_READ`),
  ...range(0x30, 16, (n) => `DR${n}_WRITE`),
  ...range(0x40, 32, (n) => `EXCEPTION_${n}`),
  ...listed(
    0x60,
    `INTR NMI SMI INIT VINTR CR0_SEL_WRITE IDTR_READ GDTR_READ LDTR_READ TR_READ IDTR_WRITE GDTR_WRITE LDTR_WRITE
     TR_WRITE RDTSC RDPMC PUSHF POPF CPUID RSM IRET SWINT INVD PAUSE HLT INVLPG INVLPGA IOIO MSR TASK_SWITCH
     FERR_FREEZE SHUTDOWN VMRUN VMMCALL VMLOAD VMSAVE STGI CLGI SKINIT RDTSCP ICEBP WBINVD MONITOR MWAIT
     MWAIT_CONDITIONAL XSETBV RDPRU EFER_WRITE_TRAP`,
  ),
  ...range(0x90, 16, (n) => `CR${n}_WRITE_TRAP`),
  ...listed(0xa0, "INVLPGB INVLPGB_ILLEGAL INVPCID MCOMMIT TLBSYNC BUS_LOCK IDLE_HLT"),
  ...listed(0x400, "NPF AVIC_INCOMPLETE_IPI AVIC_NOACCEL VMGEXIT"),
  [0xffff_ffff, "INVALID"],
]);
