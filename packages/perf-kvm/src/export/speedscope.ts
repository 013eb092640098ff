/** speedscope.app's own format (speedscope's file-format-schema.json): a profile a vCPU, with an evented stack of reason and detail. */
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import type { ExportFormat } from "./format.js";
import { TextOutput, type Write } from "./output.js";
import { readTracks, type Track } from "./tracks.js";

export const speedscope: ExportFormat = {
  summary: "each vCPU's exits in time, for speedscope.app",
  write(recording: PerfDataReader, write: Write): readonly string[] {
    const { tracks, kinds, nameOf, endNs, notes } = readTracks(recording);
    const output = new TextOutput(write);
    const frames = kinds.map(({ reason, detail }) => ({ name: detail === "" ? reason : `${reason} ${detail}` }));
    const schema = "https://www.speedscope.app/file-format-schema.json";
    output.text(`{"$schema":"${schema}","exporter":"perf-kvm","shared":${JSON.stringify({ frames })},"profiles":[`);
    tracks.forEach((track, index) => {
      const name = JSON.stringify(nameOf(track.thread));
      output.text(`${index === 0 ? "" : ","}\n{"type":"evented","name":${name},"unit":"nanoseconds",`);
      output.text(`"startValue":0,"endValue":${endNs},"events":[`);
      events(track, output);
      output.text("]}");
    });
    output.text("\n]}\n");
    output.flush();
    return notes;
  },
};

/** Opened and closed by turns. A frame never begins before the last one ended: two records may have the same time, no earlier one. */
function events({ length, kind, startNs, endNs }: Track, output: TextOutput): void {
  let lastNs = 0;
  for (let i = 0; i < length; i++) {
    const start = Math.max(lastNs, startNs[i]!);
    const end = Number.isNaN(endNs[i]!) ? start : Math.max(start, endNs[i]!);
    const frame = kind[i];
    output.text(
      `${i === 0 ? "" : ","}{"type":"O","frame":${frame},"at":${start}},{"type":"C","frame":${frame},"at":${end}}`,
    );
    lastNs = end;
  }
}
