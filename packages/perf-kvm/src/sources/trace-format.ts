/**
 * Tracepoint formats as tracefs describes them (Documentation/trace/events.rst). Ids and offsets change from kernel to
 * kernel, so they are read at run time.
 */
import { existsSync, readFileSync } from "node:fs";

export interface TraceField {
  readonly name: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface TraceFormat {
  readonly name: string;
  /** perf_event_attr.config, and `common_type` of each record. */
  readonly id: number;
  readonly fields: ReadonlyMap<string, TraceField>;
}

/** A format text that is none. */
export class TraceFormatError extends Error {
  override readonly name = "TraceFormatError";
}

const MOUNTS = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/** Where tracefs is; undefined when it is not mounted or not readable. */
export function tracefs(): string | undefined {
  return MOUNTS.find((mount) => existsSync(`${mount}/events/kvm`));
}

/** `field:TYPE NAME[LENGTH]; offset:N; size:N;`, as the kernel prints it for each field. */
const FIELD = /^\tfield:[^;]*?(\w+)(?:\[[^\]]*\])?;\toffset:(\d+);\tsize:(\d+);/;
/** A longer line is none of the kernel's, and would take long to search. */
const LONGEST_FIELD_LINE = 512;

/** Parses the text of an `events/SYSTEM/NAME/format` file. Throws TraceFormatError. */
export function parseTraceFormat(text: string): TraceFormat {
  const name = /^name: (\S+)$/m.exec(text)?.[1];
  const id = /^ID: (\d+)$/m.exec(text)?.[1];
  if (name === undefined || id === undefined) throw new TraceFormatError("a trace format has a name and an ID");
  const fields = new Map<string, TraceField>();
  for (const line of text.split("\n")) {
    const match = line.length > LONGEST_FIELD_LINE ? null : FIELD.exec(line);
    if (match === null) continue;
    const [, field, offset, sizeBytes] = match as unknown as [string, string, string, string];
    fields.set(field, { name: field, offset: Number(offset), sizeBytes: Number(sizeBytes) });
  }
  return { name, id: Number(id), fields };
}

/** The format of a tracepoint of KVM; undefined when this kernel has none of that name or it may not be read. */
export function kvmTraceFormat(event: string): TraceFormat | undefined {
  const mount = tracefs();
  if (mount === undefined) return undefined;
  try {
    return parseTraceFormat(readFileSync(`${mount}/events/kvm/${event}/format`, "latin1"));
  } catch {
    return undefined;
  }
}
