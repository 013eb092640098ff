import { bytes, f64, type Struct, u8 } from "../../state/struct.js";
import { type DevicePort, defineDevice } from "../device.js";

/** Offsets in the register file: the index port and the data port. */
const PORT_INDEX = 0;
const PORT_DATA = 1;

/** Registers by index (Motorola MC146818 datasheet, figure "Address map"); the century is where ACPI's FADT says. */
export const RTC = {
  SECONDS: 0x00,
  MINUTES: 0x02,
  HOURS: 0x04,
  DAY_OF_WEEK: 0x06,
  DAY_OF_MONTH: 0x07,
  MONTH: 0x08,
  YEAR: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  CENTURY: 0x32,
} as const;

/** Register A: an update in progress (never, here), and the divider and rate as firmware leaves them. */
const A_UIP = 0x80;
const A_DEFAULT = 0x26;
/** Register B: hold the time for setting, binary rather than BCD, 24 rather than 12 hours. */
export const B = { SET: 0x80, DM: 0x04, HOURS_24: 0x02 } as const;
/** Register D: the battery is good. */
export const D_VRT = 0x80;

const HOURS_PM = 0x80;
const RAM_BYTES = 128;
/** The NMI mask in bit 7 of the index is ignored: this machine has nothing that it would mask. */
const INDEX_MASK = 0x7f;

const fields = {
  index: u8,
  /** All registers. Those of the time hold it only while B.SET does; otherwise it comes from the clock. */
  ram: bytes(RAM_BYTES),
  /** The guest's clock minus the host's. Like the RAM it has a battery: a reset leaves it alone. */
  offsetMs: f64,
};
type State = Struct<typeof fields>;

const TIME_REGISTERS: readonly number[] = [
  RTC.SECONDS,
  RTC.MINUTES,
  RTC.HOURS,
  RTC.DAY_OF_WEEK,
  RTC.DAY_OF_MONTH,
  RTC.MONTH,
  RTC.YEAR,
  RTC.CENTURY,
];

const isSetting = (state: State): boolean => (state.ram[RTC.B]! & B.SET) !== 0;

function encode(state: State, value: number): number {
  if ((state.ram[RTC.B]! & B.DM) !== 0) return value;
  // A guest may set a century that has no two digits.
  return ((Math.floor(value / 10) << 4) | (value % 10)) & 0xff;
}

function decode(state: State, value: number): number {
  return (state.ram[RTC.B]! & B.DM) !== 0 ? value : (value >> 4) * 10 + (value & 0x0f);
}

function encodeHours(state: State, hours: number): number {
  if ((state.ram[RTC.B]! & B.HOURS_24) !== 0) return encode(state, hours);
  return encode(state, hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? HOURS_PM : 0);
}

function decodeHours(state: State, value: number): number {
  if ((state.ram[RTC.B]! & B.HOURS_24) !== 0) return decode(state, value);
  return (decode(state, value & ~HOURS_PM) % 12) + ((value & HOURS_PM) !== 0 ? 12 : 0);
}

/** One register of the time that the clock shows now. */
function timeRegister(state: State, register: number, port: DevicePort): number {
  const now = new Date(port.wallClockMs() + state.offsetMs);
  switch (register) {
    case RTC.SECONDS:
      return encode(state, now.getUTCSeconds());
    case RTC.MINUTES:
      return encode(state, now.getUTCMinutes());
    case RTC.HOURS:
      return encodeHours(state, now.getUTCHours());
    case RTC.DAY_OF_WEEK:
      return encode(state, now.getUTCDay() + 1);
    case RTC.DAY_OF_MONTH:
      return encode(state, now.getUTCDate());
    case RTC.MONTH:
      return encode(state, now.getUTCMonth() + 1);
    case RTC.YEAR:
      return encode(state, now.getUTCFullYear() % 100);
    default:
      return encode(state, Math.floor(now.getUTCFullYear() / 100));
  }
}

/** Freezes the time into its registers. */
function hold(state: State, port: DevicePort): void {
  for (const register of TIME_REGISTERS) state.ram[register] = timeRegister(state, register, port);
}

/** Lets the clock run on from what the registers say. A date that does not exist carries over, as in 31 April. */
function release(state: State, port: DevicePort): void {
  const value = (register: number): number => decode(state, state.ram[register]!);
  const set = Date.UTC(
    value(RTC.CENTURY) * 100 + value(RTC.YEAR),
    value(RTC.MONTH) - 1,
    value(RTC.DAY_OF_MONTH),
    decodeHours(state, state.ram[RTC.HOURS]!),
    value(RTC.MINUTES),
    value(RTC.SECONDS),
  );
  state.offsetMs = set - port.wallClockMs();
}

function readRegister(state: State, port: DevicePort): number {
  const { index } = state;
  if (!isSetting(state) && TIME_REGISTERS.includes(index)) return timeRegister(state, index, port);
  if (index === RTC.C) return 0;
  if (index === RTC.D) return D_VRT;
  return state.ram[index]!;
}

function writeRegister(state: State, value: number, port: DevicePort): void {
  const { index } = state;
  if (index === RTC.A) {
    state.ram[RTC.A] = value & ~A_UIP;
    return;
  }
  const wasSetting = isSetting(state);
  const isTime = TIME_REGISTERS.includes(index);
  const holds = index === RTC.B && (value & B.SET) !== 0;
  if (!wasSetting && (isTime || holds)) hold(state, port);
  state.ram[index] = value;
  if (!isSetting(state) && (isTime || wasSetting)) release(state, port);
}

/**
 * The MC146818 real-time clock and its battery-backed RAM. The clock is the host's, in UTC, plus what the guest set it
 * off by. It raises no interrupts (periodic, alarm or update-ended) and register C is always zero. An update is never
 * in progress, since every read computes the time afresh.
 */
export const rtcCmos = defineDevice({
  name: "rtc-cmos",
  state: fields,
  accessBytes: 1,
  reset(state) {
    state.index = 0;
    state.ram[RTC.A] = A_DEFAULT;
    state.ram[RTC.B] = B.HOURS_24;
  },
  read(state, offset, _sizeBytes, port) {
    // The index port is for writing.
    return offset === PORT_DATA ? readRegister(state, port) : 0xff;
  },
  write(state, offset, _sizeBytes, value, port) {
    if (offset === PORT_INDEX) state.index = value & INDEX_MASK;
    else if (offset === PORT_DATA) writeRegister(state, value, port);
  },
});
