/** From the command to its end: a guest that powers off at once, the whole process, by the clock on the wall. */
import { fileURLToPath } from "node:url";
import type { Bench, BenchContext, Case } from "../bench.js";
import { missingQemu, qemuRun, vmmRun } from "../commands.js";

const FURTHER = fileURLToPath(new URL("start-further.js", import.meta.url));
/** Ends with a status that no failure has, on every machine. */
const COMMAND_LINE = "quiet run=poweroff 1";
const POWERED_OFF = { exitCodes: [3] };

export const start: Bench = {
  name: "start",
  summary: "vmm run of a guest that powers off at once, whole process, against QEMU's microvm",
  runs: { full: 21, quick: 3 },
  cases(context) {
    const { programs } = context;
    return [
      againstQemu("power off, peer on microvm", "microvm,isa-serial=on", context),
      // The peer's default machine: its firmware is an emulated BIOS.
      againstQemu("power off, peer on q35", "q35", context),
      {
        name: "a further machine in a process",
        unit: "ms",
        ours: async () => (JSON.parse((await programs.run([process.execPath, FURTHER])).stdout) as { ms: number }).ms,
      },
      {
        name: "an empty Node program",
        unit: "ms",
        ours: async () => (await programs.run([process.execPath, "-e", "0"])).elapsedMs,
      },
    ];
  },
};

function againstQemu(name: string, machine: string, { programs }: BenchContext): Case {
  const peer = missingQemu() ?? {
    name: `qemu-system-x86_64 -M ${machine} -enable-kvm`,
    measure: async () => {
      const command = qemuRun(machine, "-append", COMMAND_LINE);
      return (await programs.run(command, POWERED_OFF)).elapsedMs;
    },
  };
  return {
    name,
    unit: "ms",
    ours: async () => (await programs.run(vmmRun("--append", COMMAND_LINE), POWERED_OFF)).elapsedMs,
    peer,
  };
}
