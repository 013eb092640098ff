import { u16, u32 } from "../../state/struct.js";
import { defineDevice } from "../device.js";
import { runDma } from "./dma.js";
import { FW_CFG_KEY, keyOf } from "./items.js";

/**
 * Offsets in the register file: a 16-bit selector, a byte of data at the odd address after it, and the address of a DMA
 * command, whose 64 bits are big-endian.
 */
const SELECTOR = 0;
const DATA = 1;
const DMA_HIGH = 4;
const DMA_LOW = 8;

/** What the DMA register reads as, "QEMU CFG", for guests that ask before they believe the ID item. */
const DMA_SIGNATURE = { HIGH: 0x51454d55, LOW: 0x20434647 } as const;

/** The other order of a 32-bit value's bytes. */
function swapped(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}

/**
 * The firmware configuration interface (QEMU, docs/specs/fw_cfg.rst): a guest selects an item by its key and reads it
 * byte by byte, or has it copied by DMA. What items there are is the machine's business.
 */
export const fwCfg = defineDevice({
  name: "fw-cfg",
  state: {
    selector: u16,
    /** The next byte of the selected item; at most the item's length. */
    position: u32,
    /** The upper half of a DMA command's address, until the lower half starts it. */
    dmaAddressHigh: u32,
  },
  accessBytes: 4,
  reset(state) {
    state.selector = FW_CFG_KEY.SIGNATURE;
    state.position = 0;
    state.dmaAddressHigh = 0;
  },
  read(state, offset, sizeBytes, port) {
    if (sizeBytes === 4 && offset === DMA_HIGH) return swapped(DMA_SIGNATURE.HIGH);
    if (sizeBytes === 4 && offset === DMA_LOW) return swapped(DMA_SIGNATURE.LOW);
    if (offset !== DATA || sizeBytes !== 1) return 0;
    // Past its end an item goes on as zeros.
    const bytes = port.fwCfgItem(keyOf(state.selector))?.bytes;
    if (bytes === undefined || state.position >= bytes.length) return 0;
    return bytes[state.position++]!;
  },
  write(state, offset, sizeBytes, value, port) {
    if (offset === SELECTOR && sizeBytes === 2) {
      state.selector = value;
      state.position = 0;
    } else if (offset === DMA_HIGH && sizeBytes === 4) {
      state.dmaAddressHigh = swapped(value);
    } else if (offset === DMA_LOW && sizeBytes === 4) {
      const gpa = state.dmaAddressHigh * 2 ** 32 + swapped(value);
      state.dmaAddressHigh = 0;
      runDma(state, gpa, port);
    }
  },
});
