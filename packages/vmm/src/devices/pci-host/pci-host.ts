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
export const ECAM_BUS_BYTES = 0x10_0000;
const ECAM_ENABLE = 1;
/** For 256 buses, which is the only size there is here. */
const ECAM_ADDRESS = 0xf000_0000;

const INITIAL = FUNCTIONS.map(initialConfig);
const WRITABLE = FUNCTIONS.map(writableBits);

/** The host bridge whose memory window firmware turns on. */
export const pciHost = pciHostAt(undefined);

/**
 * The host bridge of a PCI bus with the chipset on it and what else the machine has there: configuration by two ports, and by a
 * window in memory, which is on after a reset when its address `ecamBase` is given. Port 0xcf9, which lies inside the first, is
 * the reset register to accesses of a byte.
 */
export function pciHostAt(ecamBase: number | undefined) {
  return defineDevice({
    name: "pci-host",
    state: {
      configAddress: u32,
      resetControl: u8,
      config: bytes(CONFIG_BYTES * FUNCTIONS.length),
      /** Where PCIEXBAR says the window is; 0 while it is nowhere. */
      windowBase: u32,
    },
    accessBytes: 4,
    reset(state) {
      state.configAddress = 0;
      state.resetControl = 0;
      INITIAL.forEach((space, index) => {
        state.config.set(space, CONFIG_BYTES * index);
      });
      if (ecamBase !== undefined)
        writeConfig(state.config, { index: 0, register: PCIEXBAR }, 4, ecamBase + ECAM_ENABLE);
      followWindow(state);
    },
    read(state, offset, sizeBytes, port) {
      if (offset === PCI_PORT.CONFIG_ADDRESS && sizeBytes === 4) return state.configAddress;
      if (offset === PCI_PORT.RST_CNT && sizeBytes === 1) return state.resetControl;
      const place = target(state, offset);
      if (place === undefined) return allOnes(sizeBytes);
      const index = indexOf(place);
      if (index >= 0) return readConfig(state.config, { index, register: place.register }, sizeBytes);
      return port.pci?.configOf(place.deviceAndFunction)?.read(place.register, sizeBytes) ?? allOnes(sizeBytes);
    },
    write(state, offset, sizeBytes, value, port) {
      if (offset === PCI_PORT.CONFIG_ADDRESS && sizeBytes === 4) state.configAddress = value;
      if (offset === PCI_PORT.RST_CNT && sizeBytes === 1) setResetControl(state, value, port);
      const place = target(state, offset);
      if (place === undefined) return;
      const index = indexOf(place);
      if (index >= 0) {
        writeConfig(state.config, { index, register: place.register }, sizeBytes, value);
        followWindow(state);
      } else port.pci?.configOf(place.deviceAndFunction)?.write(place.register, sizeBytes, value);
    },
  });
}

type State = Parameters<typeof pciHost.reset>[0];

function setResetControl(state: State, value: number, port: DevicePort): void {
  state.resetControl = writeResetControl(state.resetControl, value, port);
}

/** Above 4 GiB, where the register could put it too, nobody looks for it. */
function followWindow(state: State): void {
  const word = (at: number) => new DataView(state.config.buffer, state.config.byteOffset).getUint32(at, true);
  const isOn = (word(PCIEXBAR) & ECAM_ENABLE) !== 0 && word(PCIEXBAR + 4) === 0;
  state.windowBase = isOn ? (word(PCIEXBAR) & ECAM_ADDRESS) >>> 0 : 0;
}

/** A register of a function on bus 0, which may be there. */
interface Place {
  readonly deviceAndFunction: number;
  readonly register: number;
}

/** A register of the chipset's. */
interface OwnPlace {
  readonly index: number;
  readonly register: number;
}

/** What an access means; undefined when it is none to bus 0. */
function target(state: State, offset: number): Place | undefined {
  if (offset >= ECAM_OFFSET) {
    const at = offset - ECAM_OFFSET;
    const isOn = (state.config[PCIEXBAR]! & ECAM_ENABLE) !== 0;
    return isOn && at < ECAM_BUS_BYTES ? { deviceAndFunction: at >> 12, register: at & 0xfff } : undefined;
  }
  if (offset < PCI_PORT.CONFIG_DATA) return undefined;
  const { configAddress } = state;
  const bus = (configAddress >>> 16) & 0xff;
  if ((configAddress & CONFIG_ENABLE) === 0 || bus !== 0) return undefined;
  const register = (configAddress & 0xfc) + (offset - PCI_PORT.CONFIG_DATA);
  return { deviceAndFunction: (configAddress >>> 8) & 0xff, register };
}

/** Which of the chipset's functions it is; -1 when it is another's. */
function indexOf({ deviceAndFunction }: Place): number {
  return FUNCTIONS.findIndex((each) => 8 * each.device + each.function === deviceAndFunction);
}

/** Registers beyond the first 256 read as zeros: there are no extended capabilities. */
function readConfig(config: Uint8Array, { index, register }: OwnPlace, sizeBytes: number): number {
  let value = 0;
  for (let at = register + sizeBytes - 1; at >= register; at--) {
    value = value * 256 + (at < CONFIG_BYTES ? config[CONFIG_BYTES * index + at]! : 0);
  }
  return value;
}

function writeConfig(config: Uint8Array, { index, register }: OwnPlace, sizeBytes: number, value: number): void {
  for (let i = 0; i < sizeBytes && register + i < CONFIG_BYTES; i++) {
    const at = CONFIG_BYTES * index + register + i;
    const bits = WRITABLE[index]![register + i]!;
    config[at] = (config[at]! & ~bits) | ((value >>> (8 * i)) & bits);
  }
}
