/**
 * Exits of one vCPU thread, counted by kind. An exit lasts until the thread's next entry, as `perf kvm stat` has it; a
 * kind is its number and detail, so that nothing is looked up by name while events stream in.
 */
import { EVENT, type EventColumns } from "../columns/events.js";
import { hardwareExitDetail, hardwareExitName, userspaceExitName } from "../exits/names.js";
import type { SourceRow } from "../sources/source.js";
import { Stat } from "./stat.js";

/** An exit by the hardware's reason. */
interface HardwareKind {
  readonly isa: number;
  readonly reason: number;
  readonly info1: number;
  readonly stat: Stat;
}

/** What refines an exit to user space: the access that the kernel traced just before it. */
const REFINING = [EVENT.PIO, EVENT.MMIO, EVENT.MSR] as const;
const KVM_EXIT_IO = 2;
const KVM_EXIT_MMIO = 6;
const KVM_EXIT_X86_RDMSR = 29;
const KVM_EXIT_X86_WRMSR = 30;
/** kvm_pio.rw, kvm_msr.write; kvm_mmio.type: 0 unsatisfied read, 1 read, 2 write. */
const MMIO_WRITE = 2;

export class ExitTally {
  readonly #hardware = new Map<number, HardwareKind>();
  readonly #userspace = new Map<string, { reason: number; detail: string; count: number }>();
  #pending: HardwareKind | undefined;
  #exitNs = 0;
  /** The last traced access, for the exit to user space that follows it. */
  #access = { kind: -1, variant: 0, detail: 0 };

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
          this.#countUserspace(reason[i]!);
          break;
        default:
          this.#access = { kind: kind[i]!, variant: variant[i]!, detail: detail[i]! };
      }
    }
  }

  /** The kinds of several threads together, since the last call. Counting starts again. */
  static rows(tallies: readonly ExitTally[]): SourceRow[] {
    const hardware = new Map<string, SourceRow & { away: Stat }>();
    const userspace = new Map<string, { reason: number; detail: string; count: number }>();
    for (const tally of tallies) {
      for (const kind of tally.#hardware.values()) mergeHardware(hardware, kind);
      for (const [key, row] of tally.#userspace) {
        userspace.set(key, { ...row, count: row.count + (userspace.get(key)?.count ?? 0) });
      }
      tally.#userspace.clear();
    }
    return [
      ...[...hardware.values()].map((row) => ({ ...row, count: row.away.count, spentNs: row.away.sumNs })),
      ...[...userspace.values()].map(
        ({ reason, detail, count }): SourceRow => ({
          source: "userspace",
          reason: userspaceExitName(reason),
          detail,
          count,
        }),
      ),
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

  #countUserspace(reason: number): void {
    const detail = accessDetail(reason, this.#access);
    const key = `${reason} ${detail}`;
    const row = this.#userspace.get(key);
    if (row === undefined) this.#userspace.set(key, { reason, detail, count: 1 });
    else row.count++;
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

/** The port, address or MSR of the access that led to user space; empty when the last one was of another kind. */
function accessDetail(reason: number, access: { kind: number; variant: number; detail: number }): string {
  const [expected, isWrite] =
    reason === KVM_EXIT_IO
      ? [EVENT.PIO, access.variant === 1]
      : reason === KVM_EXIT_MMIO
        ? [EVENT.MMIO, access.variant === MMIO_WRITE]
        : reason === KVM_EXIT_X86_RDMSR || reason === KVM_EXIT_X86_WRMSR
          ? [EVENT.MSR, access.variant === 1]
          : [-1, false];
  if (access.kind !== expected || !REFINING.includes(access.kind as (typeof REFINING)[number])) return "";
  return `0x${access.detail.toString(16)} ${isWrite ? "out" : "in"}`;
}
