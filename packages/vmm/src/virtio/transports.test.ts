/** What holds over either transport: the same driver goes through every device's registers over MMIO and over PCI. */
import { describe, expect, it } from "vitest";
import type { VirtioDevice } from "./device.js";
import { balloonDevice } from "./devices/balloon/balloon.js";
import { blockDevice } from "./devices/block/block.js";
import { entropyDevice } from "./devices/entropy/entropy.js";
import { netDevice } from "./devices/net/net.js";
import { shareDevice } from "./devices/share/share.js";
import { vsockDevice } from "./devices/vsock/vsock.js";
import { FEATURE, INTERRUPT, STATUS } from "./ids.js";
import { RING_FEATURES, TestDevice, TestDriverQueue, TestMemory, TestPackedDriver } from "./testing.js";
import { TRANSPORTS } from "./testing-registers.js";

const disk = blockDevice({ name: "virtio-blk0", sizeBytes: 2 ** 20, readonly: false, queues: 2 });
const balloon = balloonDevice({ name: "virtio-balloon0", sizeBytes: 2 ** 20 });
const DEVICES: Record<string, VirtioDevice> = {
  disk,
  balloon,
  network: netDevice({ name: "virtio-net0", mac: [2, 0, 0, 0, 0, 1], mtu: 1500, offloads: true }),
  entropy: entropyDevice("virtio-rng0"),
  share: shareDevice({ name: "virtio-9p0", tag: "home" }),
  socket: vsockDevice({ name: "virtio-vsock0", cid: 3 }),
};
const READY = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK | STATUS.DRIVER_OK;
const buffer = { gpa: 0x8000, length: 8, writable: true };

describe.each(TRANSPORTS)("a driver over %s", (transport) => {
  function setUp(device: VirtioDevice = disk) {
    const memory = new TestMemory(0x2_0000);
    const handled: number[] = [];
    const backend = {
      handle(queue: number): number {
        handled.push(queue);
        return buffer.length;
      },
      close() {},
    };
    const test = new TestDevice(device, backend, memory, transport);
    return { test, registers: test.registers, queue: new TestDriverQueue(memory, 16, 0x1000), handled, memory };
  }

  it.each(Object.keys(DEVICES))("has every queue of a %s served, in split and in packed rings", (kind) => {
    const plain = DEVICES[kind]!;
    const packed = { ...plain, features: [...plain.features, FEATURE.RING_PACKED] };
    for (const device of [plain, packed]) {
      const { test, registers, handled, memory } = setUp(device);
      device.queueSizes.forEach((_, index) => {
        const queue =
          device === plain ? new TestDriverQueue(memory, 16, 0x1000) : new TestPackedDriver(memory, 16, 0x1000);
        memory.bytes.fill(0, 0x1000, 0x8000);
        test.start(queue, { index, without: [FEATURE.RING_EVENT_IDX] });
        expect(registers.status).toBe(READY);
        const head = queue.offer([buffer]);
        test.interrupts = 0;
        test.server.serve(index);
        expect(queue.collect()).toEqual([{ head, written: buffer.length }]);
        expect([test.interrupts, registers.acknowledge(), registers.acknowledge()]).toEqual([
          1,
          INTERRUPT.USED_BUFFER,
          0,
        ]);
      });
      expect(handled).toEqual(device.queueSizes.map((_, index) => index));
    }
  });

  it("reads the configuration space in any width, and writes what is a driver's of it", () => {
    const { registers } = setUp();
    expect(registers.config(0, 4)).toBe(2 ** 20 / 512);
    expect([registers.config(34, 2), registers.config(34, 1), registers.config(0x200, 4)]).toEqual([2, 2, 0]);
    registers.setConfig(0, 7, 4);
    expect(registers.config(0, 4)).toBe(2 ** 20 / 512);
    const own = setUp(balloon).registers;
    own.setConfig(0, 7, 4);
    own.setConfig(4, 0x1234_5678, 4);
    own.setConfig(5, 0xaa, 1);
    own.setConfig(6, 0xbbcc, 2);
    own.setConfig(8, 9, 4);
    own.setConfig(0xffc, 9, 4);
    expect([0, 4, 8].map((at) => own.config(at, 4))).toEqual([256, 0xbbcc_aa78, 0]);
  });

  it("sees another generation of a configuration that has changed, and is interrupted because of it", () => {
    const memory = new TestMemory(0x2_0000);
    const input = {
      queueIndex: 0,
      fd: -1,
      deliver: () => "ended" as const,
      configAfterEnd: (config: Uint8Array) => void config.fill(0x5a, 0, 4),
    };
    const test = new TestDevice(disk, { handle: () => 0, input, close() {} }, memory, transport);
    const { registers } = test;
    const before = registers.configGeneration;
    test.server.endInput();
    expect(registers.configGeneration).not.toBe(before);
    expect(registers.config(0, 4)).toBe(0x5a5a_5a5a);
    expect(registers.acknowledge()).toBe(INTERRUPT.CONFIGURATION_CHANGE);
    const generation = registers.configGeneration;
    expect([registers.config(0, 4), registers.configGeneration]).toEqual([0x5a5a_5a5a, generation]);
  });

  it("gets FEATURES_OK for features that the device offers, with VERSION_1, and changes none afterwards", () => {
    const { registers } = setUp();
    const negotiate = (low: number, high: number) => {
      registers.status = 0;
      registers.accept(0, low);
      registers.accept(1, high);
      registers.accept(2, 0xffff_ffff);
      registers.status = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK;
      return (registers.status & STATUS.FEATURES_OK) !== 0;
    };
    const [low, high] = [registers.offered(0), registers.offered(1)];
    expect([high, registers.offered(2)]).toEqual([1, 0]);
    expect([negotiate(low, high), negotiate(0, high), negotiate(low, 0)]).toEqual([true, true, false]);
    expect(negotiate((low | (1 << 31)) >>> 0, high)).toBe(false);
    expect(negotiate(low, high)).toBe(true);
    registers.accept(0, 0);
    expect(registers.state.driverFeatures[0]).toBe(low);
  });

  it("cannot move a queue that is ready", () => {
    const { test, registers, queue } = setUp();
    test.start(queue);
    registers.selectQueue(0);
    registers.placeQueue({ size: 8, descriptors: 0, available: 0, used: 0 });
    expect([...test.state.queues.slice(0, 3)]).toEqual([16, 1, queue.descriptors]);
  });

  it("has no queue behind the last", () => {
    const { test, registers, queue } = setUp();
    for (const index of [2, 0xffff]) {
      registers.selectQueue(index);
      registers.placeQueue(queue);
      registers.setQueueReady(1);
      expect([registers.queueSize, registers.queueReady]).toEqual([0, 0]);
    }
    expect([...test.state.queues].filter((word) => word !== 0)).toEqual([256, 256]);
  });

  it("takes a ready queue away as its transport has it: by QueueReady over MMIO, by a reset alone over PCI", () => {
    const { test, registers, queue, handled } = setUp();
    test.start(queue);
    queue.offer([buffer]);
    registers.selectQueue(0);
    registers.setQueueReady(0);
    expect(registers.queueReady).toBe(transport === "pci" ? 1 : 0);
    test.server.serve(0);
    expect(handled).toEqual(transport === "pci" ? [0] : []);
    registers.status = 0;
    registers.selectQueue(0);
    expect([registers.status, registers.queueReady, registers.queueSize]).toEqual([0, 0, 256]);
    queue.offer([buffer]);
    test.server.serve(0);
    expect(handled).toHaveLength(transport === "pci" ? 1 : 0);
  });

  it("is served once it is ready, and not before", () => {
    const { test, queue, handled } = setUp();
    queue.offer([buffer]);
    test.server.serve(0);
    expect(handled).toEqual([]);
    test.start(queue);
    test.server.serve(0);
    test.server.serve(1); // not set up
    expect(handled).toEqual([0]);
  });

  it("has to reset the device after a fault, of which it is told once", () => {
    const { test, registers, queue, handled, memory } = setUp();
    test.start(queue);
    queue.makeAvailable(16);
    test.server.serve(0);
    expect(registers.status & STATUS.DEVICE_NEEDS_RESET).not.toBe(0);
    expect(registers.acknowledge()).toBe(INTERRUPT.CONFIGURATION_CHANGE);
    expect(test.faults).toEqual(["descriptor 16 of a table of 16"]);
    registers.status = registers.status & ~STATUS.DEVICE_NEEDS_RESET;
    expect(registers.status & STATUS.DEVICE_NEEDS_RESET).not.toBe(0); // not the driver's to clear
    test.server.serve(0);
    expect(test.interrupts).toBe(1);

    const again = new TestDriverQueue(memory, 16, 0x4000);
    test.start(again);
    expect(registers.status).toBe(READY);
    again.offer([buffer]);
    test.server.serve(0);
    expect([handled, test.faults.length]).toEqual([[0], 1]);
  });

  it("that the machine's reset surprises leaves nothing behind for the next one", () => {
    const { test, registers, queue, handled, memory } = setUp();
    test.start(queue, { without: RING_FEATURES });
    queue.offer([buffer]);
    test.server.serve(0);
    queue.offer([buffer]);
    test.interrupts = 0;
    registers.powerCycle();
    const before = memory.bytes.slice();
    test.server.serve(0);
    expect(Buffer.compare(memory.bytes, before)).toBe(0);
    expect([test.interrupts, registers.status, registers.acknowledge()]).toEqual([0, 0, 0]);
    expect([...registers.state.driverFeatures]).toEqual([0, 0]);

    const again = new TestDriverQueue(memory, 8, 0x4000);
    test.start(again);
    again.offer([buffer]);
    test.server.serve(0);
    expect([handled, test.interrupts, again.collect().length]).toEqual([[0, 0], 1, 1]);
  });
});
