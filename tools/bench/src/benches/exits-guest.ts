/**
 * The guest of the `exits` bench, as bytes: flat 32-bit code at 1 MiB that writes to a device a given number of times
 * and then to the debug exit. Both sides run it: our machine, and exits.c without a device behind the address.
 */
import { Code } from "./code.js";

/** Where the guest writes to. */
export interface Target {
  readonly bus: "pio" | "mmio";
  readonly address: number;
}

export const ENTRY = 0x10_0000;
/** The debug exit's port. */
export const END_PORT = 0xf4;

/** Where an application processor begins: a page below 1 MiB, whose number is the SIPI's vector (Intel SDM vol 3, 11.4.4). */
export const TRAMPOLINE = 0x8000;
const SIPI_VECTOR = TRAMPOLINE >> 12;
/** The trampoline's last bytes: the descriptor table it loads. */
const GDT = TRAMPOLINE + 0x100;
const GDT_BYTES = 24;
const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;

/** Local APIC registers (Intel SDM vol 3, 11.4.1). */
const LAPIC = { SPURIOUS: 0xfee0_00f0, ICR_LOW: 0xfee0_0300, ICR_HIGH: 0xfee0_0310 } as const;
const LAPIC_ENABLED = 0x1ff;
const ICR_INIT = 0x4500;
const ICR_STARTUP = 0x4600;

/** One CPU that writes to `target` `count` times. */
export function singleGuest(target: Target, count: number): Uint8Array {
  const code = new Code(ENTRY);
  writeLoop(code, target, count);
  endMachine(code);
  return code.bytes();
}

export interface PairGuest {
  /** Belongs at ENTRY. */
  readonly main: Uint8Array;
  /** Belongs at TRAMPOLINE. */
  readonly trampoline: Uint8Array;
}

/** Two CPUs that write at the same time; whoever is done last ends the machine. */
export function pairGuest(targets: readonly [Target, Target], count: number): PairGuest {
  const code = new Code(ENTRY);
  code.storeDword(LAPIC.SPURIOUS, LAPIC_ENABLED);
  code.storeDword(LAPIC.ICR_HIGH, 1 << 24); // to APIC id 1
  code.storeDword(LAPIC.ICR_LOW, ICR_INIT);
  code.storeDword(LAPIC.ICR_LOW, ICR_STARTUP | SIPI_VECTOR);
  writeLoop(code, targets[0], count);
  endWhenLast(code);
  const secondEntry = code.here;
  writeLoop(code, targets[1], count);
  endWhenLast(code);
  return { main: code.bytes(), trampoline: trampoline(secondEntry) };
}

function writeLoop(code: Code, { bus, address }: Target, count: number): void {
  code.emit(0xb9).dword(count); // mov ecx, count
  if (bus === "pio") code.emit(0xba).dword(address); // mov edx, address
  const loop = code.here;
  if (bus === "pio")
    code.emit(0xee); // out dx, al
  else code.emit(0xa3).dword(address); // mov [address], eax
  code.emit(0x49); // dec ecx
  code.jumpIfNotZero(loop);
}

function endMachine(code: Code): void {
  code.emit(0xba).dword(END_PORT); // mov edx, END_PORT
  code.emit(0x31, 0xc0, 0xee); // xor eax, eax; out dx, al
  code.emit(0xf4, 0xeb, 0xfd); // hlt, for ever
}

/** Where the CPUs count how many of them are at work: after the code, whatever its length. */
const AT_WORK = ENTRY + 0x1000;

function endWhenLast(code: Code): void {
  code.emit(0xf0, 0xff, 0x05).dword(AT_WORK); // lock inc dword [AT_WORK]
  code.emit(0x83, 0x3d).dword(AT_WORK).emit(2); // cmp dword [AT_WORK], 2
  code.emit(0x74, 0x03); // je past the halt
  code.emit(0xf4, 0xeb, 0xfd); // hlt, for ever
  endMachine(code);
}

/** Real mode to flat 32-bit mode, as the first processor was entered (Intel SDM vol 3, 10.9.1). */
function trampoline(entry: number): Uint8Array {
  const code = new Code(TRAMPOLINE);
  const gdtPointer = GDT + GDT_BYTES;
  code.emit(0xfa, 0x31, 0xc0, 0x8e, 0xd8); // cli; xor ax, ax; mov ds, ax
  code.emit(0x66, 0x0f, 0x01, 0x16).word(gdtPointer); // lgdt [gdtPointer]
  code.emit(0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0); // mov eax, cr0; or al, 1; mov cr0, eax
  const protectedMode = code.here + 8;
  code.emit(0x66, 0xea).dword(protectedMode).word(CODE_SELECTOR); // jmp far
  code.emit(0xb8).dword(DATA_SELECTOR); // mov eax, DATA_SELECTOR
  code.emit(0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0); // mov ds, es and ss
  code.jump(entry);
  code.skipTo(GDT);
  code.dword(0).dword(0);
  code.dword(0x0000_ffff).dword(0x00cf_9b00); // flat code
  code.dword(0x0000_ffff).dword(0x00cf_9300); // flat data
  code.word(GDT_BYTES - 1).dword(GDT);
  return code.bytes();
}
