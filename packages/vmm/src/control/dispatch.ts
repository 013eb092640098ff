/** Carries out actions on a machine. */
import type { Machine } from "../machine/machine.js";
import { registerDump } from "../machine/registers.js";
import {
  ActionError,
  type ActionName,
  type ActionResult,
  checkAllowed,
  type DeviceDump,
  type VmAction,
} from "./actions.js";
import { exitRows } from "./exit-rows.js";

/** A machine and what its owner knows beside it. */
export interface ControlledMachine {
  readonly machine: Machine;
  /** What it was booted from, for `vmm ps`. */
  readonly kernel: string;
  viewers(): number;
}

/** Carries `action` out and answers. Throws ActionError when the machine's phase does not allow it. */
export async function dispatch<N extends ActionName>(
  controlled: ControlledMachine,
  action: VmAction<N>,
): Promise<ActionResult[N]> {
  checkAllowed(action, controlled.machine.phase);
  return (await carryOut(controlled, action)) as ActionResult[N];
}

async function carryOut(controlled: ControlledMachine, request: VmAction): Promise<ActionResult[ActionName]> {
  const { machine } = controlled;
  switch (request.action) {
    case "status":
    case "attach":
      break;
    case "pause":
      await machine.pause();
      break;
    case "resume":
      machine.resume();
      break;
    case "reset":
      await machine.reset();
      break;
    case "stop":
      await machine.stop();
      break;
    case "powerbutton":
      return { heard: machine.pressPowerButton() };
    case "registers":
      return machine.withPaused(({ vcpus }) => vcpus.map(registerDump));
    case "exits":
      return exitRows(machine.ledger.snapshot());
    case "devices":
      return deviceDumps(machine);
    case "resize":
      machine.console?.resize(request);
      break;
    case "balloon":
      return inflate(machine, request.sizeBytes);
  }
  return status(controlled);
}

async function inflate({ balloon, spec }: Machine, sizeBytes: number | undefined): Promise<ActionResult["balloon"]> {
  if (balloon === undefined) throw new ActionError("this machine has no balloon; vmm run --balloon gives it one");
  if (sizeBytes !== undefined) {
    if (sizeBytes >= spec.memoryBytes) throw new ActionError("a guest cannot give back all of its memory");
    balloon.setTarget(sizeBytes);
  }
  return balloon.report();
}

function status({ machine, kernel, viewers }: ControlledMachine): ActionResult["status"] {
  const { spec, phase, startedAtMs } = machine;
  return {
    name: spec.name,
    pid: process.pid,
    phase,
    cpus: spec.cpus,
    memoryBytes: spec.memoryBytes,
    kernel,
    balloon: machine.balloon?.size,
    uptimeMs: Date.now() - startedAtMs,
    viewers: viewers(),
  };
}

/** Every device's registers as they are now; the guest runs on. */
function deviceDumps({ assembly }: Machine): DeviceDump[] {
  return assembly.placements.map(({ definition, irq, windows }, index) => {
    const device = assembly.devices[index]!;
    device.lock();
    try {
      return {
        name: definition.name,
        irq,
        irqLevel: device.irqLevel,
        windows: windows.map(({ bus, base, sizeBytes }) => ({ bus, base, sizeBytes })),
        state: device.layout.stateType.save(device.state),
      };
    } finally {
      device.unlock();
    }
  });
}
