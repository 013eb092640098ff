/** The console device (virtio 1.2, section 5.3): a terminal of the guest's, or several named streams to the host. */
import type { VirtioDevice } from "../../device.js";
import { DEVICE_ID } from "../../ids.js";

/** Feature bits (section 5.3.3). */
export const CONSOLE_FEATURE = { SIZE: 0, MULTIPORT: 1, EMERG_WRITE: 2 } as const;

/** Queues (section 5.3.2): those of port 0, those for control messages, and two for each port from 1 on. */
export const CONSOLE_QUEUE = { RX: 0, TX: 1, CONTROL_RX: 2, CONTROL_TX: 3, FIRST_PORT_RX: 4 } as const;
const QUEUE_SIZE = 128;

/** Offsets in the configuration space (section 5.3.4). */
export const CONSOLE_CONFIG = { COLS: 0, ROWS: 2, MAX_NR_PORTS: 4, EMERG_WR: 8, SIZE_BYTES: 12 } as const;

export const MOST_PORTS = 16;

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}
/** What fits into the configuration space. */
export const MOST_COLUMNS_OR_ROWS = 0xffff;

export interface ConsoleTraits {
  readonly name: string;
  /** Names of its ports, 1 to MOST_PORTS of them. Without any the device is one terminal. */
  readonly ports?: readonly string[] | undefined;
}

/**
 * A terminal's size is known when its owner says so (setTerminalSize). Ports have the ids 1, 2, ...: 0 is a console's. A terminal is a
 * device of its own because the size of one among several ports is told by RESIZE, whose two numbers Linux takes the other way round.
 */
export function consoleDevice({ name, ports = [] }: ConsoleTraits): VirtioDevice {
  const config = new Uint8Array(CONSOLE_CONFIG.SIZE_BYTES);
  const isTerminal = ports.length === 0;
  new DataView(config.buffer).setUint32(CONSOLE_CONFIG.MAX_NR_PORTS, isTerminal ? 1 : ports.length + 1, true);
  const queues = isTerminal ? CONSOLE_QUEUE.CONTROL_RX : CONSOLE_QUEUE.FIRST_PORT_RX + 2 * ports.length;
  const device = {
    name,
    deviceId: DEVICE_ID.CONSOLE,
    queueSizes: new Array<number>(queues).fill(QUEUE_SIZE),
    config,
  };
  if (!isTerminal) return { ...device, features: [CONSOLE_FEATURE.MULTIPORT] };
  return {
    ...device,
    features: [CONSOLE_FEATURE.SIZE, CONSOLE_FEATURE.EMERG_WRITE],
    keptConfig: [CONSOLE_CONFIG.COLS, CONSOLE_CONFIG.MAX_NR_PORTS],
    emergencyWrite: CONSOLE_CONFIG.EMERG_WR,
  };
}

/** What drivers read from now on. */
export function setTerminalSize(config: Uint8Array, { columns, rows }: TerminalSize): void {
  const view = new DataView(config.buffer, config.byteOffset, config.length);
  view.setUint16(CONSOLE_CONFIG.COLS, columns, true);
  view.setUint16(CONSOLE_CONFIG.ROWS, rows, true);
}

/** The queues of the port with that id; port 0 has the first two. */
export function portQueues(id: number): { readonly rx: number; readonly tx: number } {
  const rx = id === 0 ? CONSOLE_QUEUE.RX : CONSOLE_QUEUE.FIRST_PORT_RX + 2 * (id - 1);
  return { rx, tx: rx + 1 };
}
