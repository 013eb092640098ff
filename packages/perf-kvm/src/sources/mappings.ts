/** The executable mappings of a process (proc(5), /proc/PID/maps), as a recording has them. */
import { readFileSync } from "node:fs";
import type { Mapping } from "./perf-data/writer.js";

const LINE = /^([0-9a-f]+)-([0-9a-f]+) (r|-)(w|-)x(p|s) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) +(\/.*|\[vdso\])$/;
/** mmap(2). */
const PROT = { READ: 1, WRITE: 2, EXEC: 4 } as const;
const MAP = { SHARED: 1, PRIVATE: 2 } as const;
/** PATH_MAX; a record could hold more. */
const LONGEST_PATH = 4096;

/** None when the process is gone or may not be looked at. */
export function mappingsOf(pid: number): Mapping[] {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/maps`, "latin1");
  } catch {
    return [];
  }
  return text.split("\n").flatMap((line) => mappingOf(line) ?? []);
}

export function mappingOf(line: string): Mapping | undefined {
  const match = LINE.exec(line);
  if (match === null) return undefined;
  const [, start, end, read, write, share, offset, major, minor, inode, path] = match as unknown as string[];
  const hex = (digits: string): number => Number.parseInt(digits, 16);
  return {
    start: hex(start!),
    sizeBytes: hex(end!) - hex(start!),
    fileOffset: hex(offset!),
    deviceMajor: hex(major!),
    deviceMinor: hex(minor!),
    inode: Number(inode),
    protection: PROT.EXEC | (read === "r" ? PROT.READ : 0) | (write === "w" ? PROT.WRITE : 0),
    flags: share === "p" ? MAP.PRIVATE : MAP.SHARED,
    path: path!.slice(0, LONGEST_PATH),
  };
}
