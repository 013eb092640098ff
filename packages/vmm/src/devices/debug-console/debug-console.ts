import { u32 } from "../../state/struct.js";
import { defineDevice } from "../device.js";

/** What a read answers: firmware looks for this byte before it believes that somebody listens. */
export const DEBUG_CONSOLE_ID = 0xe9;

/**
 * A port that firmware writes its log to, a byte a write. It has no status register, so a byte written while the
 * output is full is lost; `dropped` counts those.
 */
export const debugConsole = defineDevice({
  name: "debug-console",
  state: { dropped: u32 },
  accessBytes: 1,
  reset(state) {
    state.dropped = 0;
  },
  read: () => DEBUG_CONSOLE_ID,
  write(state, _offset, _sizeBytes, value, port) {
    if (!port.emit(value)) state.dropped++;
  },
});
