/** Stacks of one line each, as flamegraph.pl, inferno and speedscope read them: frames joined by semicolons, a space, a number. */
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import { ExportError, type ExportFormat, type ExportOptions } from "./format.js";
import type { Write } from "./output.js";
import { exitStacks } from "./stacks.js";

export const folded: ExportFormat = {
  summary: "stacks of one line each, for flame graphs",
  write(recording: PerfDataReader, write: Write, { value }: ExportOptions): readonly string[] {
    const { stacks, notes } = exitStacks(recording);
    if (value === "time" && stacks.length > 0 && stacks.every(({ awayNs }) => awayNs === null))
      throw new ExportError("no exit in it has an end, so there is no time to show; --value count shows how many");
    const lines = stacks.map(({ frames, count, awayNs }) => {
      // A semicolon would be two frames.
      const stack = frames.map((frame) => frame.replaceAll(";", ":")).join(";");
      return `${stack} ${value === "time" ? (awayNs ?? 0) : count}\n`;
    });
    write(Buffer.from(lines.join(""), "utf8"));
    return notes;
  },
};
