/** Files under /proc, of processes that may be gone, foreign or hostile: what cannot be read is absent, never an error. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Names in a folder; undefined when it may not be read or is gone. */
export function entriesOf(folder: string): string[] | undefined {
  try {
    return readdirSync(folder);
  } catch {
    return undefined;
  }
}

export function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

export function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Text that anybody may have chosen, without what would steer a terminal. */
export function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?");
}

/** A process and all that it has started, and so on (proc_pid_task(5), children). */
export function withDescendants(pid: number, proc = "/proc"): number[] {
  const children = (entriesOf(`${proc}/${pid}/task`) ?? []).flatMap((tid) =>
    (textOf(`${proc}/${pid}/task/${tid}/children`) ?? "").split(" ").filter((text) => text !== ""),
  );
  return [pid, ...children.flatMap((child) => withDescendants(Number(child), proc))];
}

/** The name of a thread; empty when it is gone. */
export function threadName(pid: number, tid = pid, proc = "/proc"): string {
  return printable((textOf(`${proc}/${pid}/task/${tid}/comm`) ?? "").trimEnd());
}
