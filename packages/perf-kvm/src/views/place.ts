/** Where one is among the tables: which rows a table has, and where Enter leads from each of them. */
import type { ExitRow, Report } from "../model/report.js";
import type { Level } from "./columns.js";

/** What the table shows: rows of a level, of one machine, vCPU, reason or device alone where Enter has led there. */
export interface Place {
  readonly level: Level;
  /** Process of the machine; undefined for all. */
  readonly pid?: number;
  readonly machine?: string;
  readonly vcpu?: number;
  readonly reason?: string;
  readonly detail?: string;
  readonly device?: string;
}

/** A key for each table. */
export const LEVEL_KEYS: Readonly<Record<string, Level>> = {
  "1": "reason",
  "2": "detail",
  "3": "vcpu",
  "4": "vm",
  "5": "device",
  "6": "rip",
};

const TITLES: Readonly<Record<Level, string>> = {
  reason: "by reason",
  detail: "by detail",
  vcpu: "by vCPU",
  vm: "by machine",
  device: "by device",
  rip: "by guest RIP",
};

/** The rows of a place, in no order. */
export function rowsAt(place: Place, { rows, groups }: Report): ExitRow[] {
  const { level, pid, vcpu, reason, detail, device } = place;
  const all = level === "detail" ? rows : groups?.[level === "reason" && vcpu !== undefined ? "vcpuReason" : level];
  return (all ?? []).filter(
    (row) =>
      (pid === undefined || row.pid === pid) &&
      (vcpu === undefined || row.vcpu === vcpu) &&
      (reason === undefined || row.reason === reason) &&
      (detail === undefined || row.detail === detail) &&
      (device === undefined || row.device === device),
  );
}

/** From a machine or a vCPU to its reasons, from a reason or a device to its details, from these to the guest's code; undefined where nothing is below. */
export function below({ level, vcpu }: Place, row: ExitRow): Place | undefined {
  const { pid, machine } = row;
  switch (level) {
    case "vm":
      return { level: "reason", pid, machine };
    case "vcpu":
      return { level: "reason", pid, machine, vcpu: row.vcpu };
    case "reason":
      // Which vCPU made an exit of this detail is not counted.
      return vcpu === undefined ? { level: "detail", pid, machine, reason: row.reason } : undefined;
    case "device":
      return { level: "detail", pid, machine, device: row.device ?? undefined };
    case "detail":
      return { level: "rip", pid, machine, reason: row.reason, detail: row.detail };
    case "rip":
      return undefined;
  }
}

/** What the place is called; empty where the view begins. */
export function placeTitle({ level, machine, vcpu, reason, detail, device }: Place): string {
  const of = [machine, vcpu === undefined ? undefined : `vCPU ${vcpu}`, reason, detail, device].filter((name) => name);
  if (of.length > 0) return `${TITLES[level]} of ${of.join(" ")}`;
  return level === "detail" ? "" : TITLES[level];
}

/** Why a table is empty whatever the guest does; undefined when it just made no exits. */
export function whyEmpty({ level }: Place, { machines }: Report): string | undefined {
  const seenBy = (source: string): boolean => machines.some(({ sources }) => sources.includes(source));
  if (level === "device" && !seenBy("ledger"))
    return "devices are known by the exit ledger, and none of these VMs keeps one";
  if (level === "rip" && !seenBy("instructions"))
    return "the guest's instruction is told by tracepoints, and none of these VMs is looked at by them: `--source instructions` does";
  return undefined;
}
