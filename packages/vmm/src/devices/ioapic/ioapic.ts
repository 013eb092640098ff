import { type Struct, u8, u32, words } from "../../state/struct.js";
import { type DevicePort, defineDevice } from "../device.js";
import { extractBytes, mergeBytes } from "../register-file.js";

/** Offsets of the directly addressed registers (Intel 82093AA datasheet, 3.1; EOI from later chipsets' datasheets). */
export const IOAPIC = { IOREGSEL: 0x00, IOWIN: 0x10, EOI: 0x40, SIZE_BYTES: 0x1000 } as const;

/** Registers behind the window IOWIN (82093AA, 3.2); the redirection table has two words for each pin. */
export const IOAPIC_REGISTER = { ID: 0x00, VERSION: 0x01, ARBITRATION: 0x02, REDIRECTION: 0x10 } as const;

export const IOAPIC_PINS = 24;
/** From this version on there is an EOI register. */
const VERSION = 0x20 | ((IOAPIC_PINS - 1) << 16);
const ID_MASK = 0x0f00_0000;

/** The low word of a redirection table entry (82093AA, 3.2.4); the destination is the high word's highest byte. */
export const REDIRECTION = {
  VECTOR: 0xff,
  DELIVERY_MODE: 7 << 8,
  LOGICAL_DESTINATION: 1 << 11,
  DELIVERY_STATUS: 1 << 12,
  ACTIVE_LOW: 1 << 13,
  REMOTE_IRR: 1 << 14,
  LEVEL: 1 << 15,
  MASKED: 1 << 16,
} as const;
const READ_ONLY = REDIRECTION.DELIVERY_STATUS | REDIRECTION.REMOTE_IRR;
const WRITABLE = 0x1_ffff & ~READ_ONLY;
const DESTINATION_SHIFT = 24;

const DELIVERY_MODE_SHIFT = 8;
const LOWEST_PRIORITY = 1;

/** Message address and data (Intel SDM volume 3, 11.11 "Message Signalled Interrupts"). */
const MSI_ADDRESS = 0xfee0_0000;
const MSI = { DESTINATION_SHIFT: 12, REDIRECTION_HINT: 1 << 3, LOGICAL_DESTINATION: 1 << 2 } as const;
const MSI_DATA = { ASSERT: 1 << 14, LEVEL: 1 << 15 } as const;

const fields = {
  select: u8,
  id: u32,
  /** Low and high word of each pin's entry. */
  redirection: words(2 * IOAPIC_PINS),
  /** Message address and data of each pin, as the kernel was last told. Telling it is slow, and guests unmask often. */
  routed: words(2 * IOAPIC_PINS),
  /** One bit a pin: the levels last driven. The machine resets all devices together, and then every line is low. */
  levels: u32,
};
type State = Struct<typeof fields>;

const lowWord = (state: State, pin: number): number => state.redirection[2 * pin]!;

/** Only fixed and lowest-priority interrupts are acknowledged by an EOI; the other modes are always edges. */
function isLevelTriggered(entry: number): boolean {
  const mode = (entry & REDIRECTION.DELIVERY_MODE) >> DELIVERY_MODE_SHIFT;
  return (entry & REDIRECTION.LEVEL) !== 0 && mode <= LOWEST_PRIORITY;
}

/** The message that `pin` stands for, as its redirection entry says. */
function messageAddress(state: State, pin: number): number {
  const entry = lowWord(state, pin);
  const destination = state.redirection[2 * pin + 1]! >>> DESTINATION_SHIFT;
  let address = MSI_ADDRESS | (destination << MSI.DESTINATION_SHIFT);
  if ((entry & REDIRECTION.LOGICAL_DESTINATION) !== 0) address |= MSI.LOGICAL_DESTINATION;
  if ((entry & REDIRECTION.DELIVERY_MODE) >> DELIVERY_MODE_SHIFT === LOWEST_PRIORITY) address |= MSI.REDIRECTION_HINT;
  return address >>> 0;
}

function messageData(state: State, pin: number): number {
  const entry = lowWord(state, pin);
  const message = entry & (REDIRECTION.VECTOR | REDIRECTION.DELIVERY_MODE);
  return isLevelTriggered(entry) ? message | MSI_DATA.ASSERT | MSI_DATA.LEVEL : message;
}

function send(state: State, pin: number, port: DevicePort): void {
  port.sendMsi(messageAddress(state, pin), messageData(state, pin));
}

/** Sends a level-triggered pin's interrupt if it is due: asserted, not masked, and the last one has ended. */
function service(state: State, pin: number, port: DevicePort): void {
  const entry = lowWord(state, pin);
  const asserted = (state.levels & (1 << pin)) !== 0;
  if (!asserted || !isLevelTriggered(entry) || (entry & (REDIRECTION.MASKED | REDIRECTION.REMOTE_IRR)) !== 0) return;
  state.redirection[2 * pin] = entry | REDIRECTION.REMOTE_IRR;
  send(state, pin, port);
}

/**
 * A device drives a pin. A level of 1 means asserted, whatever the entry's polarity says: the lines of this machine
 * have no voltage. An edge on a masked pin is lost (82093AA, 3.2.4, bit 16).
 */
export function setPin(state: State, pin: number, level: 0 | 1, port: DevicePort): void {
  if (pin >= IOAPIC_PINS) return;
  const bit = 1 << pin;
  const rises = level === 1 && (state.levels & bit) === 0;
  state.levels = level === 1 ? state.levels | bit : state.levels & ~bit;
  const entry = lowWord(state, pin);
  if (isLevelTriggered(entry)) service(state, pin, port);
  else if (rises && (entry & REDIRECTION.MASKED) === 0) send(state, pin, port);
}

/** A local APIC has ended the interrupt `vector`: its level-triggered pins may interrupt again, and do if still asserted. */
export function endOfInterrupt(state: State, vector: number, port: DevicePort): void {
  for (let pin = 0; pin < IOAPIC_PINS; pin++) {
    const entry = lowWord(state, pin);
    if ((entry & REDIRECTION.VECTOR) !== vector) continue;
    if (isLevelTriggered(entry) && (entry & REDIRECTION.MASKED) === 0) port.pci?.endLine(pin);
    if ((entry & REDIRECTION.REMOTE_IRR) === 0) continue;
    state.redirection[2 * pin] = entry & ~REDIRECTION.REMOTE_IRR;
    service(state, pin, port);
  }
}

function readRegister(state: State, register: number): number {
  switch (register) {
    case IOAPIC_REGISTER.ID:
    case IOAPIC_REGISTER.ARBITRATION:
      return state.id;
    case IOAPIC_REGISTER.VERSION:
      return VERSION;
    default:
      return state.redirection[register - IOAPIC_REGISTER.REDIRECTION] ?? 0;
  }
}

function writeRegister(state: State, register: number, value: number, port: DevicePort): void {
  if (register === IOAPIC_REGISTER.ID) state.id = value & ID_MASK;
  const index = register - IOAPIC_REGISTER.REDIRECTION;
  if (index < 0 || index >= 2 * IOAPIC_PINS) return;
  const pin = index >> 1;
  if ((index & 1) === 1) {
    state.redirection[index] = value & ((0xff << DESTINATION_SHIFT) >>> 0);
  } else {
    // Remote IRR has no meaning for an edge: programming a pin as one clears it, and software relies on that.
    const kept = isLevelTriggered(value) ? state.redirection[index]! & READ_ONLY : 0;
    state.redirection[index] = (value & WRITABLE) | kept;
  }
  const entry = lowWord(state, pin);
  if ((entry & REDIRECTION.MASKED) === 0) {
    route(state, pin, port);
    if (isLevelTriggered(entry)) port.pci?.endLine(pin);
  } else if (isLevelTriggered(entry)) unroute(state, pin, port);
  service(state, pin, port);
}

/** The lines of PCI functions go past this device, through the kernel: it has to know when they are masked. */
function unroute(state: State, pin: number, port: DevicePort): void {
  if (port.pci === undefined || state.routed[2 * pin] === 0) return;
  state.routed[2 * pin] = 0;
  port.routeMsi(pin, 0, 0);
}

/** The messages that pins stand for, as the kernel is to know them. */
export function routedPins({ routed }: State): { gsi: number; address: number; data: number }[] {
  return Array.from({ length: IOAPIC_PINS }, (_, gsi) => gsi)
    .filter((gsi) => routed[2 * gsi] !== 0)
    .map((gsi) => ({ gsi, address: routed[2 * gsi]!, data: routed[2 * gsi + 1]! }));
}

function route(state: State, pin: number, port: DevicePort): void {
  const [address, data] = [messageAddress(state, pin), messageData(state, pin)];
  if (state.routed[2 * pin] === address && state.routed[2 * pin + 1] === data) return;
  state.routed[2 * pin] = address;
  state.routed[2 * pin + 1] = data;
  port.routeMsi(pin, address, data);
}

/**
 * The IOAPIC of a machine whose kernel keeps only the local APICs. It turns pins into messages; the machine carries
 * those to the local APICs and their EOIs back (`setPin`, `endOfInterrupt`, called under this device's lock).
 */
export const ioapic = defineDevice({
  name: "ioapic",
  state: fields,
  accessBytes: 4,
  reset(state) {
    state.select = 0;
    state.id = 0;
    state.levels = 0;
    state.routed.fill(0);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      state.redirection[2 * pin] = REDIRECTION.MASKED;
      state.redirection[2 * pin + 1] = 0;
    }
  },
  read(state, offset, sizeBytes) {
    switch (offset & ~3) {
      case IOAPIC.IOREGSEL:
        return extractBytes(state.select, offset, sizeBytes);
      case IOAPIC.IOWIN:
        return extractBytes(readRegister(state, state.select), offset, sizeBytes);
      default:
        return 0;
    }
  },
  write(state, offset, sizeBytes, value, port) {
    switch (offset & ~3) {
      case IOAPIC.IOREGSEL:
        state.select = mergeBytes(state.select, offset, sizeBytes, value);
        return;
      case IOAPIC.IOWIN: {
        const merged = mergeBytes(readRegister(state, state.select), offset, sizeBytes, value);
        writeRegister(state, state.select, merged, port);
        return;
      }
      case IOAPIC.EOI:
        if ((offset & 3) === 0) endOfInterrupt(state, value & 0xff, port);
        return;
    }
  },
});
