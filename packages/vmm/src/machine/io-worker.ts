/**
 * The thread of one virtio device's data plane: sleeps until the driver notifies a queue, and serves it. The disk or
 * whatever is behind the device is this thread's own; it is closed before the thread says that it has ended.
 */
import { parentPort } from "node:worker_threads";
import { EventFd, monotonicNs } from "@tools-kvm/kvm-binding";
import type { BalloonStats } from "../virtio/devices/balloon/balloon-stats.js";
import { hasReason, usesLine } from "../virtio/pci/msix.js";
import { DeviceServer } from "../virtio/server.js";
import type { TransportState } from "../virtio/transport.js";
import type { PciState } from "../virtio/transport-pci.js";
import { Assembly } from "./assembly.js";
import { GuestRam, type SharedGuestRam } from "./guest-ram.js";
import { IoLoop } from "./io-loop.js";
import type { MachineSpec } from "./spec.js";
import { placeVirtio } from "./virtio.js";
import { openBackend } from "./virtio-backend.js";
import { interruptBy } from "./virtio-interrupt.js";

/** From the main thread, once. */
export interface ServeMessage {
  readonly spec: MachineSpec;
  readonly state: SharedArrayBuffer;
  readonly ram: SharedGuestRam;
  /** Which of the machine's virtio devices. */
  readonly index: number;
  /** Tokens of eventfds: one a queue, one an interrupt, and the one that ends this thread. */
  readonly kicks: readonly number[];
  readonly interrupts: readonly number[];
  readonly line: { readonly raise: number; readonly lowered: number } | undefined;
  readonly stop: number;
  /** Of devices that can be asked. */
  readonly ask: number | undefined;
  /** Tokens of sockets: see BackendSurroundings. */
  readonly streams: readonly (number | undefined)[];
}

/** To the main thread. */
export type IoMessage =
  | { readonly type: "log"; readonly message: string }
  | { readonly type: "stats"; readonly stats: BalloonStats }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "ended" };

const port = parentPort!;
const post = (message: IoMessage): void => port.postMessage(message);

function serve(message: ServeMessage): void {
  const { spec, state, index } = message;
  const { spec: about, device } = placeVirtio(spec)[index]!;
  const log = (text: string): void => post({ type: "log", message: `${device.name}: ${text}` });
  using stop = EventFd.attach(message.stop);
  const interrupts = message.interrupts.map((token) => EventFd.attach(token));
  const kicks = message.kicks.map((token) => EventFd.attach(token));
  const line = message.line && {
    raise: EventFd.attach(message.line.raise),
    lowered: EventFd.attach(message.line.lowered),
  };
  const ask = message.ask === undefined ? undefined : EventFd.attach(message.ask);
  const ram = GuestRam.attach(message.ram);
  const registers = registersOf(spec, state, device.name);
  const backend = openBackend(about, {
    log,
    ram,
    ask,
    onStats: (stats) => post({ type: "stats", stats }),
    streams: message.streams,
  });
  const server = new DeviceServer({
    state: registers,
    backend,
    memory: ram,
    interrupt: interruptBy(registers, interrupts, line?.raise),
    nowNs: monotonicNs,
    onFault: (fault) => log(`the guest's driver broke the rules: ${fault}; the device waits for its reset`),
  });
  try {
    new IoLoop({ server, backend, kicks, line: line && lineOf(registers, line), stop, nowNs: monotonicNs }).run();
  } finally {
    backend.close();
    ram.close();
    for (const eventfd of [...kicks, ...interrupts]) eventfd.close();
    line?.raise.close();
    line?.lowered.close();
    ask?.close();
  }
}

/** The guest has seen to the line, and yet not to every reason for it: there is one that came meanwhile. */
function lineOf(registers: TransportState, { raise, lowered }: { readonly raise: EventFd; readonly lowered: EventFd }) {
  return {
    lowered,
    again(): void {
      if (hasReason(registers) && usesLine(registers as PciState)) raise.signal();
    },
  };
}

/** The device's registers; nothing else of the machine is of this thread's concern. */
function registersOf(spec: MachineSpec, state: SharedArrayBuffer, name: string): TransportState {
  const nothing = (): void => {};
  const assembly = new Assembly(spec, state, {
    irqLine: nothing,
    sendMsi: nothing,
    routeMsis: nothing,
    wakeReader: nothing,
    request: nothing,
    memory: () => undefined,
    fwCfgItem: () => undefined,
    flash: () => undefined,
    nowNs: monotonicNs,
    wallClockMs: Date.now,
  });
  return assembly.device(name).state as unknown as TransportState;
}

port.once("message", (message: ServeMessage) => {
  try {
    serve(message);
    post({ type: "ended" });
  } catch (error) {
    post({ type: "failed", message: error instanceof Error ? error.message : String(error) });
  }
});
