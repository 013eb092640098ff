/** A source gives rows about one machine; `collect` says what happened since the last call. */

import type { RowSource } from "../model/report.js";
import type { Stat } from "../model/stat.js";

/** One kind of exit, with what the source knows about it in the period. */
export interface SourceRow {
  readonly source: RowSource;
  readonly reason: string;
  readonly detail: string;
  /** The vCPU, where rows tell vCPUs apart. */
  readonly vcpu?: number;
  /** The guest's instruction pointer, signed; NaN of those too many to tell apart. Only where rows tell them apart. */
  readonly rip?: number;
  readonly count: number;
  /** Time away from the guest; absent where the source cannot know it. */
  readonly away?: Stat;
  /** Time in the VMM until the guest was entered again. */
  readonly handler?: Stat;
  /** All the time that this kind of exit accounts for in this source, in ns; absent where it knows no times. */
  readonly spentNs?: number;
  readonly device?: string;
}

export interface ExitSource {
  /** Short, for the list of what can be seen: `kvm_exit`, `ledger`. */
  readonly name: string;
  collect(): SourceRow[];
  /** What `collect` gave last, by vCPU and reason, without detail. */
  readonly vcpus: readonly SourceRow[];
  /** What `collect` gave last, by kind and guest instruction; empty of a source that does not know it. */
  readonly rips: readonly SourceRow[];
  /** Records lost since the last call. */
  takeLost(): number;
  close(): void;
}
