/**
 * The Firefox Profiler's processed profile format, version 48 (its docs-developer/CHANGELOG-formats.md and the types of that version):
 * a thread a vCPU, with a marker an exit, and the samples beside them as stacks of two: where, and the function. profiler.firefox.com brings older versions up to its own when it loads them.
 */
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import type { ExportFormat, ExportOptions } from "./format.js";
import { TextOutput, type Write } from "./output.js";
import { SAMPLE_MODES, type SamplePlace, type SampleTrack, SampleTracks } from "./sample-tracks.js";
import { readTracks, type Track, type Tracks } from "./tracks.js";

const VERSION = 48;
/** That of Gecko's own format, which the processed one was made from. */
const GECKO_VERSION = 29;
const NS_PER_MS = 1e6;
/** Phases of a marker: a moment, or a stretch of time. */
const INSTANT = 0;
const INTERVAL = 1;
/** Categories by their index: the first is for what has none, those of samples are in the order of SAMPLE_MODES. */
const EXIT = 1;
const FIRST_MODE = 2;

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
    { name: "Guest kernel", color: "blue", subcategories: ["Other"] },
    { name: "Guest user", color: "yellow", subcategories: ["Other"] },
    { name: "Host", color: "transparent", subcategories: ["Other"] },
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
  write(recording: PerfDataReader, write: Write, { symbolsOf }: ExportOptions): readonly string[] {
    const samples = new SampleTracks(symbolsOf);
    const tracks = readTracks(recording, samples);
    const output = new TextOutput(write);
    output.text(`{"meta":${JSON.stringify(META)},"libs":[],"pages":[],"counters":[],"profilerOverhead":[],"threads":[`);
    tracks.tracks.forEach((track, index) => {
      output.text(index === 0 ? "\n" : ",\n");
      thread(track, tracks, samples, output, index === 0);
    });
    output.text("\n]}\n");
    output.flush();
    return tracks.notes;
  },
};

function thread(track: Track, tracks: Tracks, samples: SampleTracks, output: TextOutput, isFirst: boolean): void {
  const { pid, tid, vcpu } = track.thread;
  const { kinds } = tracks;
  const what = {
    ...{ name: vcpu < 0 ? `thread ${tid}` : `vCPU ${vcpu}`, processName: tracks.machineOf(track.thread) },
    ...{ processType: "default", isMainThread: isFirst, pid: String(pid), tid },
    ...{ processStartupTime: 0, processShutdownTime: null, registerTime: 0, unregisterTime: null, pausedRanges: [] },
    ...stacks(samples.places, kinds.length),
    stringArray: [
      ...kinds.map(({ reason }) => reason),
      ...SAMPLE_MODES,
      ...samples.places.map(({ name }) => name ?? ""),
    ],
  };
  output.text(`${JSON.stringify(what).slice(0, -1)},`);
  sampleTable(samples.of(track.thread), output);
  output.text(`,"markers":{"length":${track.length}`);
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

function sampleTable(samples: SampleTrack | undefined, output: TextOutput): void {
  const { timeNs, place } = samples ?? { timeNs: [], place: [] };
  output.text(`"samples":{"length":${timeNs.length},"weightType":"samples","weight":null`);
  output.text(`,"stack":[${place.map((index) => SAMPLE_MODES.length + index).join()}]`);
  output.text(`,"time":[${timeNs.map((ns) => ns / NS_PER_MS).join()}]}`);
}

/** A stack, a frame and a function for each mode, and then for each place, below its mode's. Names begin at `firstName`. */
function stacks(places: readonly SamplePlace[], firstName: number) {
  const modes = places.map(({ mode }) => SAMPLE_MODES.indexOf(mode));
  const all = [...SAMPLE_MODES.keys(), ...modes];
  const length = all.length;
  const filled = <Value>(value: Value): Value[] => new Array<Value>(length).fill(value);
  const numbers = [...all.keys()];
  const category = all.map((mode) => FIRST_MODE + mode);
  // A place without a function of its own is its mode's.
  const func = numbers.map((index) => {
    const place = places[index - SAMPLE_MODES.length];
    return place !== undefined && place.name === undefined ? all[index]! : index;
  });
  return {
    stackTable: {
      ...{ length, frame: numbers, category, subcategory: filled(0) },
      prefix: numbers.map((index) => (func[index] === index && index >= SAMPLE_MODES.length ? all[index]! : null)),
    },
    frameTable: {
      ...{ length, address: filled(-1), inlineDepth: filled(0), category, subcategory: filled(0), func },
      ...{ nativeSymbol: filled(null), innerWindowID: filled(0), implementation: filled(null) },
      ...{ line: filled(null), column: filled(null) },
    },
    funcTable: {
      ...{ length, name: numbers.map((index) => firstName + index), isJS: filled(false), relevantForJS: filled(false) },
      ...{ resource: filled(-1), fileName: filled(null), lineNumber: filled(null), columnNumber: filled(null) },
    },
    resourceTable: { length: 0, lib: [], name: [], host: [], type: [] },
    nativeSymbols: { length: 0, libIndex: [], address: [], name: [], functionSize: [] },
  };
}
