/**
 * Watches machines: opens the sources of each as it appears, lets go of those that are gone, and says what happened in
 * between as a Report. It prints nothing and has no clock of its own.
 */
import { monotonicNs } from "@tools-kvm/kvm-binding";
import {
  type FollowedThread,
  type FoundMachine,
  openMachine,
  processes,
  vcpusOf,
  vcpuThreads,
} from "../discover/machines.js";
import { type EventKind, isOfKind } from "../exits/event-kinds.js";
import { type HostView, lookAtHost } from "../sources/host.js";
import { LedgerSource } from "../sources/ledger.js";
import type { ExitSource, SourceRow } from "../sources/source.js";
import { StatsSource } from "../sources/stats.js";
import { ThreadTimesSource } from "../sources/thread-times.js";
import { HARDWARE_EVENTS, TracepointSource, USERSPACE_EVENTS } from "../sources/tracepoints.js";
import type { AddressResolver } from "../symbols/resolver.js";
import { Accumulator } from "./accumulator.js";
import { exitRows } from "./exit-rows.js";
import { grouped } from "./groups.js";
import type { MachineInfo, Report } from "./report.js";
import { addSplits, type TimeSplit, timeSplit } from "./time-split.js";

/** `instructions` are those of the guest where kvm_exit does not tell them; it needs tracepoints, and opens them. */
export const SOURCE_NAMES = ["tracepoints", "ledger", "stats", "instructions"] as const;
export type SourceName = (typeof SOURCE_NAMES)[number];

export interface ObserverOptions {
  /** Only this machine: its name or the number of its process. */
  readonly vm?: string;
  /** Only these vCPUs, by number. */
  readonly vcpus?: readonly number[];
  /** Only exits of this kind of access. */
  readonly event?: EventKind;
  /** Only exits that lasted at least so long, in nanoseconds: only kvm_exit tells. */
  readonly overNs?: number;
  /** Only these sources; when left out, what tells most at the least cost to the guest. */
  readonly sources?: readonly SourceName[];
  /** What names the addresses of a machine's guest; asked once a machine. */
  readonly symbolsOf?: (machine: { readonly pid: number; readonly name: string }) => AddressResolver | undefined;
}

/** What has been seen of a machine so far; it outlives the machine. */
interface Totals {
  machine: FoundMachine;
  info: MachineInfo;
  readonly rows: Accumulator;
  readonly vcpus: Accumulator;
  readonly rips: Accumulator;
  readonly counters: Record<string, number>;
  times?: TimeSplit;
  /** When it was last known to run. */
  seenNs: number;
}

interface Watched {
  machine: FoundMachine;
  readonly tracepoints: TracepointSource | undefined;
  readonly ledger: LedgerSource | undefined;
  readonly stats: StatsSource | undefined;
  readonly threads: ThreadTimesSource;
}

export class Observer {
  readonly host: HostView;
  readonly #options: ObserverOptions;
  readonly #watched = new Map<number, Watched>();
  readonly #refused = new Set<string>();
  #ended: Watched[] = [];
  readonly #resolvers = new Map<number, AddressResolver | undefined>();
  readonly #totals = new Map<number, Totals>();
  readonly #startedNs = monotonicNs();
  #since = this.#startedNs;
  #lost = 0;

  constructor(options: ObserverOptions) {
    this.#options = options;
    this.host = lookAtHost();
    this.rescan();
  }

  /** Processes watched now. */
  get size(): number {
    return this.#watched.size;
  }

  /** Finds machines that have appeared and forgets those that are gone; follows threads that come and go. */
  rescan(): void {
    const now = new Set(processes());
    for (const [pid, watched] of this.#watched) {
      const vcpus = now.has(pid) ? vcpusOf(pid) : undefined;
      if (vcpus?.length === watched.machine.vcpuIds.length) continue;
      if (vcpus !== undefined && watched.ledger !== undefined) {
        this.#grow(watched, vcpus);
        continue;
      }
      // It is gone, or it was found while it was still being built and is looked at anew.
      watched.tracepoints?.follow([]);
      // What it did last is still in its rings and its ledger: the next report has it.
      this.#ended.push(watched);
      this.#watched.delete(pid);
    }
    for (const pid of now) {
      const known = this.#watched.get(pid);
      if (known !== undefined) this.#follow(known);
      else if (pid !== process.pid) this.#tryWatch(pid);
    }
  }

  /** Looks whether any of these processes has become a machine: less work than to look at all. */
  look(pids: readonly number[]): void {
    for (const pid of pids) {
      const known = this.#watched.get(pid);
      if (known === undefined) this.#tryWatch(pid);
      // It was found before it had made its first vCPU, and may be gone before all are looked at again.
      else if (known.machine.vcpuIds.length === 0 && known.ledger !== undefined) this.#grow(known, vcpusOf(pid) ?? []);
    }
  }

  #grow(watched: Watched, vcpuIds: readonly number[]): void {
    if (vcpuIds.length === watched.machine.vcpuIds.length) return;
    watched.machine = { ...watched.machine, vcpuIds };
    this.#renew(watched);
    this.#follow(watched);
  }

  /** Threads of vCPUs come, and go with their machine. */
  #follow({ machine, tracepoints, threads }: Watched): void {
    if (tracepoints === undefined && threads.size === machine.vcpuIds.length) return;
    const followed = vcpuThreads(machine, this.#options.vcpus);
    tracepoints?.follow(followed);
    threads.follow(knownThreads(followed));
  }

  /** Empties the rings; call it several times a second. */
  drain(): void {
    // Machines that have ended write no more.
    for (const { tracepoints } of this.#watched.values()) tracepoints?.drain();
  }

  /** Everything since the last call. */
  collect(): Report {
    const now = monotonicNs();
    const seconds = Math.max(now - this.#since, 1) / 1e9;
    this.#since = now;
    const ended = this.#ended.splice(0);
    const watched = [...this.#watched.values(), ...ended];
    const lost = watched.reduce((sum, { tracepoints }) => sum + (tracepoints?.takeLost() ?? 0), 0);
    this.#lost += lost;
    const collected = watched.map((each): MachineRows => {
      const { event = "exit" } = this.#options;
      const rows = sourcesOf(each)
        .flatMap((source) => source.collect())
        .filter(({ reason }) => isOfKind(event, reason));
      const vcpus = sourcesOf(each).flatMap((source) => source.vcpus);
      const rips = sourcesOf(each).flatMap((source) => source.rips);
      const totals = this.#totalsOf(each);
      totals.rows.add(rows);
      totals.vcpus.add(vcpus);
      totals.rips.add(rips);
      return { machine: each.machine, rows, vcpus, rips };
    });
    const stats = watched.flatMap((each) => {
      if (each.stats === undefined) return [];
      const counters = each.stats.collect();
      addCounters(this.#totalsOf(each).counters, counters);
      return [{ machine: each.machine.name, pid: each.machine.pid, counters }];
    });
    const report: Report = {
      seconds,
      machines: watched.map(machineInfo),
      ...this.#rowsAndGroups(collected, seconds),
      stats,
      times: watched.flatMap((each, index) => {
        const counters = stats.find(({ pid }) => pid === each.machine.pid)?.counters;
        return this.#split(each, collected[index]!.rows, counters) ?? [];
      }),
      lost,
      notes: this.#notes(),
    };
    for (const each of ended) closeWatched(each);
    return report;
  }

  /** Everything that `collect` has given since the beginning, machines that have ended included. */
  total(): Report {
    const seconds = Math.max(this.#since - this.#startedNs, 1) / 1e9;
    const totals = [...this.#totals.values()];
    return {
      seconds,
      machines: totals.map(({ info }) => info),
      ...this.#rowsAndGroups(
        totals.map(({ machine, rows, vcpus, rips }) => ({
          machine,
          rows: rows.rows,
          vcpus: vcpus.rows,
          rips: rips.rows,
        })),
        seconds,
      ),
      stats: totals.map(({ machine, counters }) => ({ machine: machine.name, pid: machine.pid, counters })),
      times: totals.flatMap(({ times }) => times ?? []),
      lost: this.#lost,
      notes: this.#notes(),
    };
  }

  /** Leaves machines out of the total that ended at least so long ago: for who looks on for days. */
  forgetEnded(forMs: number): void {
    const now = monotonicNs();
    for (const [pid, totals] of this.#totals) {
      if (this.#watched.has(pid)) totals.seenNs = now;
      else if (now - totals.seenNs >= forMs * 1e6) this.#totals.delete(pid);
    }
  }

  #split(watched: Watched, rows: readonly SourceRow[], counters?: Record<string, number>): TimeSplit | undefined {
    const threads = watched.threads.collect();
    if (threads === undefined) return undefined;
    const { name, pid } = watched.machine;
    // With --event the ledger is asked for some exits only.
    const isWhole = watched.ledger !== undefined && (this.#options.event ?? "exit") === "exit";
    const split = timeSplit(name, pid, {
      threads,
      traced: watched.tracepoints?.times,
      ledger: isWhole ? handlerTimes(rows) : undefined,
      counters,
    });
    const totals = this.#totalsOf(watched);
    totals.times = totals.times === undefined ? split : addSplits(totals.times, split);
    return split;
  }

  #rowsAndGroups(machines: readonly MachineRows[], seconds: number): Pick<Report, "rows" | "groups"> {
    const all = (rowsOf: (machine: MachineRows) => readonly SourceRow[]) =>
      machines.flatMap((each) => exitRows(rowsOf(each), each.machine, seconds, this.#resolverOf(each.machine)));
    return {
      rows: all(({ rows }) => rows),
      groups: {
        reason: all(({ rows }) => grouped(rows, "reason")),
        vcpu: all(({ vcpus }) => grouped(vcpus, "vcpu")),
        vcpuReason: all(({ vcpus }) => vcpus),
        rip: all(({ rips }) => rips),
        device: all(({ rows }) =>
          grouped(
            rows.filter(({ device }) => device !== undefined),
            "device",
          ),
        ),
        vm: all(({ rows }) => grouped(rows, "vm")),
      },
    };
  }

  #resolverOf({ pid, name }: FoundMachine): AddressResolver | undefined {
    if (!this.#resolvers.has(pid)) this.#resolvers.set(pid, this.#options.symbolsOf?.({ pid, name }));
    return this.#resolvers.get(pid);
  }

  #notes(): string[] {
    const sources = [...this.#watched.values()].flatMap(({ machine, tracepoints }) =>
      (tracepoints?.notes ?? []).map((note) => `tracepoints of ${machine.name}: ${note}`),
    );
    return [...this.host.notes, ...this.#refused, ...sources];
  }

  #totalsOf(watched: Watched): Totals {
    const { machine } = watched;
    let totals = this.#totals.get(machine.pid);
    if (totals === undefined) {
      totals = {
        machine,
        info: machineInfo(watched),
        rows: new Accumulator(),
        vcpus: new Accumulator(),
        rips: new Accumulator(),
        counters: {},
        seenNs: monotonicNs(),
      };
      this.#totals.set(machine.pid, totals);
    }
    return totals;
  }

  /** The total tells what is known of the machine last. */
  #renew(watched: Watched): void {
    const totals = this.#totals.get(watched.machine.pid);
    if (totals !== undefined) Object.assign(totals, { machine: watched.machine, info: machineInfo(watched) });
  }

  close(): void {
    for (const watched of [...this.#watched.values(), ...this.#ended]) closeWatched(watched);
    this.#watched.clear();
    this.#ended = [];
  }

  #tryWatch(pid: number): void {
    if (this.#options.vm !== undefined && /^\d+$/.test(this.#options.vm) && Number(this.#options.vm) !== pid) return;
    const machine = openMachine(pid);
    if (machine === undefined) return;
    const { vm } = this.#options;
    if (vm !== undefined && vm !== machine.name && vm !== String(pid)) {
      machine.ledger?.close();
      return;
    }
    const watched = this.#watch(machine);
    this.#watched.set(pid, watched);
    // A number may be another process's by now.
    this.#resolvers.delete(pid);
    this.#renew(watched);
  }

  #watch(machine: FoundMachine): Watched {
    const { vcpus, event } = this.#options;
    const ledger =
      machine.ledger !== undefined && this.#wants("ledger")
        ? new LedgerSource(machine.ledger, { sinceNs: this.#startedNs, vcpus, event })
        : undefined;
    const watched = {
      machine,
      ledger,
      threads: new ThreadTimesSource(machine.pid),
      tracepoints: this.#openTracepoints(machine, ledger !== undefined),
      stats: this.#wants("stats") ? StatsSource.open(machine.pid, vcpus) : undefined,
    };
    watched.threads.follow(knownThreads(vcpuThreads(machine, vcpus)));
    return watched;
  }

  #wants(source: SourceName): boolean {
    // The ledger knows no single exit's time.
    if (source === "ledger" && this.#options.overNs !== undefined) return false;
    return this.#options.sources?.includes(source) ?? true;
  }

  /**
   * Tracepoints cost the guest a record an exit. Where they only repeat what the ledger knows better (no kvm_exit on
   * this host), they are opened only when asked for.
   */
  #openTracepoints(machine: FoundMachine, hasLedger: boolean): TracepointSource | undefined {
    const { tracepoints } = this.host;
    const instructions = this.#options.sources?.includes("instructions") ?? false;
    if (tracepoints === "none" || !(this.#wants("tracepoints") || instructions)) return undefined;
    if (tracepoints === "userspace" && hasLedger && this.#options.sources === undefined) return undefined;
    const { event, overNs } = this.#options;
    if (tracepoints === "userspace" && overNs !== undefined) {
      this.#refused.add("how long an exit lasts is told by kvm_exit alone, which never fires here");
      return undefined;
    }
    try {
      const source = new TracepointSource(tracepoints === "hardware" ? HARDWARE_EVENTS : USERSPACE_EVENTS, {
        event,
        overNs,
        instructions,
      });
      source.follow(vcpuThreads(machine, this.#options.vcpus));
      return source;
    } catch (error) {
      this.#refused.add(`tracepoints of ${machine.name}: ${(error as Error).message}`);
      return undefined;
    }
  }
}

function closeWatched({ machine, tracepoints, ledger, stats }: Watched): void {
  tracepoints?.close();
  stats?.close();
  if (ledger === undefined) machine.ledger?.close();
  else ledger.close();
}

function machineInfo({ machine, tracepoints, ledger, stats }: Watched): MachineInfo {
  const sources = [
    tracepoints?.name,
    tracepoints?.hasInstructions ? "instructions" : undefined,
    ledger?.name,
    stats === undefined ? undefined : "stats",
  ];
  return {
    name: machine.name,
    pid: machine.pid,
    vcpus: machine.vcpuIds.length,
    sources: sources.filter((name) => name !== undefined),
  };
}

function sourcesOf({ tracepoints, ledger }: Watched): ExitSource[] {
  return [tracepoints, ledger].filter((source) => source !== undefined);
}

/** What the sources gave of one machine. */
interface MachineRows {
  readonly machine: FoundMachine;
  readonly rows: readonly SourceRow[];
  readonly vcpus: readonly SourceRow[];
  readonly rips: readonly SourceRow[];
}

function knownThreads(threads: readonly FollowedThread[]): number[] {
  return threads.flatMap(({ tid, vcpu }) => (vcpu === null ? [] : [tid]));
}

/** Time between two KVM_RUN, by whether a device answered. */
function handlerTimes(rows: readonly SourceRow[]): { deviceNs: number; otherNs: number } {
  const sum = (wanted: (row: SourceRow) => boolean): number =>
    rows.filter(wanted).reduce((ns, { handler }) => ns + (handler?.sumNs ?? 0), 0);
  return { deviceNs: sum(({ device }) => device !== undefined), otherNs: sum(({ device }) => device === undefined) };
}

function addCounters(sums: Record<string, number>, counters: Readonly<Record<string, number>>): void {
  for (const [name, increase] of Object.entries(counters)) sums[name] = (sums[name] ?? 0) + increase;
}
