import { f64, type Struct, u16, u32 } from "../../state/struct.js";
import { defineDevice } from "../device.js";

/** Offsets in the register file: a 16-bit selector, and a byte of data at the odd address after it. */
const SELECTOR = 0;
const DATA = 1;

/** Keys of the items that exist (QEMU, "fw_cfg" specification). Every other key reads as zeros. */
export const FW_CFG_KEY = {
  SIGNATURE: 0x00,
  ID: 0x01,
  RAM_SIZE: 0x03,
  NB_CPUS: 0x05,
  MAX_CPUS: 0x0f,
} as const;

/** Bit 0 of the ID item: the selector and data ports. Bit 1 would promise DMA. */
const TRADITIONAL_INTERFACE = 0x01;

const fields = {
  selector: u16,
  /** The next byte of the selected item. */
  position: u32,
  /** What the items say. The machine sets these; a reset leaves them alone. */
  ramSizeBytes: f64,
  cpuCount: u16,
  maxCpuCount: u16,
};

const SIGNATURE = [0x51, 0x45, 0x4d, 0x55] as const;

/** Byte `position` of `value`, stored with its low byte first. */
function byteOf(value: number, sizeBytes: number, position: number): number {
  return position < sizeBytes ? Math.floor(value / 2 ** (8 * position)) % 256 : 0;
}

function itemByte(state: Struct<typeof fields>, position: number): number {
  switch (state.selector) {
    case FW_CFG_KEY.SIGNATURE:
      return SIGNATURE[position] ?? 0;
    case FW_CFG_KEY.ID:
      return byteOf(TRADITIONAL_INTERFACE, 4, position);
    case FW_CFG_KEY.RAM_SIZE:
      return byteOf(state.ramSizeBytes, 8, position);
    case FW_CFG_KEY.NB_CPUS:
      return byteOf(state.cpuCount, 2, position);
    case FW_CFG_KEY.MAX_CPUS:
      return byteOf(state.maxCpuCount, 2, position);
    default:
      return 0;
  }
}

/**
 * The firmware configuration interface: a guest selects an item by its key and reads it byte by byte. Read-only, and
 * without the DMA interface, which the ID item says.
 */
export const fwCfg = defineDevice({
  name: "fw-cfg",
  state: fields,
  accessBytes: 2,
  reset(state) {
    state.selector = FW_CFG_KEY.SIGNATURE;
    state.position = 0;
  },
  read(state, offset, sizeBytes) {
    if (offset !== DATA || sizeBytes !== 1) return 0;
    const byte = itemByte(state, state.position);
    // Past its end an item goes on as zeros: standing still there keeps the cursor from wrapping round to its start.
    if (state.position < 0xffff_ffff) state.position++;
    return byte;
  },
  write(state, offset, sizeBytes, value) {
    if (offset !== SELECTOR || sizeBytes !== 2) return;
    state.selector = value;
    state.position = 0;
  },
});
