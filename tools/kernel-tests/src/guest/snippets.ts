/** Assembly that several themes begin with. */

/** Both 8259 with vectors from 0x20 and 0x28, nothing masked (8259A datasheet: ICW1 to ICW4, OCW1). Changes AL. */
export const PIC_INIT = `
  mov al, 0x11; out 0x20, al; out 0xa0, al
  mov al, 0x20; out 0x21, al
  mov al, 0x28; out 0xa1, al
  mov al, 4; out 0x21, al
  mov al, 2; out 0xa1, al
  mov al, 1; out 0x21, al; out 0xa1, al
  mov al, 0; out 0x21, al; out 0xa1, al`;

/** Halts with interrupts on, for ever. */
export const WAIT = `
9: sti
  hlt
  jmp 9b`;

/**
 * The end of a 32-bit handler: drops the frame and waits again. Not IRET, which not every KVM can emulate in protected mode: what a test
 * says about interrupts should not hang on it.
 */
export const BACK_TO_WAIT = `
  add esp, 12
  jmp 9b`;

/** Where handlers of these snippets lie: `handlers: { 0x24: HANDLER }`. */
export const HANDLER = 0x1800;
export const HANDLER_ORG = ".org 0x800";

/** The local APIC's registers (SDM, Local APIC Register Address Map). */
export const APIC = 0xfee00000;
export const APIC_ENABLE = `mov dword ptr ds:[${APIC + 0xf0}], 0x1ff`;
export const APIC_EOI = `mov dword ptr ds:[${APIC + 0xb0}], 0`;
