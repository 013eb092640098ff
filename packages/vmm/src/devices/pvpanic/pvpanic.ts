import { u8 } from "../../state/struct.js";
import { defineDevice } from "../device.js";

/** Events (QEMU, docs/specs/pvpanic.rst). */
export const PVPANIC = { PANICKED: 1 << 0, CRASH_LOADED: 1 << 1 } as const;
const KNOWN = PVPANIC.PANICKED | PVPANIC.CRASH_LOADED;

/**
 * The port at which a kernel says that it has panicked. A kernel that goes on into its crash kernel says so too, and is
 * left alone: it ends by itself.
 */
export const pvpanic = defineDevice({
  name: "pvpanic",
  state: { events: u8 },
  accessBytes: 1,
  reset(state) {
    state.events = 0;
  },
  read: () => KNOWN,
  write(state, _offset, _sizeBytes, value, port) {
    state.events |= value & KNOWN;
    if ((value & PVPANIC.PANICKED) !== 0) port.request("panic");
  },
});
