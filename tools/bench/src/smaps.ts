/** What processes hold in memory, as the kernel counts it (proc(5), /proc/PID/smaps). */
import { readFileSync, readlinkSync } from "node:fs";

/** One process's memory. Pages that it shares with n - 1 others count as a n-th, but for those of its program. */
export interface Footprint {
  /** Pages of the program's own file, in full: who else runs the same program must not change the figure. */
  readonly programBytes: number;
  /** Proportional set size of everything else. */
  readonly restBytes: number;
}

/** Memory of a process, without the mappings whose name contains `without`. */
export function footprint(pid: number, without: string): Footprint {
  return parseSmaps(readFileSync(`/proc/${pid}/smaps`, "utf8"), readlinkSync(`/proc/${pid}/exe`), without);
}

/** What processes of one program hold together: the program's pages are in memory once. */
export function togetherBytes(footprints: readonly Footprint[]): number {
  const program = Math.max(0, ...footprints.map(({ programBytes }) => programBytes));
  return footprints.reduce((sum, { restBytes }) => sum + restBytes, program);
}

/** A mapping's first line begins with its addresses; its name, if it has one, comes sixth. */
const MAPPING = /^[0-9a-f]+-[0-9a-f]+ (?:\S+\s+){4}(.*)$/;
const FIELD = /^(Pss|Rss|Anonymous):\s+(\d+) kB/;

export function parseSmaps(smaps: string, program: string, without: string): Footprint {
  let name = "";
  const kib = { program: 0, rest: 0 };
  for (const line of smaps.split("\n")) {
    const mapping = MAPPING.exec(line);
    if (mapping !== null) name = mapping[1]!;
    const [, field, text] = FIELD.exec(line) ?? [];
    if (field === undefined || name.includes(without)) continue;
    const amount = Number(text);
    if (name !== program) kib.rest += field === "Pss" ? amount : 0;
    // Pages of the program that the process has written to are its own; the others are the file's.
    else if (field === "Rss") kib.program += amount;
    else if (field === "Anonymous") {
      kib.program -= amount;
      kib.rest += amount;
    }
  }
  return { programBytes: kib.program * 1024, restBytes: kib.rest * 1024 };
}
