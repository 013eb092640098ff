/**
 * The profiler: how soon it shows something, what watching costs the guest, and reading a recording: our commands and
 * perf's, whole processes, on the same file of kvm_entry and kvm_exit by turns.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Bench, BenchContext, Case } from "../bench.js";
import { exitRecording } from "../exit-recording.js";
import { which } from "../find-program.js";
import { watchingCosts } from "./perf-kvm-cost.js";
import { firstFrame } from "./perf-kvm-start.js";

const PERF_KVM = fileURLToPath(new URL("../../../packages/perf-kvm/bin/perf-kvm.js", import.meta.url));
const PAIRS = { full: 1_000_000, quick: 500_000 };

export const perfKvm: Bench = {
  name: "perf-kvm",
  summary: "the profiler: start of top, what record and top cost a guest, report and script, against perf",
  runs: { full: 7, quick: 3 },
  cases(context) {
    const pairs = context.quick ? PAIRS.quick : PAIRS.full;
    const file = join(context.programs.folder, "exits.data");
    const ours = (command: string): string[] => [process.execPath, PERF_KVM, command, "-i", file];
    const readers: [name: string, peer: string[]][] = [
      ["report", ["perf", "kvm", "--host", "-i", file, "stat", "report"]],
      ["script", ["perf", "script", "--ns", "-i", file]],
    ];
    return [
      firstFrame(context),
      ...watchingCosts(context),
      ...readers.map(([name, peer]) => {
        const made = (): void => void (existsSync(file) || exitRecording(file, pairs));
        return against(name, { events: 2 * pairs, made }, ours(name), peer, context);
      }),
    ];
  },
};

/** A recording: `made` makes it when it is not there. */
interface Recording {
  readonly events: number;
  made(): void;
}

function against(
  name: string,
  { events, made }: Recording,
  ours: string[],
  peer: string[],
  { programs }: BenchContext,
): Case {
  const measure = (command: readonly string[]) => async (): Promise<number> => {
    made();
    // Nobody reads what they print: a pipe's other end would be measured too.
    const { elapsedMs } = await programs.run(["sh", "-c", 'exec "$@" > /dev/null 2>&1', "sh", ...command]);
    return events / (elapsedMs / 1000);
  };
  const missing = { name: "perf", missing: "no peer: perf is not installed; apt-get install linux-perf" };
  return {
    name,
    unit: "events/s",
    ours: measure(ours),
    peer: which("perf") === undefined ? missing : { name: peer.join(" "), measure: measure(peer) },
  };
}
