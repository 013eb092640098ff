import { SharedLock } from "../state/lock.js";
import { defineStruct, type Fields, i32, type Struct, type StructType } from "../state/struct.js";
import type { FwCfgItem } from "./fw-cfg/items.js";

/**
 * What a device can ask of the machine it stands in. The machine decides which interrupt line, which console and
 * which clock that is; a device never knows.
 */
export interface DevicePort {
  /** Drives the device's own interrupt line. Repeating a level costs nothing. */
  setIrq(level: 0 | 1): void;
  /** Drives any line by its number (GSI): only for devices whose job that is, such as pc-testdev. */
  setGsi(gsi: number, level: 0 | 1): void;
  /**
   * Sends a message signalled interrupt: a 32-bit write of `data` to `address`, as the IOAPIC and MSI functions make
   * (Intel SDM volume 3, "Message Signalled Interrupts"). Both are unsigned 32-bit numbers.
   */
  sendMsi(address: number, data: number): void;
  /**
   * Tells the kernel which message the IOAPIC's `pin` stands for from now on. With a split irqchip KVM learns from its
   * routing table alone which vectors are level-triggered, and reports the end of no others (KVM_EXIT_IOAPIC_EOI).
   * Address 0: for none.
   */
  routeMsi(pin: number, address: number, data: number): void;
  /** Sends one byte to the device's output (a console, a log). False when the output is full: try again later. */
  emit(byte: number): boolean;
  /** True when `emit` would succeed. */
  outputReady(): boolean;
  /** Asks the machine to power off, to reset, or to end with a guest's exit status or its panic. The vCPU leaves its loop. */
  request(request: "poweroff" | "reset" | "exit" | "panic", status?: number): void;
  /**
   * Guest RAM at `gpa`, in place: up to `maxBytes` bytes, fewer where a region ends. Undefined where there is no RAM.
   * For devices that move data themselves (DMA).
   */
  memory(gpa: number, maxBytes: number): Uint8Array | undefined;
  /** What the machine holds for its guest under a key of fw_cfg's. */
  fwCfgItem(key: number): FwCfgItem | undefined;
  /** The cells of the machine's flash chip; undefined where no guest runs. */
  flash(): FlashCells | undefined;
  /** Where the machine has a PCI bus. */
  readonly pci?: PciPort | undefined;
  /** Nanoseconds on the host's monotonic clock. */
  nowNs(): number;
  /** Milliseconds since 1970-01-01 UTC. */
  wallClockMs(): number;
}

/** What a PCI bus is to the devices on it. */
export interface PciPort {
  /** For the host bridge: the configuration space of another device on bus 0. Undefined where nobody is. */
  configOf(deviceAndFunction: number): PciConfigSpace | undefined;
  /** The device's memory window has gone from one guest physical address to another; 0 is nowhere. */
  moveWindow(from: number, to: number): void;
  /** The driver has notified a queue of the device's. */
  notify(queue: number): void;
  /** The device's interrupt line: asserted until the guest has ended the interrupt. */
  raiseLine(): void;
  /**
   * For the IOAPIC: nothing asserts this pin for the moment, since its interrupt has ended or it has been masked until now. A
   * function that has a reason left raises its line again.
   */
  endLine(gsi: number): void;
  /** Tells the kernel which messages the vectors of all devices stand for. */
  routeVectors(): void;
}

/** Registers by their offset; sizes are 1, 2 or 4 bytes. */
export interface PciConfigSpace {
  read(register: number, sizeBytes: number): number;
  write(register: number, sizeBytes: number, value: number): void;
}

/** What a flash chip stores, and who sees it. */
export interface FlashCells {
  readonly bytes: Uint8Array;
  /** True: the guest reads the cells themselves, without an exit. False: its reads come to the device. */
  expose(exposed: boolean): void;
  /** Makes a change last. False when that failed; whoever runs the machine has been told why. */
  save(offset: number, lengthBytes: number): boolean;
}

/**
 * A device, declared as data: its state as a struct in shared memory, and what happens when the guest reads and
 * writes its registers. Registers are addressed by their offset in the device's own register file; where a window on
 * that file appears to the guest is the machine's choice (`machine/pc.ts`).
 */
export interface DeviceDefinition<F extends Fields = Fields> {
  /** Lower case, as the ledger, `vmm inspect` and the profiler show it; at most 31 bytes. */
  readonly name: string;
  readonly state: F;
  /**
   * The widest access the handlers take, in bytes. The bus splits wider ones into accesses at consecutive offsets,
   * so a device of byte registers only ever sees single bytes.
   */
  readonly accessBytes: 1 | 2 | 4;
  /** Puts the registers into their state after power-on. */
  reset(state: Struct<F>, port: DevicePort): void;
  /** A read of `sizeBytes` (1, 2 or 4, at most `accessBytes`) at `offset`. The result is unsigned, low bits count. */
  read?(state: Struct<F>, offset: number, sizeBytes: number, port: DevicePort): number;
  /** A write of `sizeBytes` at `offset`; `value` is unsigned and has no bits beyond its size. */
  write?(state: Struct<F>, offset: number, sizeBytes: number, value: number, port: DevicePort): void;
  /** A byte arrives from outside (the console's input). False when there is no room: the machine offers it again. */
  receive?(state: Struct<F>, byte: number, port: DevicePort): boolean;
  /** The output has room again, after `emit` or `outputReady` had said false. */
  outputDrained?(state: Struct<F>, port: DevicePort): void;
}

/** Declares a device. The types of `state` follow from its fields. */
export function defineDevice<F extends Fields>(definition: DeviceDefinition<F>): DeviceDefinition<F> {
  return definition;
}

/** What the machine keeps beside every device's own registers. */
const header = {
  lock: i32,
  /** The level last driven on the device's own interrupt line. */
  irqLevel: i32,
};

/** A device's whole place in the state buffer: the machine's header, then the device's registers. */
export interface DeviceLayout<F extends Fields = Fields> {
  readonly headerType: StructType<typeof header>;
  readonly stateType: StructType<F>;
  readonly sizeBytes: number;
}

const headerType = defineStruct(header);
/** Indices of the header's words. */
const LOCK = 0;
const IRQ_LEVEL = 1;
/** Devices start on a cache line of their own, so that two vCPUs on two devices do not share one. */
export const DEVICE_ALIGN_BYTES = 64;
const STATE_OFFSET_BYTES = 64;

export function layoutOf<F extends Fields>(definition: DeviceDefinition<F>): DeviceLayout<F> {
  const stateType = defineStruct(definition.state);
  const end = STATE_OFFSET_BYTES + stateType.sizeBytes;
  return { headerType, stateType, sizeBytes: Math.ceil(end / DEVICE_ALIGN_BYTES) * DEVICE_ALIGN_BYTES };
}

/** A device bound over shared memory: the same bytes in every Worker. */
export class Device<F extends Fields = Fields> {
  readonly definition: DeviceDefinition<F>;
  readonly layout: DeviceLayout<F>;
  readonly state: Struct<F>;
  readonly #words: Int32Array;
  readonly #lock: SharedLock;
  /** Set by the machine once it knows the device's lines and outputs. */
  port!: DevicePort;

  constructor(definition: DeviceDefinition<F>, layout: DeviceLayout<F>, buffer: SharedArrayBuffer, byteOffset: number) {
    this.definition = definition;
    this.layout = layout;
    this.#words = new Int32Array(buffer, byteOffset, 2);
    this.#lock = new SharedLock(this.#words, LOCK);
    this.state = layout.stateType.bind(buffer, byteOffset + STATE_OFFSET_BYTES);
  }

  get irqLevel(): number {
    return Atomics.load(this.#words, IRQ_LEVEL);
  }

  /** Remembers the level; true when it changed. */
  driveIrq(level: 0 | 1): boolean {
    return Atomics.exchange(this.#words, IRQ_LEVEL, level) !== level;
  }

  /** Handlers run under the device's lock: whoever calls into the device takes it first. */
  lock(): void {
    this.#lock.acquire();
  }

  unlock(): void {
    this.#lock.release();
  }

  /** Power-on state; the interrupt line is low, as on the fresh interrupt controllers it is connected to. */
  reset(): void {
    this.lock();
    try {
      Atomics.store(this.#words, IRQ_LEVEL, 0);
      this.definition.reset(this.state, this.port);
    } finally {
      this.unlock();
    }
  }
}
