/**
 * Exits of one vCPU thread, counted by kind. An exit lasts until the thread's next entry, as `perf kvm stat` has it; a
 * kind is its number and detail, so that nothing is looked up by name while events stream in.
 */
import { EVENT, type EventColumns } from "../columns/events.js";
import { hardwareExitDetail, hardwareExitName } from "../exits/names.js";
import type { SourceRow } from "../sources/source.js";
import { Stat } from "./stat.js";
import { UserspaceTally } from "./userspace-tally.js";

/** An exit by the hardware's reason. */
interface HardwareKind {
  readonly isa: number;
  readonly reason: number;
  readonly info1: number;
  readonly stat: Stat;
}

export class ExitTally {
  readonly #hardware = new Map<number, HardwareKind>();
  readonly #userspace = new UserspaceTally();
  #pending: HardwareKind | undefined;
  #exitNs = 0;

  consume(columns: EventColumns): void {
    const { kind, timeNs, reason, variant, detail, length } = columns;
    for (let i = 0; i < length; i++) {
      switch (kind[i]) {
        case EVENT.EXIT:
          this.#pending = this.#kindOf(variant[i]!, reason[i]!, detail[i]!);
          this.#exitNs = timeNs[i]!;
          break;
        case EVENT.ENTRY:
          this.#pending?.stat.add(Math.max(0, timeNs[i]! - this.#exitNs));
          this.#pending = undefined;
          break;
        case EVENT.USERSPACE_EXIT:
          this.#userspace.exit(reason[i]!);
          break;
        case EVENT.PIO:
        case EVENT.MMIO:
          this.#userspace.access(kind[i]!, variant[i]!, detail[i]!);
      }
    }
  }

  /** The kinds of several threads together, since the last call. Counting starts again. */
  static rows(tallies: readonly ExitTally[]): SourceRow[] {
    const hardware = new Map<string, SourceRow & { away: Stat }>();
    const userspace = new Map<string, SourceRow>();
    for (const tally of tallies) {
      for (const kind of tally.#hardware.values()) mergeHardware(hardware, kind);
      for (const row of tally.#userspace.take()) {
        const key = `${row.reason} ${row.detail}`;
        userspace.set(key, { ...row, count: row.count + (userspace.get(key)?.count ?? 0) });
      }
    }
    return [
      ...[...hardware.values()].map((row) => ({ ...row, count: row.away.count, spentNs: row.away.sumNs })),
      ...userspace.values(),
    ];
  }

  #kindOf(isa: number, reason: number, info1: number): HardwareKind {
    // Only what the name and the detail depend on makes a kind: addresses would make one an exit.
    const relevant = hardwareExitDetail(isa, reason, info1) === "" ? 0 : info1 % 2 ** 32;
    const key = (reason % 2 ** 16) * 2 ** 34 + isa * 2 ** 32 + relevant;
    let found = this.#hardware.get(key);
    if (found === undefined) {
      found = { isa, reason, info1: relevant, stat: new Stat() };
      this.#hardware.set(key, found);
    }
    return found;
  }
}

function mergeHardware(
  rows: Map<string, SourceRow & { away: Stat }>,
  { isa, reason, info1, stat }: HardwareKind,
): void {
  if (stat.count === 0) return;
  const name = hardwareExitName(isa, reason);
  const detail = hardwareExitDetail(isa, reason, info1);
  const key = `${name} ${detail}`;
  let row = rows.get(key);
  if (row === undefined) {
    row = { source: "kvm_exit", reason: name, detail, count: 0, away: new Stat() };
    rows.set(key, row);
  }
  row.away.merge(stat);
  stat.clear();
}
