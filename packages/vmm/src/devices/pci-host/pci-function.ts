/** A function on the PCI bus as its configuration space (PCI Local Bus Specification 3.0, chapter 6). */

/** Bytes from `offset` on: their values after a reset, and the bits of each that a guest can change. */
export interface ConfigRegister {
  readonly offset: number;
  readonly initial: readonly number[];
  readonly writable?: readonly number[];
}

export interface PciFunction {
  /** 0 to 31. */
  readonly device: number;
  /** 0 to 7. */
  readonly function: number;
  readonly registers: readonly ConfigRegister[];
}

export const CONFIG_BYTES = 256;

/** Offsets in a header of type 0 (section 6.1). */
const HEADER = {
  VENDOR: 0x00,
  DEVICE: 0x02,
  COMMAND: 0x04,
  REVISION: 0x08,
  CLASS: 0x09,
  TYPE: 0x0e,
  LINE: 0x3c,
} as const;
/** I/O space, memory space, bus master; SERR# enable, and interrupt disable where there is an interrupt pin. */
const COMMAND_BITS = [0x07, 0x01];
const INTERRUPT_DISABLE = 0x04;
const MULTIFUNCTION = 0x80;

/** The registers that every function has. `class` is the class code with its interface in the low byte. */
export function identity(about: {
  readonly vendor: number;
  readonly device: number;
  readonly class: number;
  readonly revision?: number;
  readonly isMultifunction?: boolean;
  readonly hasInterruptPin?: boolean;
}): ConfigRegister[] {
  const [low, high] = COMMAND_BITS as [number, number];
  const command = [low, about.hasInterruptPin === true ? high | INTERRUPT_DISABLE : high];
  return [
    { offset: HEADER.VENDOR, initial: bytesOf(about.vendor, 2) },
    { offset: HEADER.DEVICE, initial: bytesOf(about.device, 2) },
    { offset: HEADER.COMMAND, initial: [0, 0], writable: command },
    { offset: HEADER.REVISION, initial: [about.revision ?? 0] },
    { offset: HEADER.CLASS, initial: bytesOf(about.class, 3) },
    { offset: HEADER.TYPE, initial: [about.isMultifunction === true ? MULTIFUNCTION : 0] },
    { offset: HEADER.LINE, initial: [0], writable: [0xff] },
  ];
}

function bytesOf(value: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => (value >>> (8 * index)) & 0xff);
}

/** The configuration space after a reset. */
export function initialConfig({ registers }: PciFunction): Uint8Array {
  return laidOut(registers, ({ initial }) => initial);
}

/** Which bits of it can be written. */
export function writableBits({ registers }: PciFunction): Uint8Array {
  return laidOut(registers, ({ writable = [] }) => writable);
}

function laidOut(registers: readonly ConfigRegister[], bytes: (register: ConfigRegister) => readonly number[]) {
  const space = new Uint8Array(CONFIG_BYTES);
  for (const register of registers) space.set(bytes(register), register.offset);
  return space;
}
