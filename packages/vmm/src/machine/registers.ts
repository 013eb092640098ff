/** A vCPU's registers as plain values: hexadecimal strings, so that they survive JSON and read well. */
import type { Segment, Vcpu } from "@tools-kvm/kvm-binding";

export const GENERAL_REGISTERS = [
  "rax",
  "rbx",
  "rcx",
  "rdx",
  "rsi",
  "rdi",
  "rbp",
  "rsp",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
] as const;
export const SEGMENT_REGISTERS = ["cs", "ss", "ds", "es", "fs", "gs", "tr", "ldt"] as const;
export const CONTROL_REGISTERS = ["cr0", "cr2", "cr3", "cr4", "cr8", "efer"] as const;

type Hex = string;

export interface SegmentDump {
  readonly selector: Hex;
  readonly base: Hex;
  readonly limit: Hex;
  /** Privilege level of the descriptor. */
  readonly dpl: number;
}

export interface RegisterDump {
  readonly rip: Hex;
  readonly rflags: Hex;
  readonly mode: "real" | "protected" | "long";
  readonly general: Record<(typeof GENERAL_REGISTERS)[number], Hex>;
  readonly segments: Record<(typeof SEGMENT_REGISTERS)[number], SegmentDump>;
  readonly control: Record<(typeof CONTROL_REGISTERS)[number], Hex>;
  readonly gdt: { base: Hex; limit: Hex };
  readonly idt: { base: Hex; limit: Hex };
}

const hex = (value: bigint | number): Hex => `0x${value.toString(16)}`;

const CR0_PE = 1n;
const EFER_LMA = 1n << 10n;

/** Reads them from KVM. The vCPU must not be running: KVM would make the caller wait until it is not. */
export function registerDump(vcpu: Vcpu): RegisterDump {
  const regs = vcpu.getRegs();
  const sregs = vcpu.getSregs();
  const segment = ({ selector, base, limit, dpl }: Segment): SegmentDump => ({
    selector: hex(selector),
    base: hex(base),
    limit: hex(limit),
    dpl,
  });
  return {
    rip: hex(regs.rip),
    rflags: hex(regs.rflags),
    mode: (sregs.efer & EFER_LMA) !== 0n ? "long" : (sregs.cr0 & CR0_PE) !== 0n ? "protected" : "real",
    general: record(GENERAL_REGISTERS, (name) => hex(regs[name])),
    segments: record(SEGMENT_REGISTERS, (name) => segment(sregs[name])),
    control: record(CONTROL_REGISTERS, (name) => hex(sregs[name])),
    gdt: { base: hex(sregs.gdt.base), limit: hex(sregs.gdt.limit) },
    idt: { base: hex(sregs.idt.base), limit: hex(sregs.idt.limit) },
  };
}

function record<K extends string, V>(keys: readonly K[], value: (key: K) => V): Record<K, V> {
  return Object.fromEntries(keys.map((key) => [key, value(key)])) as Record<K, V>;
}

/** The registers as a person reads them: 14 lines of at most 80 columns, so that they and a reason fit on a screen. */
export function formatRegisters({ rip, rflags, mode, general, control, segments, gdt, idt }: RegisterDump): string {
  const digits = (value: Hex, count: number): string => value.slice(2).padStart(count, "0");
  const cells = (names: readonly string[], values: Record<string, Hex>): string[] =>
    names.map((name) => `${name.padEnd(6)} ${digits(values[name]!, 16)}`);
  const segmentCells = SEGMENT_REGISTERS.map((name) => {
    const { selector, base, limit, dpl } = segments[name];
    return `${name.padEnd(3)} ${digits(selector, 4)} ${digits(base, 16)} ${digits(limit, 8)} ${dpl}`;
  });
  return [
    ...rows([...cells(["rip", "rflags"], { rip, rflags }), `${mode} mode`], 3),
    ...rows(cells(GENERAL_REGISTERS, general), 3),
    ...rows(cells(CONTROL_REGISTERS, control), 3),
    ...rows(segmentCells, 2),
    `gdt ${digits(gdt.base, 16)} ${digits(gdt.limit, 4)}  idt ${digits(idt.base, 16)} ${digits(idt.limit, 4)}` +
      "  (base limit)",
  ].join("\n");
}

/** `cells` side by side, so many a line. */
function rows(cells: readonly string[], columns: number): string[] {
  return Array.from({ length: Math.ceil(cells.length / columns) }, (_, row) =>
    cells.slice(row * columns, (row + 1) * columns).join("  "),
  );
}
