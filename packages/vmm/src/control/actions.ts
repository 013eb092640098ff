/**
 * Everything that can be asked of a running machine, as one union, whoever asks: the monitor line, a socket, a user
 * interface later. What a phase does not allow is refused here, before anything happens.
 */

import type { BalloonReport } from "../machine/balloon.js";
import type { Phase } from "../machine/machine.js";
import type { RegisterDump } from "../machine/registers.js";
import { PAGE_BYTES } from "../machine/spec.js";
import type { BalloonSize } from "../virtio/devices/balloon/balloon.js";
import { MOST_COLUMNS_OR_ROWS, type TerminalSize } from "../virtio/devices/console/console.js";

export type ActionName = keyof ActionResult;

/** What actions carry beside their name. */
export interface ActionMore {
  /** What the guest is to give back, in whole pages; absent, it is only asked. */
  balloon: { readonly sizeBytes?: number };
  /** Of whoever looks at the console. */
  resize: TerminalSize;
}
export type MoreOf<N extends ActionName> = N extends keyof ActionMore ? ActionMore[N] : Record<never, never>;

/** One case an action. */
export type VmAction<N extends ActionName = ActionName> = N extends ActionName
  ? { readonly action: N } & MoreOf<N>
  : never;

const ALIVE: readonly Phase[] = ["starting", "running", "paused", "resetting"];
const BOOTED: readonly Phase[] = ["running", "paused"];

/** The phases in which an action makes sense. */
const ALLOWED: Record<ActionName, readonly Phase[]> = {
  status: [...ALIVE, "ended"],
  pause: ["running"],
  resume: ["paused"],
  reset: BOOTED,
  stop: ALIVE,
  powerbutton: ["running"],
  registers: BOOTED,
  exits: [...ALIVE, "ended"],
  devices: [...ALIVE, "ended"],
  balloon: BOOTED,
  resize: ALIVE,
  attach: ALIVE,
};

export const ACTION_NAMES = Object.keys(ALLOWED) as ActionName[];

/** As much of a request is repeated in an answer that refuses it. */
const SHOWN_CHARACTERS = 40;

/** An action that was refused: not known, or not in this phase. */
export class ActionError extends Error {
  override readonly name = "ActionError";
}

/** Checks something that came from outside. Throws ActionError with one line when it is no action. */
export function parseAction(value: unknown): VmAction {
  const action = typeof value === "object" && value !== null ? (value as { action?: unknown }).action : undefined;
  const name = ACTION_NAMES.find((known) => known === action);
  if (name === undefined) {
    const given = typeof action === "string" ? JSON.stringify(action.slice(0, SHOWN_CHARACTERS)) : typeof action;
    throw new ActionError(`no such action: ${given}; there are ${ACTION_NAMES.join(", ")}`);
  }
  if (name === "balloon") return { action: name, ...balloonMore(value as Record<string, unknown>) };
  if (name === "resize") return { action: name, ...terminalSize(value as Record<string, unknown>) };
  return { action: name } as VmAction;
}

function terminalSize({ columns, rows }: Record<string, unknown>): TerminalSize {
  const fits = (value: unknown): value is number =>
    Number.isInteger(value) && 0 <= (value as number) && (value as number) <= MOST_COLUMNS_OR_ROWS;
  if (fits(columns) && fits(rows)) return { columns, rows };
  throw new ActionError(`a terminal's columns and rows are whole numbers up to ${MOST_COLUMNS_OR_ROWS}`);
}

function balloonMore({ sizeBytes }: Record<string, unknown>): ActionMore["balloon"] {
  if (sizeBytes === undefined) return {};
  if (Number.isSafeInteger(sizeBytes) && (sizeBytes as number) >= 0 && (sizeBytes as number) % PAGE_BYTES === 0)
    return { sizeBytes: sizeBytes as number };
  throw new ActionError(`a balloon's sizeBytes is a whole number of pages of ${PAGE_BYTES} bytes`);
}

/** Throws ActionError unless `phase` allows the action. */
export function checkAllowed({ action }: VmAction, phase: Phase): void {
  if (!ALLOWED[action].includes(phase)) {
    throw new ActionError(`cannot ${action} a machine that is ${phase}; it has to be ${ALLOWED[action].join(" or ")}`);
  }
}

export interface MachineStatus {
  readonly name: string;
  readonly pid: number;
  readonly phase: Phase;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly uptimeMs: number;
  /** Of a machine with a balloon. */
  readonly balloon?: BalloonSize | undefined;
  /** Who is attached to the console. */
  readonly viewers: number;
}

/** One line of the exit table: a kind of exit, over all vCPUs. */
export interface ExitRow {
  readonly reason: string;
  /** The device that answered; absent for exits that no device answers. */
  readonly device?: string;
  readonly direction?: "read" | "write";
  /** First port or address of the device's window. */
  readonly address?: number;
  readonly count: number;
  /** Mean time from entering KVM_RUN to this exit: guest and kernel together. */
  readonly kernelAvgNs: number;
  readonly kernelP99Ns: number;
  /** Mean time until the guest was entered again. */
  readonly handlerAvgNs: number;
  readonly handlerP99Ns: number;
}

export interface DeviceDump {
  readonly name: string;
  readonly irq?: number;
  readonly irqLevel: number;
  readonly windows: readonly { bus: "pio" | "mmio"; base: number; sizeBytes: number }[];
  readonly state: Record<string, unknown>;
}

/** What each action answers. */
export interface ActionResult {
  status: MachineStatus;
  pause: MachineStatus;
  resume: MachineStatus;
  reset: MachineStatus;
  stop: MachineStatus;
  /** Whether the guest takes notice of its power button. */
  powerbutton: { readonly heard: boolean };
  registers: readonly RegisterDump[];
  exits: readonly ExitRow[];
  devices: readonly DeviceDump[];
  balloon: BalloonReport;
  resize: MachineStatus;
  attach: MachineStatus;
}
