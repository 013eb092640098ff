/** Google's pprof: a gzipped protocol buffer (github.com/google/pprof, proto/profile.proto). Each stack has both values. */
import { gzipSync } from "node:zlib";
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import type { ExportFormat, ExportOptions } from "./format.js";
import type { Write } from "./output.js";
import { ProtobufWriter } from "./protobuf.js";
import { type ExitStack, exitStacks } from "./stacks.js";

/** Numbers of fields in profile.proto. */
const PROFILE = { sampleType: 1, sample: 2, location: 4, function: 5, strings: 6, durationNs: 10, defaultType: 14 };
const VALUE_TYPE = { type: 1, unit: 2 };
const SAMPLE = { locations: 1, values: 2 };
const LOCATION = { id: 1, line: 4 };
const LINE = { function: 1 };
const FUNCTION = { id: 1, name: 2, systemName: 3 };

export const pprof: ExportFormat = {
  summary: "a profile for go tool pprof and what reads its format",
  isBinary: true,
  write(recording: PerfDataReader, write: Write, { value }: ExportOptions): readonly string[] {
    const { stacks, seconds, notes } = exitStacks(recording);
    write(gzipSync(profile(stacks, seconds * 1e9, value === "time" ? "away" : "exits")));
    return notes;
  },
};

/** Exported for tests. */
export function profile(stacks: readonly ExitStack[], durationNs: number, defaultType: string): Uint8Array {
  const strings = new Numbers([""]);
  const frames = new Numbers();
  const profile = new ProtobufWriter();
  const valueType = (type: string, unit: string): ProtobufWriter =>
    new ProtobufWriter().varint(VALUE_TYPE.type, strings.of(type)).varint(VALUE_TYPE.unit, strings.of(unit));
  profile.message(PROFILE.sampleType, valueType("exits", "count"));
  profile.message(PROFILE.sampleType, valueType("away", "nanoseconds"));
  for (const { frames: names, count, awayNs } of stacks) {
    // The leaf comes first; identifiers begin with 1.
    const locations = [...names].reverse().map((name) => 1 + frames.of(name));
    const sample = new ProtobufWriter().packed(SAMPLE.locations, locations).packed(SAMPLE.values, [count, awayNs ?? 0]);
    profile.message(PROFILE.sample, sample);
  }
  frames.list.forEach((name, index) => {
    const line = new ProtobufWriter().varint(LINE.function, 1 + index);
    profile.message(PROFILE.location, new ProtobufWriter().varint(LOCATION.id, 1 + index).message(LOCATION.line, line));
    const named = new ProtobufWriter().varint(FUNCTION.id, 1 + index).varint(FUNCTION.name, strings.of(name));
    profile.message(PROFILE.function, named.varint(FUNCTION.systemName, strings.of(name)));
  });
  const defaultIndex = strings.of(defaultType);
  for (const text of strings.list) profile.string(PROFILE.strings, text);
  profile.varint(PROFILE.durationNs, Math.round(durationNs)).varint(PROFILE.defaultType, defaultIndex);
  return profile.finish();
}

/** Gives each text a number, in the order of their coming. */
class Numbers {
  readonly list: string[] = [];
  readonly #byText = new Map<string, number>();

  constructor(first: readonly string[] = []) {
    for (const text of first) this.of(text);
  }

  of(text: string): number {
    let number = this.#byText.get(text);
    if (number === undefined) {
      number = this.list.push(text) - 1;
      this.#byText.set(text, number);
    }
    return number;
  }
}
