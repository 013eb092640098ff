/** A virtio function on PCI, as firmware and a driver go through it (PCI 3.0, chapter 6; virtio 1.2, section 4.1). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../devices/testing.js";
import { blockDevice } from "./devices/block/block.js";
import { FEATURE, INTERRUPT, STATUS } from "./ids.js";
import { BAR, BAR_BYTES, COMMAND, CONFIG, NOTIFY_MULTIPLIER, PCI_CFG } from "./pci/layout.js";
import { ENTRY, interruptDriver, NO_VECTOR, raise } from "./pci/msix.js";
import { DeviceServer } from "./server.js";
import { TestDevice, TestDriverQueue, TestMemory } from "./testing.js";
import type { PciRegisters } from "./testing-registers.js";
import { featureWords, isHeldOff, noteInterrupt } from "./transport.js";
import { COMMON, CONFIG_SPACE, virtioPci } from "./transport-pci.js";

const device = blockDevice({ name: "virtio-blk0", sizeBytes: 2 ** 20, readonly: false, queues: 2 });
const BASE = 0xc000_0000;
const definition = virtioPci(device, { slot: 1, barBase: BASE });
const MEMORY = 0x02;
const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;

class TestFunction {
  readonly bench = new Bench(definition, CONFIG_SPACE + 0x1000);
  readonly moves: [number, number][] = [];
  readonly notified: number[] = [];
  readonly signalled: number[] = [];
  routes = 0;
  lines = 0;

  constructor() {
    this.bench.port.pci = {
      configOf: () => undefined,
      moveWindow: (from, to) => this.moves.push([from, to]),
      notify: (queue) => this.notified.push(queue),
      raiseLine: () => this.lines++,
      endLine() {},
      routeVectors: () => this.routes++,
    };
  }
  config(register: number, sizeBytes: 1 | 2 | 4 = 4): number {
    return this.bench.read(CONFIG_SPACE + register, sizeBytes);
  }
  setConfig(register: number, value: number, sizeBytes: 1 | 2 | 4 = 4): void {
    this.bench.write(CONFIG_SPACE + register, value, sizeBytes);
  }
  common(field: number, sizeBytes: 1 | 2 | 4): number {
    return this.bench.read(BAR.COMMON + field, sizeBytes);
  }
  setCommon(field: number, value: number, sizeBytes: 1 | 2 | 4): void {
    this.bench.write(BAR.COMMON + field, value, sizeBytes);
  }
  setEntry(vector: number, field: number, value: number): void {
    this.bench.write(BAR.MSIX_TABLE + 4 * (ENTRY.WORDS * vector + field), value, 4);
  }
  /** The I/O Worker's side. */
  raise(source: number): void {
    raise(this.bench.state, source, (vector) => this.signalled.push(vector));
  }
  /** MSI-X on, a message in each vector, all of them masked. */
  withMessages(): this {
    this.setConfig(CONFIG.COMMAND, COMMAND.BUS_MASTER, 2);
    this.setConfig(CONFIG.MSIX + 2, ENABLE, 2);
    for (let vector = 0; vector < 3; vector++) {
      this.setEntry(vector, ENTRY.ADDRESS, 0xfee0_0000);
      this.setEntry(vector, ENTRY.DATA, 0x40 + vector);
      this.setCommon(COMMON.QUEUE_SELECT, vector, 2);
      if (vector < 2) this.setCommon(COMMON.QUEUE_MSIX_VECTOR, vector + 1, 2);
    }
    this.setCommon(COMMON.CONFIG_MSIX_VECTOR, 0, 2);
    return this;
  }
}

describe("the configuration space", () => {
  it("says what the function is", () => {
    const function_ = new TestFunction();
    expect(function_.config(0)).toBe(0x1042_1af4);
    expect(function_.config(8)).toBe(0x0180_0001);
    expect(function_.config(0x2e, 2)).toBeGreaterThanOrEqual(0x40);
    expect(function_.config(6, 2) & 0x10).toBe(0x10);
    expect(function_.config(0x100)).toBe(0);
  });

  it("has a list of capabilities that ends, with every structure inside the BAR", () => {
    const function_ = new TestFunction();
    const found = new Map<number, { offset: number; length: number }>();
    const ids: number[] = [];
    for (let at = function_.config(0x34, 1); at !== 0; at = function_.config(at + 1, 1)) {
      ids.push(function_.config(at, 1));
      expect(ids.length).toBeLessThan(10);
      if (ids.at(-1) !== 9) continue;
      const [offset, length] = [function_.config(at + 8), function_.config(at + 12)];
      expect(function_.config(at + 4, 1)).toBe(0);
      expect(offset + length).toBeLessThanOrEqual(BAR_BYTES);
      found.set(function_.config(at + 3, 1), { offset, length });
    }
    expect(ids).toEqual([0x11, 9, 9, 9, 9, 9]);
    expect([...found.keys()]).toEqual([1, 2, 3, 4, 5]);
    expect(found.get(2)!.offset).toBe(BAR.NOTIFY);
    expect(function_.config(CONFIG.MSIX + 2, 2)).toBe(2);
  });

  it("tells the BAR's size, and moves the window where the BAR goes while memory is on", () => {
    const function_ = new TestFunction();
    expect(function_.config(CONFIG.BAR0)).toBe(BASE);
    function_.setConfig(CONFIG.BAR0, 0xffff_ffff);
    expect(function_.config(CONFIG.BAR0)).toBe(0x1_0000_0000 - BAR_BYTES);
    function_.setConfig(CONFIG.BAR0, 0xc012_8000);
    expect(function_.moves).toEqual([]);
    function_.setConfig(CONFIG.COMMAND, MEMORY, 2);
    expect(function_.bench.state.windowBase).toBe(0xc012_8000);
    function_.setConfig(CONFIG.BAR0, 0xc013_0000);
    function_.setConfig(CONFIG.COMMAND, 0, 2);
    expect(function_.moves).toEqual([
      [0, 0xc012_8000],
      [0xc012_8000, 0xc013_0000],
      [0xc013_0000, 0],
    ]);
  });

  it("gives the BAR's registers to firmware that maps none", () => {
    const function_ = new TestFunction();
    const through = (offset: number, length: number): number => {
      function_.setConfig(CONFIG.PCI_CFG + PCI_CFG.OFFSET, offset);
      function_.setConfig(CONFIG.PCI_CFG + PCI_CFG.LENGTH, length);
      return function_.config(CONFIG.PCI_CFG + PCI_CFG.DATA);
    };
    expect(through(COMMON.NUM_QUEUES, 2)).toBe(2);
    expect(through(COMMON.DEVICE_STATUS, 1)).toBe(0);
    function_.setConfig(CONFIG.PCI_CFG + PCI_CFG.DATA, STATUS.ACKNOWLEDGE);
    expect(through(COMMON.DEVICE_STATUS, 1)).toBe(STATUS.ACKNOWLEDGE);
    expect([through(3, 4), through(0, 3), through(BAR_BYTES, 4), through(0xffff_fffc, 4)]).toEqual([0, 0, 0, 0]);
  });
});

describe("a driver's start", () => {
  it("leads to queues that are served, by the vectors that it has chosen", () => {
    const function_ = new TestFunction().withMessages();
    const memory = new TestMemory(0x2_0000);
    const queue = new TestDriverQueue(memory, 16, 0x1000);
    const handled: number[] = [];
    const server = new DeviceServer({
      state: function_.bench.state,
      backend: { handle: (index) => handled.push(index), close() {} },
      memory,
      interrupt: (source = 2) => function_.raise(source),
      nowNs: () => 0,
      onFault: (message) => expect.fail(message),
    });
    function_.setCommon(COMMON.DEVICE_STATUS, STATUS.ACKNOWLEDGE | STATUS.DRIVER, 1);
    featureWords(device).forEach((word, select) => {
      function_.setCommon(COMMON.DEVICE_FEATURE_SELECT, select, 4);
      expect(function_.common(COMMON.DEVICE_FEATURE, 4)).toBe(word);
      function_.setCommon(COMMON.DRIVER_FEATURE_SELECT, select, 4);
      function_.setCommon(COMMON.DRIVER_FEATURE, word, 4);
    });
    const accepted = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK;
    function_.setCommon(COMMON.DEVICE_STATUS, accepted, 1);
    expect(function_.common(COMMON.DEVICE_STATUS, 1)).toBe(accepted);
    function_.setCommon(COMMON.QUEUE_SELECT, 1, 2);
    expect(function_.common(COMMON.QUEUE_NOTIFY_OFF, 2)).toBe(1);
    function_.setCommon(COMMON.QUEUE_SIZE, 16, 2);
    function_.setCommon(COMMON.QUEUE_DESC, queue.descriptors, 4);
    function_.setCommon(COMMON.QUEUE_DRIVER, queue.available, 4);
    function_.setCommon(COMMON.QUEUE_DEVICE, queue.used, 4);
    function_.setCommon(COMMON.QUEUE_ENABLE, 1, 2);
    function_.setCommon(COMMON.QUEUE_ENABLE, 0, 2); // which only a reset does
    expect(function_.common(COMMON.QUEUE_ENABLE, 2)).toBe(1);
    function_.setCommon(COMMON.DEVICE_STATUS, accepted | STATUS.DRIVER_OK, 1);
    function_.setEntry(2, ENTRY.CONTROL, 0);
    queue.offer([{ gpa: 0x8000, length: 16, writable: true }]);
    function_.notified.length = 0;
    function_.bench.write(BAR.NOTIFY + NOTIFY_MULTIPLIER, 1, 2);
    expect(function_.notified).toEqual([1]);
    server.serve(1);
    expect({ handled, signalled: function_.signalled }).toEqual({ handled: [1], signalled: [2] });
    expect(function_.bench.read(BAR.ISR)).toBe(1);
    expect(function_.bench.read(BAR.ISR)).toBe(0);
    function_.setCommon(COMMON.DEVICE_STATUS, 0, 1);
    expect(function_.common(COMMON.QUEUE_ENABLE, 2)).toBe(0);
    expect(function_.common(COMMON.QUEUE_MSIX_VECTOR, 2)).toBe(NO_VECTOR);
  });

  it("gets no vector that is not there, and no queue", () => {
    const function_ = new TestFunction();
    function_.setCommon(COMMON.QUEUE_MSIX_VECTOR, 3, 2);
    expect(function_.common(COMMON.QUEUE_MSIX_VECTOR, 2)).toBe(NO_VECTOR);
    function_.setCommon(COMMON.QUEUE_SELECT, 0xffff, 2);
    function_.setCommon(COMMON.QUEUE_ENABLE, 1, 2);
    function_.setCommon(COMMON.QUEUE_DESC, 1, 4);
    expect(function_.common(COMMON.QUEUE_SIZE, 2)).toBe(0);
    expect(function_.common(COMMON.QUEUE_ENABLE, 2)).toBe(0);
  });
});

it("a driver without MSI-X has one line, and the ISR for the reason", () => {
  const test = new TestFunction();
  const ways: string[] = [];
  const take = { vector: (index: number) => ways.push(`vector ${index}`), line: () => ways.push("line") };
  expect(test.config(0x3d, 1)).toBe(1);
  noteInterrupt(test.bench.state);
  interruptDriver(test.bench.state, 1, take);
  expect(ways).toEqual(["line"]);
  expect([test.bench.read(BAR.ISR), test.bench.read(BAR.ISR)]).toEqual([1, 0]);
  test.withMessages().setEntry(2, ENTRY.CONTROL, 0);
  interruptDriver(test.bench.state, 1, take);
  expect(ways).toEqual(["line", "vector 2"]);
});

describe("the command register", () => {
  const queued = () => {
    const memory = new TestMemory(0x2_0000);
    const queue = new TestDriverQueue(memory, 16, 0x1000);
    const handled: number[] = [];
    const backend = { handle: (index: number) => handled.push(index), close() {} };
    const test = new TestDevice(device, backend, memory, "pci");
    test.start(queue, { without: [FEATURE.RING_EVENT_IDX] });
    queue.offer([{ gpa: 0x8000, length: 16, writable: true }]);
    return { test, handled, pci: test.registers as PciRegisters };
  };

  it("keeps the device away from memory without bus mastering, and has it look again with it", () => {
    const { test, handled, pci } = queued();
    pci.setSpace(CONFIG.COMMAND, COMMAND.MEMORY, 2);
    pci.notify(0);
    test.server.serve(0);
    expect([handled, test.interrupts]).toEqual([[], 0]);
    pci.notified.length = 0;
    pci.setSpace(CONFIG.COMMAND, COMMAND.MEMORY | COMMAND.BUS_MASTER, 2);
    expect(pci.notified).toEqual([0, 1]);
    test.server.serve(0);
    expect([handled, test.interrupts]).toEqual([[0], 1]);
    pci.bench.device.reset();
    expect(pci.space(CONFIG.COMMAND, 2)).toBe(0);
    expect(isHeldOff(test.state)).toBe(true);
  });

  it("lets no message be sent without bus mastering: it is pending, and sent with it", () => {
    const { test, pci } = queued();
    pci.setSpace(CONFIG.COMMAND, COMMAND.MEMORY, 2);
    pci.interrupt(0, () => test.interrupts++);
    expect([test.interrupts, pci.bench.read(BAR.PBA, 4), pci.bench.port.msis]).toEqual([0, 0b10, []]);
    pci.setSpace(CONFIG.COMMAND, COMMAND.MEMORY | COMMAND.BUS_MASTER, 2);
    expect(pci.bench.port.msis).toEqual([{ address: 0xfee0_0000, data: 0x41 }]);
    expect(pci.bench.read(BAR.PBA, 4)).toBe(0);
  });

  it("disables the line, of which the status register tells still, and raises it when it no longer does", () => {
    const { test, pci } = queued();
    const on = COMMAND.MEMORY | COMMAND.BUS_MASTER;
    pci.setSpace(CONFIG.MSIX + 2, 0, 2);
    pci.setSpace(CONFIG.COMMAND, on | COMMAND.INTERRUPT_DISABLE, 2);
    expect(pci.space(CONFIG.COMMAND, 2)).toBe(on | COMMAND.INTERRUPT_DISABLE);
    expect(pci.space(CONFIG.STATUS, 2)).toBe(0x10);
    test.server.serve(0);
    expect([test.interrupts, pci.lines]).toEqual([0, 0]);
    expect([pci.space(CONFIG.STATUS, 2), pci.space(CONFIG.STATUS, 1)]).toEqual([0x18, 0x18]);
    expect(pci.space(CONFIG.COMMAND, 4)).toBe(0x0018_0406);
    pci.setSpace(CONFIG.COMMAND, on, 2);
    expect(pci.lines).toBe(1);
    pci.setSpace(CONFIG.COMMAND, on, 2);
    expect(pci.lines).toBe(1);
    expect(pci.acknowledge()).toBe(INTERRUPT.USED_BUFFER);
    expect(pci.space(CONFIG.STATUS, 2)).toBe(0x10);
    pci.setSpace(CONFIG.COMMAND, on | COMMAND.INTERRUPT_DISABLE, 2);
    pci.setSpace(CONFIG.COMMAND, on, 2);
    expect(pci.lines).toBe(1);
  });

  it("has the line take over when MSI-X is turned off with a reason left", () => {
    const { test, pci } = queued();
    test.server.serve(0);
    expect([test.interrupts, pci.lines, pci.space(CONFIG.STATUS, 2)]).toEqual([1, 0, 0x10]);
    pci.setSpace(CONFIG.MSIX + 2, 0, 2);
    expect([pci.lines, pci.space(CONFIG.STATUS, 2)]).toEqual([1, 0x18]);
  });
});

describe("MSI-X", () => {
  it("sends nothing for what has no vector, and has nothing pending after a reset of the device", () => {
    const function_ = new TestFunction().withMessages();
    function_.setCommon(COMMON.CONFIG_MSIX_VECTOR, NO_VECTOR, 2);
    function_.setEntry(0, ENTRY.CONTROL, 0);
    function_.raise(2);
    function_.raise(0);
    expect([function_.signalled, function_.bench.read(BAR.PBA, 4)]).toEqual([[], 0b10]);
    function_.setCommon(COMMON.DEVICE_STATUS, 0, 1);
    expect(function_.bench.read(BAR.PBA, 4)).toBe(0);
    function_.setEntry(1, ENTRY.CONTROL, 0);
    expect(function_.bench.port.msis).toEqual([]);
  });

  it("keeps what comes while a vector is masked, and sends it once when it no longer is", () => {
    const function_ = new TestFunction().withMessages();
    function_.raise(0);
    function_.raise(0);
    expect(function_.bench.read(BAR.PBA, 4)).toBe(0b10);
    function_.setEntry(1, ENTRY.CONTROL, 0);
    expect(function_.bench.port.msis).toEqual([{ address: 0xfee0_0000, data: 0x41 }]);
    expect(function_.bench.read(BAR.PBA, 4)).toBe(0);
    function_.raise(0);
    expect(function_.signalled).toEqual([1]);
  });

  it("has a mask for all vectors, too", () => {
    const function_ = new TestFunction().withMessages();
    function_.setEntry(0, ENTRY.CONTROL, 0);
    function_.setConfig(CONFIG.MSIX + 2, ENABLE | FUNCTION_MASK, 2);
    function_.raise(2);
    expect([function_.signalled, function_.bench.port.msis]).toEqual([[], []]);
    function_.setConfig(CONFIG.MSIX + 2, ENABLE, 2);
    expect(function_.bench.port.msis).toEqual([{ address: 0xfee0_0000, data: 0x40 }]);
  });

  it("tells the kernel of a message before its vector is unmasked, and of every change afterwards", () => {
    const function_ = new TestFunction().withMessages();
    const before = function_.routes;
    function_.bench.port.pci = {
      ...function_.bench.port.pci!,
      routeVectors: () => {
        function_.routes++;
        if (function_.routes === before + 1) expect(function_.bench.state.msixTable[ENTRY.CONTROL]).toBe(1);
      },
    };
    function_.setEntry(0, ENTRY.CONTROL, 0);
    function_.setEntry(0, ENTRY.DATA, 0x77);
    expect(function_.routes).toBe(before + 2);
  });

  it("loses no interrupt, and invents none, whatever is masked when", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("raise" as const), vector: fc.nat({ max: 2 }) }),
      fc.record({ kind: fc.constant("mask" as const), vector: fc.nat({ max: 2 }), masked: fc.boolean() }),
      fc.record({ kind: fc.constant("maskAll" as const), masked: fc.boolean() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const function_ = new TestFunction().withMessages();
        const raised = [0, 0, 0];
        for (const each of steps) {
          if (each.kind === "maskAll") {
            function_.setConfig(CONFIG.MSIX + 2, each.masked ? ENABLE | FUNCTION_MASK : ENABLE, 2);
          } else if (each.kind === "mask") function_.setEntry(each.vector, ENTRY.CONTROL, each.masked ? 1 : 0);
          else {
            raised[each.vector]!++;
            function_.raise([2, 0, 1][each.vector]!);
          }
        }
        function_.setConfig(CONFIG.MSIX + 2, ENABLE, 2);
        for (const vector of raised.keys()) {
          function_.setEntry(vector, ENTRY.CONTROL, 0);
          const sent = function_.bench.port.msis.filter(({ data }) => data === 0x40 + vector).length;
          const heard = sent + function_.signalled.filter((each) => each === vector).length;
          expect(heard).toBeLessThanOrEqual(raised[vector]!);
          expect(heard > 0).toBe(raised[vector]! > 0);
        }
        expect(function_.bench.read(BAR.PBA, 4)).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});

it("takes whatever a guest does", () => {
  // The epoch counts resets; the other words of `shared` begin anew.
  exercise(definition, BAR_BYTES, { survivesReset: ["shared"], runs: 100 });
  exercise(definition, CONFIG_SPACE + 0x1000, { survivesReset: ["shared"], runs: 200 });
});
