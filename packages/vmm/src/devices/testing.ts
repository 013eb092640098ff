/** What the tests of devices share: a port that remembers, a device on a bench, and a property that holds for all. */
import fc from "fast-check";
import { expect } from "vitest";
import { allOnes, readWindow, type Window, writeWindow } from "../bus/bus.js";
import type { Fields } from "../state/struct.js";
import { Device, type DeviceDefinition, type DevicePort, type FlashCells, layoutOf, type PciPort } from "./device.js";
import type { FwCfgItem, FwCfgItems } from "./fw-cfg/items.js";

export type Request = { request: "poweroff" | "reset" | "exit" | "panic"; status: number | undefined };

/** A machine that does nothing but remember what a device asked of it. Its clocks stand still until they are moved. */
export class FakePort implements DevicePort {
  irq: 0 | 1 = 0;
  /** Every change of the device's own line, in order. */
  readonly irqChanges: number[] = [];
  readonly gsis: { gsi: number; level: 0 | 1 }[] = [];
  readonly msis: { address: number; data: number }[] = [];
  readonly routes: { pin: number; address: number; data: number }[] = [];
  readonly requests: Request[] = [];
  readonly emitted: number[] = [];
  /** How many more bytes the output takes. */
  outputRoom = Number.POSITIVE_INFINITY;
  clockNs = 0;
  wallMs = Date.UTC(2010, 2, 16, 12, 34, 56);

  setIrq(level: 0 | 1): void {
    if (level !== this.irq) this.irqChanges.push(level);
    this.irq = level;
  }
  setGsi(gsi: number, level: 0 | 1): void {
    this.gsis.push({ gsi, level });
  }
  sendMsi(address: number, data: number): void {
    this.msis.push({ address, data });
  }
  routeMsi(pin: number, address: number, data: number): void {
    this.routes.push({ pin, address, data });
  }
  emit(byte: number): boolean {
    if (this.outputRoom <= 0) return false;
    this.outputRoom--;
    this.emitted.push(byte);
    return true;
  }
  outputReady(): boolean {
    return this.outputRoom > 0;
  }
  request(request: Request["request"], status?: number): void {
    this.requests.push({ request, status });
  }
  /** Guest RAM, from address 0. A device sees it in pieces of at most `spanBytes`, as if it were of many regions. */
  ram = new Uint8Array(0);
  spanBytes = Number.POSITIVE_INFINITY;
  items: FwCfgItems = new Map();

  memory(gpa: number, maxBytes: number): Uint8Array | undefined {
    if (gpa >= this.ram.length) return undefined;
    return this.ram.subarray(gpa, gpa + Math.min(maxBytes, this.spanBytes));
  }
  fwCfgItem(key: number): FwCfgItem | undefined {
    return this.items.get(key);
  }
  cells: FlashCells | undefined;
  pci: PciPort | undefined;

  flash(): FlashCells | undefined {
    return this.cells;
  }
  nowNs(): number {
    return this.clockNs;
  }
  wallClockMs(): number {
    return this.wallMs;
  }
  /** What was emitted, as text. */
  get text(): string {
    return String.fromCharCode(...this.emitted);
  }
}

/** A device after power-on, with its whole register file in one window at address 0. */
export class Bench<F extends Fields> {
  readonly device: Device<F>;
  readonly port = new FakePort();
  readonly #window: Window;

  constructor(definition: DeviceDefinition<F>, sizeBytes = 0x1_0000) {
    const layout = layoutOf(definition);
    this.device = new Device(definition, layout, new SharedArrayBuffer(layout.sizeBytes), 0);
    this.device.port = this.port;
    this.device.reset();
    const device = this.device as unknown as Device;
    this.#window = { device, base: 0, sizeBytes, deviceOffset: 0, readSlot: 0, writeSlot: 0 };
  }

  get state() {
    return this.device.state;
  }
  read(offset: number, sizeBytes: 1 | 2 | 4 = 1): number {
    return readWindow(this.#window, offset, sizeBytes);
  }
  write(offset: number, value: number, sizeBytes: 1 | 2 | 4 = 1): void {
    writeWindow(this.#window, offset, sizeBytes, value);
  }
  receive(byte: number): boolean {
    return this.device.definition.receive?.(this.device.state, byte, this.port) ?? false;
  }
  /** The output takes `bytes` more, and the device is told. */
  drainOutput(bytes = Number.POSITIVE_INFINITY): void {
    this.port.outputRoom = bytes;
    this.device.definition.outputDrained?.(this.device.state, this.port);
  }
  advance(ns: number): void {
    this.port.clockNs += ns;
    this.port.wallMs += ns / 1e6;
  }
}

type Step =
  | { kind: "read"; offset: number; sizeBytes: 1 | 2 | 4 }
  | { kind: "write"; offset: number; sizeBytes: 1 | 2 | 4; value: number }
  | { kind: "receive"; byte: number }
  | { kind: "drain"; bytes: number }
  | { kind: "advance"; ns: number };

/** Steps a guest and its surroundings may take, at offsets in and just beyond a register file of `sizeBytes`. */
function steps(sizeBytes: number): fc.Arbitrary<Step[]> {
  const offset = fc.oneof(fc.nat({ max: Math.min(sizeBytes, 64) }), fc.nat({ max: sizeBytes + 16 }));
  const accessSize = fc.constantFrom<1 | 2 | 4>(1, 2, 4);
  return fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant("read" as const), offset, sizeBytes: accessSize }) },
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant("write" as const),
          offset,
          sizeBytes: accessSize,
          value: fc.oneof(fc.nat({ max: 0xff }), fc.nat({ max: 0xffff_ffff })),
        }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("receive" as const), byte: fc.nat({ max: 0xff }) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("drain" as const), bytes: fc.nat({ max: 20 }) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("advance" as const), ns: fc.nat({ max: 2 ** 31 - 1 }) }) },
    ),
    { maxLength: 60 },
  );
}

function take(bench: Bench<Fields>, step: Step): number | boolean | undefined {
  switch (step.kind) {
    case "read": {
      const value = bench.read(step.offset, step.sizeBytes);
      expect(value, `a read of ${step.sizeBytes} at ${step.offset}`).toSatisfy(
        (v) => Number.isInteger(v) && v >= 0 && v <= allOnes(step.sizeBytes),
      );
      return value;
    }
    case "write":
      bench.write(step.offset, step.value % 2 ** (8 * step.sizeBytes), step.sizeBytes);
      return undefined;
    case "receive":
      return bench.receive(step.byte);
    case "drain":
      bench.drainOutput(step.bytes);
      return undefined;
    case "advance":
      bench.advance(step.ns);
      return undefined;
  }
}

/**
 * Holds for every device: whatever a guest reads and writes, at any offset and size, nothing throws and every value
 * fits its size; all of the device is in its state, so a copy made through JSON goes on exactly as the original; and a
 * reset brings back power-on, but for the fields named in `survivesReset`.
 */
export function exercise<F extends Fields>(
  definition: DeviceDefinition<F>,
  sizeBytes: number,
  { survivesReset = [], runs = 300 }: { survivesReset?: readonly (keyof F)[]; runs?: number } = {},
): void {
  fc.assert(
    fc.property(steps(sizeBytes), steps(sizeBytes), (before, after) => {
      const bench = () => new Bench(definition, sizeBytes + 32) as unknown as Bench<Fields>;
      const original = bench();
      for (const step of before) take(original, step);
      for (const byte of original.port.emitted) expect(byte & 0xff).toBe(byte);

      const copy = bench();
      const { stateType } = original.device.layout;
      stateType.restore(copy.state, JSON.parse(JSON.stringify(stateType.save(original.state))));
      copy.port.clockNs = original.port.clockNs;
      copy.port.wallMs = original.port.wallMs;
      copy.port.outputRoom = original.port.outputRoom;
      for (const step of after) expect(take(copy, step)).toBe(take(original, step));
      expect(stateType.save(copy.state)).toEqual(stateType.save(original.state));

      const fresh = bench();
      fresh.port.clockNs = original.port.clockNs;
      fresh.device.reset();
      original.device.reset();
      const kept = Object.fromEntries(survivesReset.map((name) => [name, expect.anything()]));
      expect(stateType.save(original.state)).toEqual({ ...stateType.save(fresh.state), ...kept });
      expect(original.port.irq).toBe(fresh.port.irq);
    }),
    { numRuns: runs },
  );
}
