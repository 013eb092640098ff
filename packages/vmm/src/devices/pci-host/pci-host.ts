import { allOnes } from "../../bus/bus.js";
import { bytes, u8, u32 } from "../../state/struct.js";
import { type DevicePort, defineDevice } from "../device.js";
import { writeResetControl } from "../reset-control/reset-control.js";
import { FUNCTIONS, PCIEXBAR } from "./functions.js";
import { CONFIG_BYTES, initialConfig, writableBits } from "./pci-function.js";

/** Offsets of configuration mechanism #1 (PCI 3.0, section 3.2.2.3.2), from port 0xcf8 on, and of the chipset's reset register. */
export const PCI_PORT = { CONFIG_ADDRESS: 0, RST_CNT: 1, CONFIG_DATA: 4 } as const;
const CONFIG_ENABLE = 0x8000_0000;

/** Offset of the memory window (PCI Express Base Specification 3.0, section 7.2.2), which is as large as 256 buses need. */
export const ECAM_OFFSET = 0x1000_0000;
export const ECAM_BYTES = 0x1000_0000;
const ECAM_BUS_BYTES = 0x10_0000;
const ECAM_ENABLE = 1;

const INITIAL = FUNCTIONS.map(initialConfig);
const WRITABLE = FUNCTIONS.map(writableBits);

/**
 * The host bridge of a PCI bus with nothing on it but the chipset: configuration by two ports, and by a window in memory. Port
 * 0xcf9, which lies inside the first, is the reset register to accesses of a byte.
 */
export const pciHost = defineDevice({
  name: "pci-host",
  state: { configAddress: u32, resetControl: u8, config: bytes(CONFIG_BYTES * FUNCTIONS.length) },
  accessBytes: 4,
  reset(state) {
    state.configAddress = 0;
    state.resetControl = 0;
    INITIAL.forEach((space, index) => {
      state.config.set(space, CONFIG_BYTES * index);
    });
  },
  read(state, offset, sizeBytes) {
    if (offset === PCI_PORT.CONFIG_ADDRESS && sizeBytes === 4) return state.configAddress;
    if (offset === PCI_PORT.RST_CNT && sizeBytes === 1) return state.resetControl;
    const place = target(state, offset);
    return place === undefined ? allOnes(sizeBytes) : readConfig(state.config, place, sizeBytes);
  },
  write(state, offset, sizeBytes, value, port) {
    if (offset === PCI_PORT.CONFIG_ADDRESS && sizeBytes === 4) state.configAddress = value;
    if (offset === PCI_PORT.RST_CNT && sizeBytes === 1) setResetControl(state, value, port);
    const place = target(state, offset);
    if (place !== undefined) writeConfig(state.config, place, sizeBytes, value);
  },
});

type State = Parameters<typeof pciHost.reset>[0];

function setResetControl(state: State, value: number, port: DevicePort): void {
  state.resetControl = writeResetControl(state.resetControl, value, port);
}

/** A register of a function that is there. */
interface Place {
  readonly index: number;
  readonly register: number;
}

/** What an access means; undefined when nobody is there. */
function target(state: State, offset: number): Place | undefined {
  if (offset >= ECAM_OFFSET) {
    const at = offset - ECAM_OFFSET;
    const isOn = (state.config[PCIEXBAR]! & ECAM_ENABLE) !== 0;
    return isOn && at < ECAM_BUS_BYTES ? placeOf(at >> 12, at & 0xfff) : undefined;
  }
  if (offset < PCI_PORT.CONFIG_DATA) return undefined;
  const { configAddress } = state;
  const bus = (configAddress >>> 16) & 0xff;
  if ((configAddress & CONFIG_ENABLE) === 0 || bus !== 0) return undefined;
  return placeOf((configAddress >>> 8) & 0xff, (configAddress & 0xfc) + (offset - PCI_PORT.CONFIG_DATA));
}

function placeOf(deviceAndFunction: number, register: number): Place | undefined {
  const index = FUNCTIONS.findIndex((each) => 8 * each.device + each.function === deviceAndFunction);
  return index < 0 ? undefined : { index, register };
}

/** Registers beyond the first 256 read as zeros: there are no extended capabilities. */
function readConfig(config: Uint8Array, { index, register }: Place, sizeBytes: number): number {
  let value = 0;
  for (let at = register + sizeBytes - 1; at >= register; at--) {
    value = value * 256 + (at < CONFIG_BYTES ? config[CONFIG_BYTES * index + at]! : 0);
  }
  return value;
}

function writeConfig(config: Uint8Array, { index, register }: Place, sizeBytes: number, value: number): void {
  for (let i = 0; i < sizeBytes && register + i < CONFIG_BYTES; i++) {
    const at = CONFIG_BYTES * index + register + i;
    const bits = WRITABLE[index]![register + i]!;
    config[at] = (config[at]! & ~bits) | ((value >>> (8 * i)) & bits);
  }
}
