/**
 * The 8254's three counters as functions of time (Intel 8254 datasheet, "Mode Definitions"). Each is an array slot, so
 * that the device's state stays a flat struct.
 */
import { bytes, doubles, type Struct, words } from "../../state/struct.js";

const COUNTERS = 3;
/** 1.193182 MHz, a third of the colour burst's 3.579545. */
const TICKS_PER_NS = 1.193182e-3;

const MODE = {
  INTERRUPT_ON_TERMINAL_COUNT: 0,
  ONE_SHOT: 1,
  RATE_GENERATOR: 2,
  SQUARE_WAVE: 3,
  SOFTWARE_STROBE: 4,
  HARDWARE_STROBE: 5,
} as const;

/** How the count's two bytes are reached. */
const ACCESS = { LOW: 1, HIGH: 2, LOW_THEN_HIGH: 3 } as const;

const STATUS = { OUTPUT: 0x80, NULL_COUNT: 0x40, ACCESS_SHIFT: 4, MODE_SHIFT: 1, BCD: 0x01 } as const;

export const counterFields = {
  mode: bytes(COUNTERS),
  access: bytes(COUNTERS),
  bcd: bytes(COUNTERS),
  gate: bytes(COUNTERS),
  /** The ticks of a full count: 1 to 65536. 0 until one is written after the control word. */
  reload: words(COUNTERS),
  /** 1 while counting: from the count's arrival, or from the trigger in modes 1 and 5. */
  running: bytes(COUNTERS),
  /** When the count began, so that the ticks since then are the count's age. While the gate stops it, the age itself. */
  startNs: doubles(COUNTERS),
  heldTicks: doubles(COUNTERS),
  /** The low byte of a count whose high byte is still to come, and whether there is one. */
  writeLow: bytes(COUNTERS),
  writeHalf: bytes(COUNTERS),
  /** 1 when the next read of a two-byte count gives its high byte. */
  readHalf: bytes(COUNTERS),
  /** A latched count, and how many of its bytes are unread. */
  latch: words(COUNTERS),
  latchedBytes: bytes(COUNTERS),
  status: bytes(COUNTERS),
  statusLatched: bytes(COUNTERS),
};
export type Counters = Struct<typeof counterFields>;

const isPeriodic = (mode: number): boolean => mode === MODE.RATE_GENERATOR || mode === MODE.SQUARE_WAVE;
/** Modes whose count begins with the gate's rising edge. */
const isTriggered = (mode: number): boolean => mode === MODE.ONE_SHOT || mode === MODE.HARDWARE_STROBE;

export function resetCounters(counters: Counters, nowNs: number): void {
  counters.writeLow.fill(0);
  counters.latch.fill(0);
  counters.status.fill(0);
  for (let i = 0; i < COUNTERS; i++) {
    counters.gate[i] = 1;
    programCounter(counters, i, ACCESS.LOW_THEN_HIGH, MODE.INTERRUPT_ON_TERMINAL_COUNT, false, nowNs);
  }
}

/** A control word arrives: the counter stops until it has a count. */
export function programCounter(
  counters: Counters,
  i: number,
  access: number,
  mode: number,
  bcd: boolean,
  nowNs: number,
): void {
  counters.access[i] = access;
  // Modes 6 and 7 are 2 and 3: their highest bit is not looked at.
  counters.mode[i] = mode > MODE.HARDWARE_STROBE ? mode - 4 : mode;
  counters.bcd[i] = bcd ? 1 : 0;
  counters.reload[i] = 0;
  counters.running[i] = 0;
  counters.writeHalf[i] = 0;
  counters.readHalf[i] = 0;
  counters.latchedBytes[i] = 0;
  counters.statusLatched[i] = 0;
  restart(counters, i, nowNs);
}

function restart(counters: Counters, i: number, nowNs: number): void {
  counters.startNs[i] = nowNs;
  counters.heldTicks[i] = 0;
}

/** Ticks since the count began, not counting those during which the gate was low. */
function age(counters: Counters, i: number, nowNs: number): number {
  if (counters.gate[i] === 0 && !isTriggered(counters.mode[i]!)) return counters.heldTicks[i]!;
  return Math.max(0, Math.floor((nowNs - counters.startNs[i]!) * TICKS_PER_NS));
}

export function setGate(counters: Counters, i: number, gate: 0 | 1, nowNs: number): void {
  if (counters.gate[i] === gate) return;
  const mode = counters.mode[i]!;
  const ticks = age(counters, i, nowNs);
  counters.gate[i] = gate;
  if (gate === 0) {
    counters.heldTicks[i] = ticks;
  } else if (isTriggered(mode)) {
    restart(counters, i, nowNs);
    counters.running[i] = counters.reload[i] === 0 ? 0 : 1;
  } else if (isPeriodic(mode)) {
    // The rising edge loads the count anew.
    restart(counters, i, nowNs);
  } else {
    // Half a tick more keeps rounding from losing one.
    counters.startNs[i] = nowNs - (ticks + 0.5) / TICKS_PER_NS;
  }
}

/** The OUT pin. */
export function outputOf(counters: Counters, i: number, nowNs: number): boolean {
  const mode = counters.mode[i]!;
  // Before it counts only mode 0 is low.
  if (counters.running[i] === 0) return mode !== MODE.INTERRUPT_ON_TERMINAL_COUNT;
  const reload = counters.reload[i]!;
  const ticks = age(counters, i, nowNs);
  switch (mode) {
    case MODE.INTERRUPT_ON_TERMINAL_COUNT:
    case MODE.ONE_SHOT:
      return ticks >= reload;
    case MODE.RATE_GENERATOR:
      // Low for the last tick of each period; a low gate forces it high.
      return counters.gate[i] === 0 || ticks % reload !== reload - 1;
    case MODE.SQUARE_WAVE:
      return counters.gate[i] === 0 || ticks % reload < Math.ceil(reload / 2);
    default:
      return ticks !== reload;
  }
}

/** The count as a guest would read it now. */
function countOf(counters: Counters, i: number, nowNs: number): number {
  const modulus = counters.bcd[i] !== 0 ? 10_000 : 0x1_0000;
  const reload = counters.reload[i]!;
  if (counters.running[i] === 0) return encode(counters, i, reload % modulus);
  const ticks = age(counters, i, nowNs);
  let count: number;
  if (counters.mode[i] === MODE.RATE_GENERATOR) {
    count = reload - (ticks % reload);
  } else if (counters.mode[i] === MODE.SQUARE_WAVE) {
    // Down by two a tick, twice a period. An odd count begins one lower, and its first half is a tick longer.
    const half = Math.ceil(reload / 2);
    const inPeriod = ticks % reload;
    count = reload - (reload % 2) - 2 * (inPeriod < half ? inPeriod : inPeriod - half);
  } else {
    // After the terminal count it goes on from the top.
    count = modulus - ((ticks - reload) % modulus);
  }
  return encode(counters, i, count % modulus);
}

function encode(counters: Counters, i: number, count: number): number {
  if (counters.bcd[i] === 0) return count;
  let bcd = 0;
  for (let digit = 0, rest = count; digit < 4; digit++, rest = Math.floor(rest / 10)) bcd |= (rest % 10) << (4 * digit);
  return bcd;
}

/** The ticks that a written count means: 0 is the largest. A digit above nine counts as it stands. */
function decode(counters: Counters, i: number, written: number): number {
  if (counters.bcd[i] === 0) return written === 0 ? 0x1_0000 : written;
  let count = 0;
  for (let digit = 3; digit >= 0; digit--) count = count * 10 + ((written >> (4 * digit)) & 0xf);
  return count === 0 ? 10_000 : count;
}

export function latchCount(counters: Counters, i: number, nowNs: number): void {
  // A second latch command before the first was read is ignored.
  if (counters.latchedBytes[i] !== 0) return;
  counters.latch[i] = countOf(counters, i, nowNs);
  counters.latchedBytes[i] = counters.access[i] === ACCESS.LOW_THEN_HIGH ? 2 : 1;
}

export function latchStatus(counters: Counters, i: number, nowNs: number): void {
  if (counters.statusLatched[i] !== 0) return;
  let status = (counters.access[i]! << STATUS.ACCESS_SHIFT) | (counters.mode[i]! << STATUS.MODE_SHIFT);
  if (outputOf(counters, i, nowNs)) status |= STATUS.OUTPUT;
  if (counters.reload[i] === 0) status |= STATUS.NULL_COUNT;
  if (counters.bcd[i] !== 0) status |= STATUS.BCD;
  counters.status[i] = status;
  counters.statusLatched[i] = 1;
}

/** A latched status comes first, then a latched count, then the count itself. */
export function readCounter(counters: Counters, i: number, nowNs: number): number {
  if (counters.statusLatched[i] !== 0) {
    counters.statusLatched[i] = 0;
    return counters.status[i]!;
  }
  const access = counters.access[i]!;
  const latched = counters.latchedBytes[i] !== 0;
  const count = latched ? counters.latch[i]! : countOf(counters, i, nowNs);
  if (latched) counters.latchedBytes[i] = counters.latchedBytes[i]! - 1;
  if (access === ACCESS.LOW) return count & 0xff;
  if (access === ACCESS.HIGH) return count >> 8;
  const high = counters.readHalf[i] !== 0;
  counters.readHalf[i] = high ? 0 : 1;
  return high ? count >> 8 : count & 0xff;
}

export function writeCounter(counters: Counters, i: number, value: number, nowNs: number): void {
  switch (counters.access[i]) {
    case ACCESS.LOW:
      loadCount(counters, i, value, nowNs);
      return;
    case ACCESS.HIGH:
      loadCount(counters, i, value << 8, nowNs);
      return;
    default:
      if (counters.writeHalf[i] === 0) {
        counters.writeLow[i] = value;
        counters.writeHalf[i] = 1;
      } else {
        counters.writeHalf[i] = 0;
        loadCount(counters, i, (value << 8) | counters.writeLow[i]!, nowNs);
      }
  }
}

/** A new count takes effect at once, where the chip would let a period end first; triggered modes wait for the gate. */
function loadCount(counters: Counters, i: number, written: number, nowNs: number): void {
  counters.reload[i] = decode(counters, i, written);
  if (isTriggered(counters.mode[i]!)) return;
  counters.running[i] = 1;
  restart(counters, i, nowNs);
}
