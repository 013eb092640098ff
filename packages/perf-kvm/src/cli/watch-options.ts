/** Options that `top` and `stat` share: which machines, which vCPUs, which sources. */
import { EVENT_KINDS, type EventKind } from "../exits/event-kinds.js";
import { Observer, SOURCE_NAMES, type SourceName } from "../model/observer.js";
import type { ExitRow, Report } from "../model/report.js";
import { matches } from "../views/columns.js";
import { CliError } from "./errors.js";
import { type GuestSymbolOptions, guestSymbolsOf } from "./guest-symbol-options.js";

export interface WatchOptions extends GuestSymbolOptions {
  readonly vm?: string;
  readonly pid?: string;
  readonly vcpu?: string;
  readonly source?: string;
  readonly filter?: string;
  readonly event?: string;
  readonly durationOver?: string;
}

/**
 * An observer of what the options name. Throws CliError when they are wrong or name a machine that is not there.
 * @param mayCome the machine may still be to come
 */
export function openObserver(options: WatchOptions, mayCome = false): Observer {
  const { vm, pid, vcpu, source, event, durationOver } = options;
  if (vm !== undefined && pid !== undefined)
    throw new CliError("--vm and --pid are two ways to name one machine: give one");
  if (pid !== undefined && !/^[1-9]\d{0,9}$/.test(pid)) throw new CliError(`--pid ${pid}: the number of a process`);
  const [option, machine] = pid === undefined ? ["--vm", vm] : ["--pid", pid];
  const vcpus = vcpu === undefined ? undefined : vcpuList(vcpu);
  const overUs =
    durationOver === undefined ? undefined : wholeNumber("--duration-over", durationOver, 1, 1e9, "microseconds");
  const observer = new Observer({
    vm: machine,
    vcpus,
    event: eventKind(event),
    overNs: overUs === undefined ? undefined : overUs * 1000,
    sources: sources(source),
    symbolsOf: guestSymbolsOf(options),
  });
  if (machine === undefined || mayCome || observer.size > 0) return observer;
  observer.close();
  const others = new Observer({ sources: ["ledger"] });
  const names = others.collect().machines.map(({ name, pid }) => `${name} (pid ${pid})`);
  others.close();
  const there = names.length === 0 ? "none is running" : `there are ${names.join(", ")}`;
  throw new CliError(`${option} ${machine}: no such machine; ${there}`);
}

/** The report with only the rows that have this text in them. */
export function filtered(report: Report, filter: string | undefined): Report {
  if (filter === undefined) return report;
  const only = (rows: readonly ExitRow[]): ExitRow[] => rows.filter((row) => matches(row, filter));
  const { groups } = report;
  return {
    ...report,
    rows: only(report.rows),
    groups: groups && {
      reason: only(groups.reason),
      vcpu: only(groups.vcpu),
      vcpuReason: only(groups.vcpuReason),
      device: only(groups.device),
      rip: only(groups.rip),
      vm: only(groups.vm),
    },
  };
}

const MAXIMUM_VCPU = 65_535;

/** `0,2-3` as 0, 2 and 3. */
function vcpuList(text: string): number[] {
  const numbers = text.split(",").flatMap((part) => {
    const [, first, last] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part) ?? [];
    const [from, to] = [Number(first), Number(last ?? first)];
    if (!(from <= to && to <= MAXIMUM_VCPU)) throw new CliError(`--vcpu ${text}: numbers of vCPUs, as in 0,2-3`);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
  return [...new Set(numbers)];
}

function eventKind(text: string | undefined): EventKind | undefined {
  const kind = EVENT_KINDS.find((known) => known === text);
  if (text !== undefined && kind === undefined) throw new CliError(`--event ${text}: one of ${EVENT_KINDS.join(", ")}`);
  return kind;
}

function sources(list: string | undefined): SourceName[] | undefined {
  return list?.split(",").map((word) => {
    const name = SOURCE_NAMES.find((known) => known === word.trim());
    if (name === undefined) throw new CliError(`--source ${list}: some of ${SOURCE_NAMES.join(", ")}`);
    return name;
  });
}

export function wholeNumber(option: string, text: string, least: number, most: number, unit: string): number {
  const value = Number(text);
  if (/^\d{1,15}$/.test(text) && value >= least && value <= most) return value;
  throw new CliError(`${option} ${text}: ${unit}, from ${least} to ${most}`);
}
