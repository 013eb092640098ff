/**
 * The Firefox Profiler's processed profile format, version 48 (its docs-developer/CHANGELOG-formats.md and the types of that version):
 * a thread a vCPU, with a marker an exit. profiler.firefox.com brings older versions up to its own when it loads them.
 */
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import type { ExportFormat } from "./format.js";
import { TextOutput, type Write } from "./output.js";
import { readTracks, type Track, type Tracks } from "./tracks.js";

const VERSION = 48;
/** That of Gecko's own format, which the processed one was made from. */
const GECKO_VERSION = 29;
const NS_PER_MS = 1e6;
/** Phases of a marker: a moment, or a stretch of time. */
const INSTANT = 0;
const INTERVAL = 1;
/** The category by its index: the first is for what has none. */
const EXIT = 1;

const META = {
  interval: 1,
  startTime: 0,
  processType: 0,
  product: "perf-kvm",
  stackwalk: 0,
  debug: false,
  version: GECKO_VERSION,
  preprocessedProfileVersion: VERSION,
  symbolicated: true,
  categories: [
    { name: "Other", color: "grey", subcategories: ["Other"] },
    { name: "Exit", color: "orange", subcategories: ["Other"] },
  ],
  markerSchema: [
    {
      name: "KvmExit",
      display: ["marker-chart", "marker-table", "timeline-overview"],
      chartLabel: "{marker.name} {marker.data.detail}",
      tooltipLabel: "{marker.name} {marker.data.detail}",
      tableLabel: "{marker.data.detail}",
      data: [{ key: "detail", label: "Port, address or MSR", format: "string", searchable: true }],
    },
  ],
  sampleUnits: { time: "ms", eventDelay: "ms", threadCPUDelta: "ns" },
  usesOnlyOneStackType: true,
  doesNotUseFrameImplementation: true,
  sourceCodeIsNotOnSearchfox: true,
  extensions: { length: 0, baseURL: [], id: [], name: [] },
};

export const firefox: ExportFormat = {
  summary: "exits as markers on a track a vCPU, for profiler.firefox.com",
  write(recording: PerfDataReader, write: Write): readonly string[] {
    const tracks = readTracks(recording);
    const output = new TextOutput(write);
    output.text(`{"meta":${JSON.stringify(META)},"libs":[],"pages":[],"counters":[],"profilerOverhead":[],"threads":[`);
    tracks.tracks.forEach((track, index) => {
      output.text(index === 0 ? "\n" : ",\n");
      thread(track, tracks, output, index === 0);
    });
    output.text("\n]}\n");
    output.flush();
    return tracks.notes;
  },
};

function thread(track: Track, tracks: Tracks, output: TextOutput, isFirst: boolean): void {
  const { pid, tid, vcpu } = track.thread;
  const { kinds } = tracks;
  const what = {
    ...{ name: vcpu < 0 ? `thread ${tid}` : `vCPU ${vcpu}`, processName: tracks.machineOf(track.thread) },
    ...{ processType: "default", isMainThread: isFirst, pid: String(pid), tid },
    ...{ processStartupTime: 0, processShutdownTime: null, registerTime: 0, unregisterTime: null, pausedRanges: [] },
    ...EMPTY_TABLES,
    stringArray: kinds.map(({ reason }) => reason),
  };
  output.text(`${JSON.stringify(what).slice(0, -1)},"markers":{"length":${track.length}`);
  const column = (name: string, value: (index: number) => string | number): void => {
    output.text(`,"${name}":[`);
    for (let i = 0; i < track.length; i++) output.text(`${i === 0 ? "" : ","}${value(i)}`);
    output.text("]");
  };
  const isMoment = (index: number): boolean => Number.isNaN(track.endNs[index]!);
  const payloads = kinds.map(({ detail }) => JSON.stringify({ type: "KvmExit", detail }));
  column("category", () => EXIT);
  column("name", (index) => track.kind[index]!);
  column("phase", (index) => (isMoment(index) ? INSTANT : INTERVAL));
  column("startTime", (index) => track.startNs[index]! / NS_PER_MS);
  column("endTime", (index) => (isMoment(index) ? "null" : track.endNs[index]! / NS_PER_MS));
  column("data", (index) => payloads[track.kind[index]!]!);
  output.text("}}");
}

const columns = (...names: string[]) => ({ length: 0, ...Object.fromEntries(names.map((name) => [name, []])) });
/** There are no samples, hence no stacks. */
const EMPTY_TABLES = {
  samples: { ...columns("stack", "time", "weight"), weightType: "samples" },
  stackTable: columns("frame", "category", "subcategory", "prefix"),
  frameTable: columns(
    ...["address", "inlineDepth", "category", "subcategory", "func", "nativeSymbol", "innerWindowID"],
    ...["implementation", "line", "column"],
  ),
  funcTable: columns("name", "isJS", "relevantForJS", "resource", "fileName", "lineNumber", "columnNumber"),
  resourceTable: columns("lib", "name", "host", "type"),
  nativeSymbols: columns("libIndex", "address", "name", "functionSize"),
};
