/**
 * The registers of both transports as a driver goes through them (virtio 1.2, sections 4.1 and 4.2), for tests that hold on
 * either. Not exported.
 */
import { Bench } from "../devices/testing.js";
import type { VirtioDevice } from "./device.js";
import { BAR, COMMAND, CONFIG, NOTIFY_MULTIPLIER, PCI_CFG } from "./pci/layout.js";
import { ENTRY, interruptDriver } from "./pci/msix.js";
import type { TransportState } from "./transport.js";
import { MMIO, virtioMmio } from "./transport-mmio.js";
import { COMMON, CONFIG_SPACE, type PciState, virtioPci } from "./transport-pci.js";

export const TRANSPORTS = ["mmio", "pci"] as const;
export type TransportName = (typeof TRANSPORTS)[number];

const WIDTHS = [1, 2, 4] as const;
/** Registers of the configuration space by which a function can be lost: others are as good as any. */
const DISTURBED = [
  CONFIG.COMMAND,
  CONFIG.BAR0,
  CONFIG.MSIX,
  CONFIG.PCI_CFG,
  CONFIG.PCI_CFG + PCI_CFG.OFFSET,
  0xa8,
  0xfe,
];

/** Where a driver puts a queue. */
export interface QueueAreas {
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

export interface DriverRegisters {
  readonly state: TransportState;
  status: number;
  readonly configGeneration: number;
  /** A word of the features that the device offers. */
  offered(select: number): number;
  /** Writes a word of the features that the driver takes. */
  accept(select: number, word: number): void;
  /** The selected queue is this one from now on. */
  selectQueue(index: number): void;
  /** Of the selected queue: the most entries it can have, or those that it has. */
  readonly queueSize: number;
  readonly queueReady: number;
  /** Writes where the selected queue is. */
  placeQueue(areas: QueueAreas): void;
  setQueueReady(ready: number): void;
  config(offset: number, sizeBytes: 1 | 2 | 4): number;
  setConfig(offset: number, value: number, sizeBytes: 1 | 2 | 4): void;
  /** Why the device has interrupted, and that the driver has seen it. */
  acknowledge(): number;
  /** What a driver's bus does before the driver. */
  enable(): void;
  /** The machine's reset. */
  powerCycle(): void;
  /** Writes `value` to registers that `random` picks, as no driver would. */
  disturb(random: (below: number) => number, value: number): void;
  /** The device's side: what is in the way of an interrupt is not interrupted. */
  interrupt(source: number | undefined, signal: () => void): void;
}

export function registersOf(transport: TransportName, device: VirtioDevice): DriverRegisters {
  return transport === "mmio" ? new MmioRegisters(device) : new PciRegisters(device);
}

export class MmioRegisters implements DriverRegisters {
  readonly bench: Bench<ReturnType<typeof virtioMmio>["state"]>;

  constructor(device: VirtioDevice) {
    this.bench = new Bench(virtioMmio(device));
  }

  get state(): TransportState {
    return this.bench.state as TransportState;
  }
  get status(): number {
    return this.bench.read(MMIO.STATUS, 4);
  }
  set status(value: number) {
    this.bench.write(MMIO.STATUS, value, 4);
  }
  get configGeneration(): number {
    return this.bench.read(MMIO.CONFIG_GENERATION, 4);
  }
  offered(select: number): number {
    this.bench.write(MMIO.DEVICE_FEATURES_SEL, select, 4);
    return this.bench.read(MMIO.DEVICE_FEATURES, 4);
  }
  accept(select: number, word: number): void {
    this.bench.write(MMIO.DRIVER_FEATURES_SEL, select, 4);
    this.bench.write(MMIO.DRIVER_FEATURES, word, 4);
  }
  selectQueue(index: number): void {
    this.bench.write(MMIO.QUEUE_SEL, index, 4);
  }
  get queueSize(): number {
    return this.bench.read(MMIO.QUEUE_SIZE_MAX, 4);
  }
  get queueReady(): number {
    return this.bench.read(MMIO.QUEUE_READY, 4);
  }
  placeQueue({ size, descriptors, available, used }: QueueAreas): void {
    this.bench.write(MMIO.QUEUE_SIZE, size, 4);
    this.bench.write(MMIO.QUEUE_DESC, descriptors, 4);
    this.bench.write(MMIO.QUEUE_DRIVER, available, 4);
    this.bench.write(MMIO.QUEUE_DEVICE, used, 4);
  }
  setQueueReady(ready: number): void {
    this.bench.write(MMIO.QUEUE_READY, ready, 4);
  }
  config(offset: number, sizeBytes: 1 | 2 | 4): number {
    return this.bench.read(MMIO.CONFIG + offset, sizeBytes);
  }
  setConfig(offset: number, value: number, sizeBytes: 1 | 2 | 4): void {
    this.bench.write(MMIO.CONFIG + offset, value, sizeBytes);
  }
  acknowledge(): number {
    const why = this.bench.read(MMIO.INTERRUPT_STATUS, 4);
    this.bench.write(MMIO.INTERRUPT_ACK, why, 4);
    return why;
  }
  enable(): void {}
  powerCycle(): void {
    this.bench.device.reset();
  }
  disturb(random: (below: number) => number, value: number): void {
    const sizeBytes = WIDTHS[random(WIDTHS.length)]!;
    this.bench.read(random(0x200), sizeBytes);
    this.bench.write(random(4) === 0 ? random(0x200) : 4 * random(0x80), value % 2 ** (8 * sizeBytes), sizeBytes);
  }
  interrupt(_source: number | undefined, signal: () => void): void {
    signal();
  }
}

/** With MSI-X: a vector for the configuration, and then one for each queue. */
export class PciRegisters implements DriverRegisters {
  static readonly BAR_BASE = 0xc000_0000;
  readonly bench: Bench<ReturnType<typeof virtioPci>["state"]>;
  readonly notified: number[] = [];
  /** Windows that have moved, from where to where. */
  readonly moves: [number, number][] = [];
  /** How often the kernel was told of the vectors' messages, and the line raised by a vCPU. */
  routes = 0;
  lines = 0;

  constructor(readonly device: VirtioDevice) {
    this.bench = new Bench(virtioPci(device, { slot: 1, barBase: PciRegisters.BAR_BASE }), CONFIG_SPACE + 0x1000);
    this.bench.port.pci = {
      configOf: () => undefined,
      moveWindow: (from, to) => this.moves.push([from, to]),
      notify: (queue) => this.notified.push(queue),
      raiseLine: () => this.lines++,
      endLine() {},
      routeVectors: () => this.routes++,
    };
    this.enable();
  }

  enable(): void {
    this.setSpace(CONFIG.COMMAND, COMMAND.MEMORY | COMMAND.BUS_MASTER, 2);
    this.setSpace(CONFIG.MSIX + 2, 0x8000, 2);
    for (let vector = 0; vector <= this.device.queueSizes.length; vector++) {
      this.setEntry(vector, ENTRY.ADDRESS, 0xfee0_0000);
      this.setEntry(vector, ENTRY.DATA, 0x40 + vector);
      this.setEntry(vector, ENTRY.CONTROL, 0);
    }
  }

  /** The configuration space. */
  space(register: number, sizeBytes: 1 | 2 | 4): number {
    return this.bench.read(CONFIG_SPACE + register, sizeBytes);
  }
  setSpace(register: number, value: number, sizeBytes: 1 | 2 | 4): void {
    this.bench.write(CONFIG_SPACE + register, value, sizeBytes);
  }
  setEntry(vector: number, field: number, value: number): void {
    this.bench.write(BAR.MSIX_TABLE + 4 * (ENTRY.WORDS * vector + field), value, 4);
  }
  /** The driver notifies a queue, with an exit. */
  notify(queue: number): void {
    this.bench.write(BAR.NOTIFY + NOTIFY_MULTIPLIER * queue, queue, 2);
  }

  get state(): PciState {
    return this.bench.state as unknown as PciState;
  }
  get status(): number {
    return this.bench.read(COMMON.DEVICE_STATUS, 1);
  }
  set status(value: number) {
    this.bench.write(COMMON.DEVICE_STATUS, value, 1);
    // A reset has taken every vector away.
    if (value === 0) this.setVectors();
  }
  setVectors(): void {
    this.bench.write(COMMON.CONFIG_MSIX_VECTOR, 0, 2);
    for (let queue = 0; queue < this.device.queueSizes.length; queue++) {
      this.selectQueue(queue);
      this.bench.write(COMMON.QUEUE_MSIX_VECTOR, queue + 1, 2);
    }
  }
  get configGeneration(): number {
    return this.bench.read(COMMON.CONFIG_GENERATION, 1);
  }
  offered(select: number): number {
    this.bench.write(COMMON.DEVICE_FEATURE_SELECT, select, 4);
    return this.bench.read(COMMON.DEVICE_FEATURE, 4);
  }
  accept(select: number, word: number): void {
    this.bench.write(COMMON.DRIVER_FEATURE_SELECT, select, 4);
    this.bench.write(COMMON.DRIVER_FEATURE, word, 4);
  }
  selectQueue(index: number): void {
    this.bench.write(COMMON.QUEUE_SELECT, index, 2);
  }
  get queueSize(): number {
    return this.bench.read(COMMON.QUEUE_SIZE, 2);
  }
  get queueReady(): number {
    return this.bench.read(COMMON.QUEUE_ENABLE, 2);
  }
  placeQueue({ size, descriptors, available, used }: QueueAreas): void {
    this.bench.write(COMMON.QUEUE_SIZE, size, 2);
    this.bench.write(COMMON.QUEUE_DESC, descriptors, 4);
    this.bench.write(COMMON.QUEUE_DRIVER, available, 4);
    this.bench.write(COMMON.QUEUE_DEVICE, used, 4);
  }
  setQueueReady(ready: number): void {
    this.bench.write(COMMON.QUEUE_ENABLE, ready, 2);
  }
  config(offset: number, sizeBytes: 1 | 2 | 4): number {
    return this.bench.read(BAR.DEVICE + offset, sizeBytes);
  }
  setConfig(offset: number, value: number, sizeBytes: 1 | 2 | 4): void {
    this.bench.write(BAR.DEVICE + offset, value, sizeBytes);
  }
  acknowledge(): number {
    return this.bench.read(BAR.ISR);
  }
  powerCycle(): void {
    this.bench.device.reset();
    this.enable();
  }
  /** In the configuration space, through its window (section 4.1.4.9), and in any page of the BAR. */
  disturb(random: (below: number) => number, value: number): void {
    const sizeBytes = WIDTHS[random(WIDTHS.length)]!;
    const cut = value % 2 ** (8 * sizeBytes);
    const page = 0x1000 * random(8);
    const register = DISTURBED[random(DISTURBED.length)]! + random(4);
    switch (random(4)) {
      case 0:
        this.setSpace(register, cut, sizeBytes);
        this.space(register, sizeBytes);
        break;
      case 1:
        this.setSpace(CONFIG.PCI_CFG + PCI_CFG.OFFSET, page + random(0x40), 4);
        this.setSpace(CONFIG.PCI_CFG + PCI_CFG.LENGTH, random(5), 4);
        this.setSpace(CONFIG.PCI_CFG + PCI_CFG.DATA, cut, sizeBytes);
        this.space(CONFIG.PCI_CFG + PCI_CFG.DATA, sizeBytes);
        break;
      default:
        this.bench.write(page + random(0x80), cut, sizeBytes);
        this.bench.read(page + random(0x80), sizeBytes);
    }
    // What the bench has seen of it is of no use, and a long run must not keep it.
    for (const seen of [this.notified, this.moves, this.bench.port.msis]) seen.length = 0;
  }
  interrupt(source: number | undefined, signal: () => void): void {
    interruptDriver(this.state, source ?? this.device.queueSizes.length, { vector: signal, line: signal });
  }
}
