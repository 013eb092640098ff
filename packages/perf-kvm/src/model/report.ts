/** What every view shows: plain data, one shape for the screen, the plain table and JSON. */

import type { GuestSamples } from "./guest-samples.js";
import type { TimeSplit } from "./time-split.js";

/**
 * Where a row comes from: `kvm_exit` pairs the kernel's exit and entry tracepoints; `userspace` counts the kernel's
 * tracepoints of exits to user space; `emulation` those of MSRs and CPUID that KVM emulates, where `kvm_exit` does not fire;
 * `ledger` is the VMM's own account of what it did with each.
 */
export type RowSource = "kvm_exit" | "userspace" | "emulation" | "ledger";

/** One kind of exit of one machine in one period. A figure that this host cannot tell is null, never a guess. */
export interface ExitRow {
  readonly machine: string;
  readonly pid: number;
  readonly source: RowSource;
  /** Exit reason: SVM and VMX names from `kvm_exit`, KVM_EXIT_* names (without the prefix) from the others. */
  readonly reason: string;
  /** Port, address or MSR, with the direction: `0x3f8 out`; empty when the source does not say. */
  readonly detail: string;
  /** The vCPU, in a report that tells vCPUs apart. */
  readonly vcpu?: number;
  /** The guest's instruction, in a report that tells instructions apart: `0xffffffff81000123`, or `other` beyond a bound. */
  readonly rip?: string;
  /** The guest's function and the offset in it: `pio_loop+0x12`, `virtio_net:xmit_skb`; null where it has no name. */
  readonly symbol?: string | null;
  /** Why it has none. */
  readonly why?: string;
  readonly count: number;
  /** Exits a second. */
  readonly rate: number;
  /** Part of this source's time that this row took, 0 to 1, without what a halted vCPU was only waited for; null when the source knows no times. */
  readonly share: number | null;
  /** Time away from the guest, from the exit to the next entry. Only `kvm_exit` knows it. */
  readonly avgNs: number | null;
  readonly minNs: number | null;
  readonly maxNs: number | null;
  readonly p50Ns: number | null;
  readonly p99Ns: number | null;
  /** The VMM's device that answered, and how long the VMM took until it entered the guest again. Only `ledger` knows. */
  readonly device: string | null;
  readonly handlerAvgNs: number | null;
  /** Within 0.8%: the ledger keeps a histogram. */
  readonly handlerMinNs: number | null;
  readonly handlerMaxNs: number | null;
  readonly handlerP50Ns: number | null;
  readonly handlerP99Ns: number | null;
  /** How many took from 2^n up to 2^(n+1) ns, by n: of the times away, or else of the handler's; null when there are none. */
  readonly octaves: readonly number[] | null;
}

/** The rows of a report put together. Where a row stands for several reasons, `reason` is empty. */
export interface ExitGroups {
  readonly reason: readonly ExitRow[];
  /** One row a vCPU and source; of threads of which nobody knows the vCPU there is none. */
  readonly vcpu: readonly ExitRow[];
  /** One row a vCPU, source and reason. */
  readonly vcpuReason: readonly ExitRow[];
  /** One row a device of the machine: what the ledger knows of it, all its ports and addresses together. */
  readonly device: readonly ExitRow[];
  /** One row a kind of exit and guest instruction. The ledger does not know it. */
  readonly rip: readonly ExitRow[];
  /** One row a machine and source. */
  readonly vm: readonly ExitRow[];
}

/** KVM's own counters of one machine over the period (binary stats, api.rst KVM_GET_STATS_FD), all vCPUs together. */
export interface StatsRow {
  readonly machine: string;
  readonly pid: number;
  /** Increase of each counter that changed. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface MachineInfo {
  readonly name: string;
  readonly pid: number;
  readonly vcpus: number;
  /** What can be seen of it. */
  readonly sources: readonly string[];
}

export interface Report {
  /** Seconds that the period lasted. */
  readonly seconds: number;
  readonly machines: readonly MachineInfo[];
  readonly rows: readonly ExitRow[];
  /** The same, put together; absent in a report of a recording. */
  readonly groups?: ExitGroups;
  readonly stats: readonly StatsRow[];
  /** Where the time of each machine's vCPUs went; without machines of which no vCPU's thread is known. Absent of a recording. */
  readonly times?: readonly TimeSplit[];
  /** Where guests spend their time, of a recording that has samples. */
  readonly samples?: GuestSamples;
  /** Tracepoint records that found no room; a count that is not zero makes the rows a lower bound. */
  readonly lost: number;
  /** What this host cannot show, and why. */
  readonly notes: readonly string[];
}
