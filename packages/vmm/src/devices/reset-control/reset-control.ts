import { u8 } from "../../state/struct.js";
import { type DevicePort, defineDevice } from "../device.js";

/** Bits of the reset control register (Intel ICH9 datasheet, section 13.7.5, RST_CNT). */
export const RST_CNT = { SYS_RST: 0x02, RST_CPU: 0x04, FULL_RST: 0x08 } as const;

/**
 * The chipset's reset control register. A reset happens when RST_CPU goes from clear to set; SYS_RST and FULL_RST
 * choose its depth on hardware. Here every reset is a whole one, so they are only kept for reading back.
 */
export const resetControl = defineDevice({
  name: "reset-control",
  state: { control: u8 },
  accessBytes: 1,
  reset(state) {
    state.control = 0;
  },
  read: (state) => state.control,
  write(state, _offset, _sizeBytes, value, port) {
    state.control = writeResetControl(state.control, value, port);
  },
});

/** The register after a write of `value`, which may have asked for a reset. */
export function writeResetControl(before: number, value: number, port: DevicePort): number {
  const rises = (value & ~before & RST_CNT.RST_CPU) !== 0;
  if (rises) port.request("reset");
  return value & (RST_CNT.SYS_RST | RST_CNT.RST_CPU | RST_CNT.FULL_RST);
}
