/** One measurement of the embedded guest's `blk` or `net`: the same job twice, the first to get warm. */
import { BenchError } from "./bench.js";
import type { Programs } from "./programs.js";

export interface GuestJob {
  /** The guest's command without its last word, the count. */
  readonly command: string;
  readonly count: number;
  /** The value that has to be `count` afterwards. */
  readonly counter: string;
}

/** Ends with a status that no failure has, on every machine. */
const POWERED_OFF = { exitCodes: [3] };
const WARM_UP_SHARE = 4;

/** The guest's command line for a job. */
export function jobCommandLine({ command, count }: GuestJob): string {
  return `quiet run=${command} ${Math.ceil(count / WARM_UP_SHARE)}; ${command} ${count}; poweroff 1`;
}

/** Runs a machine whose guest does `job`. Seconds that it took. Throws BenchError when not all of it was done. */
export async function secondsOf(
  machine: readonly string[],
  job: GuestJob,
  { programs, tscKhz }: { programs: Programs; tscKhz: number },
): Promise<number> {
  const { stdout } = await programs.run(machine, POWERED_OFF);
  const line = stdout.trim().split(/\r?\n/).at(-1) ?? "";
  const values = new Map([...line.matchAll(/(\w+)=(\S+)/g)].map(([, name, value]) => [name!, value!]));
  const cycles = Number(values.get("cycles"));
  if (Number(values.get(job.counter)) !== job.count || (values.get("errors") ?? "0") !== "0" || !(cycles > 0)) {
    throw new BenchError(`the guest said ${JSON.stringify(stdout)}`);
  }
  return cycles / (tscKhz * 1000);
}
