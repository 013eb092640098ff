/** The command line of `npm run bench`. */
import { parseArgs } from "node:util";

export interface CommandLine {
  /** Undefined: list what there is. */
  readonly bench: string | undefined;
  /** Only cases whose name begins so; all when left out. */
  readonly only?: string;
  readonly quick: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

/** What the user typed makes no sense; the message is one line. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export function parseCommandLine(argv: readonly string[], benches: readonly string[]): CommandLine {
  const { values, positionals } = parsed(argv);
  const [bench, only, ...more] = positionals;
  if (more.length > 0) throw new UsageError(`one bench and one case at a time: ${positionals.join(" ")}`);
  if (bench !== undefined && !benches.includes(bench)) {
    throw new UsageError(`no bench ${bench}; there are ${benches.join(", ")}`);
  }
  return { bench, only, quick: values.quick === true, json: values.json === true, help: values.help === true };
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { quick: { type: "boolean" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" } },
    });
  } catch (error) {
    // Node adds advice on how to pass such a word as an argument; there are no such arguments here.
    throw new UsageError((error as Error).message.split(". ")[0]!);
  }
}
