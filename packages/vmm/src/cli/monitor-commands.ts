/** What the monitor line (Ctrl-A c) can do: the machine's actions, as words. */
import type { ActionName, MoreOf, VmAction } from "../control/actions.js";
import { type ControlledMachine, dispatch } from "../control/dispatch.js";
import { formatRegisters } from "../machine/registers.js";
import { deviceList, exitTable } from "./reports.js";

const HELP = `help     this list
pause    stop every vCPU where it stands
resume   let them go on
regs     registers of every vCPU
exits    why the guest left, how often, how long
devices  device registers, live
balloon  memory that the guest gives back; balloon 256M asks for so much
reset    boot again
power    press the power button
quit     end the machine`;

/** Runs one line and returns what to print, undefined after `quit`. Throws ActionError when the machine cannot do it now. */
export async function runMonitorCommand(controlled: ControlledMachine, line: string): Promise<string | undefined> {
  const act = <N extends ActionName>(action: N, more?: MoreOf<N>) =>
    dispatch<N>(controlled, { ...more, action } as VmAction<N>);
  const [command, argument] = line.split(/\s+/);
  switch (command) {
    case "help":
    case "?":
      return HELP;
    case "pause":
      await act("pause");
      return "paused; resume lets it go on";
    case "resume":
      await act("resume");
      return "running";
    case "regs": {
      const dumps = await act("registers");
      return dumps.map((dump, index) => `vCPU ${index}\n${formatRegisters(dump)}`).join("\n");
    }
    case "exits":
      return exitTable(await act("exits"));
    case "devices":
      return deviceList(await act("devices"));
    case "balloon": {
      const { balloonBytes } = await import("./balloon-option.js");
      const { balloonText } = await import("./balloon.js");
      return balloonText(await act("balloon", argument ? { sizeBytes: balloonBytes("balloon", argument) } : {}));
    }
    case "reset":
      await act("reset");
      return "booting again";
    case "power": {
      const { heard } = await act("powerbutton");
      return heard ? "the guest has heard" : "this guest does not listen to its power button; quit ends the machine";
    }
    case "quit":
      await act("stop");
      return undefined;
    default:
      return `no command ${line}; help lists them`;
  }
}
