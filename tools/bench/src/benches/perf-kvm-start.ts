/** From the command to the first table of `perf-kvm top` on a terminal, beside a machine that is at its prompt. */
import { readSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Pty, watch } from "@tools-kvm/kvm-binding";
import { type BenchContext, BenchError, type Case } from "../bench.js";
import { RunningMachine } from "../running-machine.js";

const PERF_KVM = fileURLToPath(new URL("../../../packages/perf-kvm/bin/perf-kvm.js", import.meta.url));
/** What every frame has above its rows. */
const TABLE = "sorted by";
const TIMEOUT_MS = 20_000;

export function firstFrame({ programs }: BenchContext): Case {
  return {
    name: "start of top",
    unit: "ms",
    ours: async () => {
      await using machine = await RunningMachine.start(programs);
      using screen = Pty.open();
      await programs.run(["stty", "-F", screen.path, "cols", "80", "rows", "24"]);
      const startedMs = performance.now();
      const top = programs.startOn(screen.path, [process.execPath, PERF_KVM, "top", "--vm", machine.name]);
      try {
        await shows(screen, TABLE);
        return performance.now() - startedMs;
      } finally {
        await programs.stop(top);
      }
    },
  };
}

/** Resolves as soon as this text has been written. */
async function shows(screen: Pty, text: string): Promise<void> {
  const bytes = Buffer.alloc(64 * 1024);
  let written = "";
  let onOutput = (): void => {};
  const watching = watch(screen, () => {
    written += bytes.toString("latin1", 0, readSync(screen.fd, bytes));
    onOutput();
  });
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve, reject) => {
    timer = setTimeout(() => reject(new BenchError(`no table on the screen: ${JSON.stringify(written)}`)), TIMEOUT_MS);
    onOutput = () => void (written.includes(text) && resolve());
  }).finally(() => {
    clearTimeout(timer);
    watching.close();
  });
}
