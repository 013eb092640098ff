import { type Struct, u8 } from "../../state/struct.js";
import { type DevicePort, defineDevice } from "../device.js";
import {
  counterFields,
  latchCount,
  latchStatus,
  outputOf,
  programCounter,
  readCounter,
  resetCounters,
  setGate,
  writeCounter,
} from "./counter.js";

/** The register file: three counters, the control word, and the PC's port B beside them. */
export const PIT = { COUNTER_0: 0, CONTROL: 3, PORT_B: 4 } as const;

/** Control word (Intel 8254 datasheet, "Control Word Format" and "Read-Back Command"). */
const CONTROL = { READ_BACK: 3, LATCH_ACCESS: 0, NO_COUNT: 0x20, NO_STATUS: 0x10 } as const;

/** Port B of a PC: the lower four bits are kept, the upper four are read only. */
export const PORT_B = { GATE_2: 0x01, SPEAKER: 0x02, KEPT: 0x0f, REFRESH: 0x10, OUT_2: 0x20 } as const;
/** Memory refresh toggles its bit every 15.085 us: 18 ticks of the timer. Delay loops of old count on it. */
const REFRESH_PERIOD_NS = 15_085;

const SPEAKER_COUNTER = 2;

const fields = { ...counterFields, portB: u8 };
type State = Struct<typeof fields>;

function writeControl(state: State, value: number, nowNs: number): void {
  const counter = value >> 6;
  const access = (value >> 4) & 3;
  if (counter === CONTROL.READ_BACK) {
    for (let i = 0; i < 3; i++) {
      if ((value & (2 << i)) === 0) continue;
      if ((value & CONTROL.NO_STATUS) === 0) latchStatus(state, i, nowNs);
      if ((value & CONTROL.NO_COUNT) === 0) latchCount(state, i, nowNs);
    }
  } else if (access === CONTROL.LATCH_ACCESS) {
    latchCount(state, counter, nowNs);
  } else {
    programCounter(state, counter, access, (value >> 1) & 7, (value & 1) !== 0, nowNs);
  }
}

function readPortB(state: State, port: DevicePort): number {
  const nowNs = port.nowNs();
  let value = state.portB;
  if (Math.floor(nowNs / REFRESH_PERIOD_NS) % 2 !== 0) value |= PORT_B.REFRESH;
  if (outputOf(state, SPEAKER_COUNTER, nowNs)) value |= PORT_B.OUT_2;
  return value;
}

/**
 * The 8254 timer with the PC's port B, for machines whose kernel has no PIT. Counters are not counted: their values
 * follow from the time when a guest asks. Counter 0 raises no interrupt, so a guest that wants a tick needs the local
 * APIC's timer. The speaker makes no sound.
 */
export const pit8254 = defineDevice({
  name: "pit-8254",
  state: fields,
  accessBytes: 1,
  reset(state, port) {
    state.portB = 0;
    resetCounters(state, port.nowNs());
    // The gates of the first two are tied high; the third is port B's.
    setGate(state, SPEAKER_COUNTER, 0, port.nowNs());
  },
  read(state, offset, _sizeBytes, port) {
    if (offset < PIT.CONTROL) return readCounter(state, offset, port.nowNs());
    // The control word is for writing.
    return offset === PIT.PORT_B ? readPortB(state, port) : 0xff;
  },
  write(state, offset, _sizeBytes, value, port) {
    if (offset < PIT.CONTROL) {
      writeCounter(state, offset, value, port.nowNs());
    } else if (offset === PIT.CONTROL) {
      writeControl(state, value, port.nowNs());
    } else if (offset === PIT.PORT_B) {
      state.portB = value & PORT_B.KEPT;
      setGate(state, SPEAKER_COUNTER, value & PORT_B.GATE_2 ? 1 : 0, port.nowNs());
    }
  },
});
