import { defineDevice } from "../device.js";

/**
 * A port through which a test ends its machine. A write of `value`, of any width, ends with the status
 * `value * 2 + 1` (modulo 2^32; a process can pass on only the low eight bits), so that no value a test writes can be
 * mistaken for the success of a machine that powered off. Reads are zero.
 */
export const debugExit = defineDevice({
  name: "debug-exit",
  state: {},
  accessBytes: 4,
  reset() {},
  read: () => 0,
  write(_state, _offset, _sizeBytes, value, port) {
    port.request("exit", ((value << 1) | 1) >>> 0);
  },
});
