/**
 * What kvm-unit-tests expects beside a PC's own devices, each a device of its own. Addresses are the machine's.
 */
import { bytes, u32 } from "../../state/struct.js";
import { defineDevice } from "../device.js";
import { extractBytes, mergeBytes } from "../register-file.js";

/**
 * A register of four bytes that reads as what was written, by accesses of any width. Tests of string instructions use
 * it through two windows, one of them a byte at a time.
 */
export const testdevLatch = defineDevice({
  name: "testdev-latch",
  state: { value: u32 },
  accessBytes: 4,
  reset(state) {
    state.value = 0;
  },
  read: (state, offset, sizeBytes) => extractBytes(state.value, offset, sizeBytes),
  write(state, offset, sizeBytes, value) {
    state.value = mergeBytes(state.value, offset, sizeBytes, value);
  },
});

/**
 * A port through which a test asks the host to drop the mapping of the page whose address it writes, so that its next
 * access faults in the host. Dropping it changes nothing a guest can see, and this process has no reason to: accepted
 * and ignored.
 */
export const testdevFlush = defineDevice({
  name: "testdev-flush",
  state: {},
  accessBytes: 4,
  reset() {},
  read: () => 0,
  write() {},
});

/** Bytes that drive interrupt lines: a write at offset n sets line n high when the value is not zero. */
export const testdevIrq = defineDevice({
  name: "testdev-irq",
  state: {},
  accessBytes: 1,
  reset() {},
  read: () => 0,
  write(_state, offset, _sizeBytes, value, port) {
    port.setGsi(offset, value === 0 ? 0 : 1);
  },
});

const MEMORY_BYTES = 0x1_0000;

/** Memory that is not RAM: every access to it leaves the guest, which is what tests of the instruction emulator want. */
export const testdevMemory = defineDevice({
  name: "testdev-memory",
  state: { memory: bytes(MEMORY_BYTES) },
  accessBytes: 4,
  reset(state) {
    state.memory.fill(0);
  },
  read({ memory }, offset, sizeBytes) {
    let value = 0;
    for (let i = sizeBytes - 1; i >= 0; i--) value = value * 256 + (memory[offset + i] ?? 0);
    return value;
  },
  write({ memory }, offset, sizeBytes, value) {
    for (let i = 0; i < sizeBytes; i++) memory[offset + i] = value >>> (8 * i);
  },
});
