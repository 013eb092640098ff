import { EXERCISER_BASE, EXERCISER_MSR } from "@tools-kvm/firmware";
import {
  KVM_EXIT_HLT,
  KVM_EXIT_IO,
  KVM_EXIT_IO_IN,
  KVM_EXIT_IO_OUT,
  KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_X86_RDMSR,
  RUN_EXIT_REASON,
  RUN_IO_COUNT,
  RUN_IO_DATA_OFFSET,
  RUN_IO_DIRECTION,
  RUN_IO_PORT,
  RUN_IO_SIZE,
  RUN_MMIO_DATA,
  RUN_MMIO_IS_WRITE,
  RUN_MMIO_LEN,
  RUN_MMIO_PHYS_ADDR,
  RUN_MSR_ERROR,
  RUN_MSR_INDEX,
} from "@tools-kvm/kvm-binding";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Assembly, createState, FIRST_DEVICE_SLOT, type MachineRequest } from "./assembly.js";
import { exitHandlers, NEXT } from "./exits.js";
import { RunPage } from "./run-page.js";
import type { MachineSpec } from "./spec.js";

const DATA_OFFSET = 4096;
const spec: MachineSpec = {
  name: "test",
  cpus: 1,
  memoryBytes: 2 ** 21,
  irqchip: "kernel",
  testDevices: true,
};

/** A machine without KVM: exits are replayed from hand-made kvm_run pages. */
function bench() {
  const requests: MachineRequest[] = [];
  const request = (what: MachineRequest) => void requests.push(what);
  const assembly = new Assembly(spec, createState(spec), {
    irqLine: () => {},
    sendMsi: () => {},
    routeMsis: () => {},
    wakeReader: () => {},
    request,
    memory: () => undefined,
    fwCfgItem: () => undefined,
    flash: () => undefined,
    nowNs: () => 0,
    wallClockMs: () => 0,
  });
  assembly.reset();
  const page = new RunPage(new ArrayBuffer(3 * 4096));
  const currentSlot = new Uint32Array(1);
  const handlers = exitHandlers({ page, assembly, currentSlot, request });
  const view = new DataView(page.u8.buffer);

  const io = (direction: number, port: number, sizeBytes: number, count: number, data: number[] = []) => {
    view.setUint8(RUN_IO_DIRECTION, direction);
    view.setUint8(RUN_IO_SIZE, sizeBytes);
    view.setUint16(RUN_IO_PORT, port, true);
    view.setUint32(RUN_IO_COUNT, count, true);
    view.setBigUint64(RUN_IO_DATA_OFFSET, BigInt(DATA_OFFSET), true);
    page.u8.set(data, DATA_OFFSET);
    return handlers[KVM_EXIT_IO]!();
  };
  const mmio = (isWrite: boolean, address: number, length: number, data: number[] = []) => {
    view.setBigUint64(RUN_MMIO_PHYS_ADDR, BigInt(address), true);
    view.setUint32(RUN_MMIO_LEN, length, true);
    view.setUint8(RUN_MMIO_IS_WRITE, isWrite ? 1 : 0);
    page.u8.set(data, RUN_MMIO_DATA);
    return handlers[KVM_EXIT_MMIO]!();
  };
  const data = (length: number) => [...page.u8.subarray(DATA_OFFSET, DATA_OFFSET + length)];
  const mmioData = (length: number) => [...page.u8.subarray(RUN_MMIO_DATA, RUN_MMIO_DATA + length)];
  return { assembly, handlers, requests, page, view, currentSlot, io, mmio, data, mmioData };
}

describe("port I/O", () => {
  it("sends what the guest writes to the serial port's output", () => {
    const { io, assembly } = bench();
    expect(io(KVM_EXIT_IO_OUT, 0x3f8, 1, 1, [0x41])).toBe(NEXT.RUN);
    expect([...assembly.outputs.get("serial")!.take()!]).toEqual([0x41]);
  });

  it("handles a string instruction as so many accesses to one port", () => {
    const { io, assembly } = bench();
    io(KVM_EXIT_IO_OUT, 0x3f8, 1, 5, [...Buffer.from("hello")]);
    expect(Buffer.from(assembly.outputs.get("serial")!.take()!).toString()).toBe("hello");
  });

  it("reads all ones where no device is, and counts it", () => {
    const { io, data, assembly } = bench();
    io(KVM_EXIT_IO_IN, 0x5555, 4, 1);
    expect(data(4)).toEqual([0xff, 0xff, 0xff, 0xff]);
    expect(assembly.control.unclaimedPioReads).toBe(1);
    expect(assembly.control.lastUnclaimedPort).toBe(0x5555);
  });

  it("names the device and the direction for the ledger", () => {
    const { io, currentSlot } = bench();
    io(KVM_EXIT_IO_OUT, 0x3f8, 1, 1);
    expect(currentSlot[0]).toBe(FIRST_DEVICE_SLOT + 1);
    io(KVM_EXIT_IO_IN, 0x3fd, 1, 1);
    expect(currentSlot[0]).toBe(FIRST_DEVICE_SLOT);
  });

  it("passes a guest's debug exit on as (value << 1) | 1", () => {
    const { io, requests } = bench();
    io(KVM_EXIT_IO_OUT, 0xf4, 4, 1, [3, 0, 0, 0]);
    expect(requests).toMatchObject([{ kind: "exit", status: 7 }]);
  });
});

describe("MMIO", () => {
  it("reads and writes the exerciser's registers", () => {
    const { mmio, mmioData } = bench();
    mmio(false, EXERCISER_BASE, 4);
    expect(Buffer.from(mmioData(4)).toString()).toBe("EXER");
    mmio(true, EXERCISER_BASE + 4, 4, [1, 2, 3, 4]);
    mmio(false, EXERCISER_BASE + 4, 4);
    expect(mmioData(4)).toEqual([1, 2, 3, 4]);
  });

  it("splits an access of eight bytes into two of four", () => {
    const { mmio, mmioData } = bench();
    mmio(true, 0xff00_0010, 8, [1, 2, 3, 4, 5, 6, 7, 8]);
    mmio(false, 0xff00_0010, 8);
    expect(mmioData(8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });
});

describe("other exits", () => {
  it("answers the exerciser's MSR and refuses every other", () => {
    const { handlers, page, view } = bench();
    view.setUint32(RUN_EXIT_REASON, KVM_EXIT_X86_RDMSR, true);
    view.setUint32(RUN_MSR_INDEX, EXERCISER_MSR, true);
    handlers[KVM_EXIT_X86_RDMSR]!();
    expect(page.u8[RUN_MSR_ERROR]).toBe(0);
    view.setUint32(RUN_MSR_INDEX, 0x10, true);
    handlers[KVM_EXIT_X86_RDMSR]!();
    expect(page.u8[RUN_MSR_ERROR]).toBe(1);
  });

  it("has no handler for a triple fault, which ends the guest, and halts on HLT", () => {
    const { handlers } = bench();
    expect(handlers[KVM_EXIT_SHUTDOWN]).toBeUndefined();
    expect(handlers[KVM_EXIT_HLT]!()).toBe(NEXT.HALT);
  });

  it("never throws, whatever port or address a guest touches in whatever way", () => {
    const machine = bench();
    const size = fc.constantFrom(1, 2, 4);
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.tuple(fc.constant("io"), fc.nat(1), fc.nat(0xffff), size, fc.integer({ min: 1, max: 64 })),
            fc.tuple(fc.constant("mmio"), fc.nat(1), fc.nat(0xffff_ffff), fc.integer({ min: 1, max: 8 }), fc.nat()),
          ),
        ),
        (accesses) => {
          for (const [kind, direction, address, length, count] of accesses) {
            if (kind === "io") machine.io(direction, address, length, count);
            else machine.mmio(direction === 1, address, length);
          }
        },
      ),
    );
  });
});
