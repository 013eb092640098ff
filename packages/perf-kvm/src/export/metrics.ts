/**
 * A report as metrics: OpenMetrics 1.0, and Prometheus' older text format, which differs in what a counter's family is called
 * and has no end mark (openmetrics.io specification; prometheus.io, "Exposition formats").
 */
import type { ExitRow, Report } from "../model/report.js";

export const METRICS_FORMATS = {
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
} as const;
export type MetricsFormat = keyof typeof METRICS_FORMATS;

type Labels = Readonly<Record<string, string | number>>;

interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly unit?: string;
  readonly help: string;
  /** A sample's suffix, labels and value. */
  readonly samples: readonly (readonly [suffix: string, labels: Labels, value: number])[];
}

/** Buckets from 512 ns up to 8.6 s, an octave each: always the same, so that they can be added up over time. */
const FIRST_OCTAVE = 8;
const LAST_OCTAVE = 32;
const NS = 1e9;

/** @param report a total: counters count from where it does */
export function metrics(report: Report, format: MetricsFormat): string {
  const lines = families(report)
    .filter(({ samples }) => samples.length > 0)
    .flatMap((family) => familyLines(family, format));
  return `${[...lines, ...(format === "openmetrics" ? ["# EOF"] : [])].join("\n")}\n`;
}

const TIME_STATES = ["guest", "kernel", "polling", "user", "device", "asleep", "queued"] as const;

function families({ machines, rows, groups, stats, times, lost }: Report): Family[] {
  const timed = (rows: readonly ExitRow[], average: "avgNs" | "handlerAvgNs") =>
    rows.filter((row) => row[average] !== null);
  return [
    {
      name: "kvm_vcpus",
      type: "gauge",
      help: "vCPUs of a virtual machine.",
      samples: machines.map(({ name, pid, vcpus }) => ["", { vm: name, pid }, vcpus]),
    },
    {
      name: "kvm_exits",
      type: "counter",
      help: "Exits of a virtual machine by reason and detail.",
      samples: rows.map((row) => ["_total", labelsOf(row), row.count]),
    },
    {
      name: "kvm_vcpu_exits",
      type: "counter",
      help: "Exits of each vCPU.",
      samples: (groups?.vcpu ?? []).map(({ machine, pid, source, vcpu, count }) => [
        "_total",
        { vm: machine, pid, source, vcpu: vcpu ?? "" },
        count,
      ]),
    },
    {
      name: "kvm_exit_away_seconds",
      type: "histogram",
      unit: "seconds",
      help: "Time from an exit to the next entry of its vCPU.",
      samples: timed(rows, "avgNs").flatMap((row) => histogram(row, row.avgNs!)),
    },
    {
      name: "kvm_exit_handler_seconds",
      type: "histogram",
      unit: "seconds",
      help: "Time that the VMM took for an exit until it entered the guest again.",
      samples: timed(rows, "handlerAvgNs")
        .filter(({ avgNs }) => avgNs === null)
        .flatMap((row) => histogram(row, row.handlerAvgNs!)),
    },
    {
      name: "kvm_vcpu_time_seconds",
      type: "counter",
      unit: "seconds",
      help: "Where the time of a virtual machine's vCPUs went, all together.",
      samples: (times ?? []).flatMap(({ machine, pid, ...split }) =>
        TIME_STATES.flatMap((state) => {
          const ns = split[`${state}Ns`];
          return ns === null ? [] : [["_total", { vm: machine, pid, state }, ns / NS] as const];
        }),
      ),
    },
    {
      name: "kvm_stat",
      type: "counter",
      help: "KVM's own statistics (KVM_GET_STATS_FD), all vCPUs together.",
      samples: stats.flatMap(({ machine, pid, counters }) =>
        Object.entries(counters)
          .filter(([, value]) => value >= 0)
          .map(([name, value]) => ["_total", { vm: machine, pid, name }, value] as const),
      ),
    },
    {
      name: "kvm_lost_records",
      type: "counter",
      help: "Records of the kernel that found no room: the counts are too low by them.",
      samples: [["_total", {}, lost]],
    },
  ];
}

function labelsOf({ machine, pid, source, reason, detail, device }: ExitRow): Labels {
  return {
    ...{ vm: machine, pid, source, reason },
    ...(detail === "" ? {} : { detail }),
    ...(device === null ? {} : { device }),
  };
}

function histogram(row: ExitRow, averageNs: number): Family["samples"] {
  const labels = labelsOf(row);
  const octaves = row.octaves ?? [];
  const samples: [string, Labels, number][] = [];
  let below = 0;
  for (let octave = 0; octave <= LAST_OCTAVE; octave++) {
    below += octaves[octave] ?? 0;
    // Times are whole nanoseconds, and a bucket has its limit in it.
    if (octave >= FIRST_OCTAVE)
      samples.push(["_bucket", { ...labels, le: number((2 ** (octave + 1) - 1) / NS) }, below]);
  }
  samples.push(["_bucket", { ...labels, le: "+Inf" }, row.count]);
  samples.push(["_sum", labels, (averageNs * row.count) / NS], ["_count", labels, row.count]);
  return samples;
}

function familyLines({ name, type, unit, help, samples }: Family, format: MetricsFormat): string[] {
  // The older format calls a counter's family as its sample.
  const family = format === "prometheus" && type === "counter" ? `${name}_total` : name;
  return [
    `# TYPE ${family} ${type}`,
    ...(unit !== undefined && format === "openmetrics" ? [`# UNIT ${family} ${unit}`] : []),
    `# HELP ${family} ${help}`,
    ...samples.map(([suffix, labels, value]) => `${name}${suffix}${labelText(labels)} ${number(value)}`),
  ];
}

function labelText(labels: Labels): string {
  const list = Object.entries(labels).map(([name, value]) => `${name}="${escaped(String(value))}"`);
  return list.length === 0 ? "" : `{${list.join(",")}}`;
}

/** Names of machines are anybody's choice. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function number(value: number): string {
  return String(value);
}
