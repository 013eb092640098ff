/**
 * What the machine does with each kind of exit: one handler a reason, over a recorded or live `kvm_run` page. No
 * handler needs KVM, so an exit can be replayed in a test.
 */

import { EXERCISER_MSR } from "@tools-kvm/firmware";
import {
  KVM_EXIT_HLT,
  KVM_EXIT_INTR,
  KVM_EXIT_IO,
  KVM_EXIT_IO_OUT,
  KVM_EXIT_IOAPIC_EOI,
  KVM_EXIT_IRQ_WINDOW_OPEN,
  KVM_EXIT_MMIO,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_EXIT_X86_RDMSR,
  KVM_EXIT_X86_WRMSR,
  KVM_SYSTEM_EVENT_RESET,
  KVM_SYSTEM_EVENT_SHUTDOWN,
  RUN_EOI_VECTOR,
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
  RUN_MSR_DATA,
  RUN_MSR_ERROR,
  RUN_MSR_INDEX,
  RUN_SYSTEM_EVENT_TYPE,
} from "@tools-kvm/kvm-binding";
import { allOnes, readWindow, type Window, writeWindow } from "../bus/bus.js";
import { endOfInterrupt } from "../devices/ioapic/ioapic.js";
import type { Assembly, MachineRequest } from "./assembly.js";
import type { RunPage } from "./run-page.js";

/** What the vCPU's loop does next. */
export const NEXT = {
  /** Enter the guest again. */
  RUN: 0,
  /** The guest cannot go on: report where it stands and end. */
  CRASH: 1,
  /** The guest halted for good (no in-kernel APIC to wake it). */
  HALT: 2,
} as const;

type Handler = () => number;

export interface ExitContext {
  readonly page: RunPage;
  readonly assembly: Assembly;
  /** One element: the ledger's word for "what this exit was". */
  readonly currentSlot: Uint32Array | Int32Array;
  request(request: MachineRequest): void;
}

/** Handlers indexed by exit reason; a reason without one is a crash. */
export function exitHandlers(context: ExitContext): (Handler | undefined)[] {
  const handlers: (Handler | undefined)[] = [];
  handlers[KVM_EXIT_IO] = ioHandler(context);
  handlers[KVM_EXIT_MMIO] = mmioHandler(context);
  handlers[KVM_EXIT_X86_RDMSR] = msrHandler(context);
  handlers[KVM_EXIT_X86_WRMSR] = msrHandler(context);
  handlers[KVM_EXIT_IOAPIC_EOI] = ioapicEoiHandler(context);
  handlers[KVM_EXIT_SYSTEM_EVENT] = systemEventHandler(context);
  handlers[KVM_EXIT_HLT] = () => NEXT.HALT;
  handlers[KVM_EXIT_INTR] = () => NEXT.RUN;
  handlers[KVM_EXIT_IRQ_WINDOW_OPEN] = () => NEXT.RUN;
  return handlers;
}

function ioHandler({ page, assembly, currentSlot }: ExitContext): Handler {
  // Ports are few and hot: one byte a port finds its window without a search.
  const windows: (Window | undefined)[] = [undefined, ...assembly.pio.windows];
  const windowOfPort = new Uint8Array(0x1_0000);
  assembly.pio.windows.forEach((window, index) => {
    windowOfPort.fill(index + 1, window.base, window.base + window.sizeBytes);
  });
  const { u8, u16, u32 } = page;
  const { control } = assembly;

  return () => {
    const port = u16[RUN_IO_PORT >> 1]!;
    const sizeBytes = u8[RUN_IO_SIZE]!;
    const isWrite = u8[RUN_IO_DIRECTION] === KVM_EXIT_IO_OUT;
    const window = windows[windowOfPort[port]!];
    let data = u32[RUN_IO_DATA_OFFSET >> 2]!;
    // A string instruction (ins, outs) comes as `count` accesses to the same port.
    const end = data + sizeBytes * u32[RUN_IO_COUNT >> 2]!;
    if (window === undefined) {
      control.lastUnclaimedPort = port;
      if (isWrite) control.unclaimedPioWrites++;
      else {
        control.unclaimedPioReads++;
        for (; data < end; data += sizeBytes) page.store(data, sizeBytes, allOnes(sizeBytes));
      }
      return NEXT.RUN;
    }
    currentSlot[0] = isWrite ? window.writeSlot : window.readSlot;
    for (; data < end; data += sizeBytes) {
      if (isWrite) writeWindow(window, port, sizeBytes, page.load(data, sizeBytes));
      else page.store(data, sizeBytes, readWindow(window, port, sizeBytes));
    }
    return NEXT.RUN;
  };
}

function mmioHandler({ page, assembly, currentSlot }: ExitContext): Handler {
  const { u8, u32 } = page;
  const { mmio, control } = assembly;

  return () => {
    const address = page.u64(RUN_MMIO_PHYS_ADDR);
    const length = Math.min(u32[RUN_MMIO_LEN >> 2]!, 8);
    const isWrite = u8[RUN_MMIO_IS_WRITE] !== 0;
    const window = mmio.find(address);
    if (window === undefined) {
      control.lastUnclaimedGpa = address;
      if (isWrite) control.unclaimedMmioWrites++;
      else {
        control.unclaimedMmioReads++;
        u8.fill(0xff, RUN_MMIO_DATA, RUN_MMIO_DATA + length);
      }
      return NEXT.RUN;
    }
    currentSlot[0] = isWrite ? window.writeSlot : window.readSlot;
    for (let done = 0; done < length; ) {
      const sizeBytes = length - done >= 4 ? 4 : length - done >= 2 ? 2 : 1;
      const data = RUN_MMIO_DATA + done;
      if (isWrite) writeWindow(window, address + done, sizeBytes, page.load(data, sizeBytes));
      else page.store(data, sizeBytes, readWindow(window, address + done, sizeBytes));
      done += sizeBytes;
    }
    return NEXT.RUN;
  };
}

/** The exerciser's MSR reads as its number and takes every write; any other one raises #GP in the guest. */
function msrHandler({ page }: ExitContext): Handler {
  return () => {
    const known = page.u32[RUN_MSR_INDEX >> 2] === EXERCISER_MSR;
    page.u8[RUN_MSR_ERROR] = known ? 0 : 1;
    if (known && page.u32[RUN_EXIT_REASON >> 2] === KVM_EXIT_X86_RDMSR) {
      page.u32[RUN_MSR_DATA >> 2] = EXERCISER_MSR;
      page.u32[(RUN_MSR_DATA >> 2) + 1] = 0;
    }
    return NEXT.RUN;
  };
}

/** Split irqchip: the guest has ended a level-triggered interrupt that our IOAPIC had sent. */
function ioapicEoiHandler({ page, assembly }: ExitContext): Handler {
  return () => {
    const ioapic = assembly.device("ioapic");
    ioapic.lock();
    try {
      endOfInterrupt(ioapic.state as Parameters<typeof endOfInterrupt>[0], page.u8[RUN_EOI_VECTOR]!, ioapic.port);
    } finally {
      ioapic.unlock();
    }
    return NEXT.RUN;
  };
}

function systemEventHandler({ page, request }: ExitContext): Handler {
  return () => {
    const device = "kvm";
    switch (page.u32[RUN_SYSTEM_EVENT_TYPE >> 2]) {
      case KVM_SYSTEM_EVENT_SHUTDOWN:
        request({ kind: "poweroff", status: 0, device });
        return NEXT.RUN;
      case KVM_SYSTEM_EVENT_RESET:
        request({ kind: "reset", status: 0, device });
        return NEXT.RUN;
      default:
        return NEXT.CRASH;
    }
  };
}
