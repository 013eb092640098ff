/** `perf-kvm script`: a recording as text, one line an event. */
import { ScriptPrinter } from "../views/script.js";
import { EXIT } from "./errors.js";
import { withRecording } from "./recording.js";
import { NoReader, writeOut } from "./write-out.js";

export interface ScriptOptions {
  readonly input: string;
}

export async function script({ input }: ScriptOptions): Promise<number> {
  return withRecording(input, (reader) => {
    try {
      new ScriptPrinter(reader, writeOut).run();
    } catch (error) {
      if (!(error instanceof NoReader)) throw error;
    }
    return EXIT.OK;
  });
}
