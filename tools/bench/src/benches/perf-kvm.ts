/** Reading a recording: our commands and perf's, whole processes, on the same file of kvm_entry and kvm_exit by turns. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Bench, BenchContext, Case } from "../bench.js";
import { exitRecording } from "../exit-recording.js";
import { which } from "../find-program.js";

const PERF_KVM = fileURLToPath(new URL("../../../packages/perf-kvm/bin/perf-kvm.js", import.meta.url));
const PAIRS = { full: 1_000_000, quick: 500_000 };

export const perfKvm: Bench = {
  name: "perf-kvm",
  summary: "events a second of perf-kvm report and script, against perf kvm stat report and perf script",
  runs: { full: 7, quick: 3 },
  cases(context) {
    const pairs = context.quick ? PAIRS.quick : PAIRS.full;
    const file = join(context.programs.folder, "exits.data");
    exitRecording(file, pairs);
    const ours = (command: string): string[] => [process.execPath, PERF_KVM, command, "-i", file];
    return [
      against("report", 2 * pairs, ours("report"), ["perf", "kvm", "--host", "-i", file, "stat", "report"], context),
      against("script", 2 * pairs, ours("script"), ["perf", "script", "--ns", "-i", file], context),
    ];
  },
};

function against(name: string, events: number, ours: string[], peer: string[], { programs }: BenchContext): Case {
  const measure = (command: readonly string[]) => async (): Promise<number> => {
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
