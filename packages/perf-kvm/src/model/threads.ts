/** Names of processes and threads, as a recording tells them (PERF_RECORD_COMM, PERF_RECORD_FORK). */
import { PERF_RECORD_COMM, PERF_RECORD_FORK } from "@tools-kvm/kvm-binding/uapi";

const TID_OFFSET = 12;
const COMM_OFFSET = 16;
/** FORK: pid, ppid, tid, ptid. */
const FORK_TID_OFFSET = 16;
const FORK_PARENT_TID_OFFSET = 20;
const FORK_BYTES = 24;
/** TASK_COMM_LEN. */
const LONGEST_NAME = 16;
/** A host has fewer processes; a file may claim more. */
const MOST_NAMES = 2 ** 20;

export class ThreadNames {
  readonly #names = new Map<number, string>([[0, "swapper"]]);

  /** Takes note of a record that begins at `at`; records of other types say nothing here. */
  note(view: DataView, at: number): void {
    const type = view.getUint32(at, true);
    const end = at + view.getUint16(at + 6, true);
    if (type === PERF_RECORD_COMM && end >= at + COMM_OFFSET) {
      this.#set(view.getUint32(at + TID_OFFSET, true), text(view, at + COMM_OFFSET, end));
    } else if (type === PERF_RECORD_FORK && end >= at + FORK_BYTES) {
      const parent = this.#names.get(view.getUint32(at + FORK_PARENT_TID_OFFSET, true));
      if (parent !== undefined) this.#set(view.getUint32(at + FORK_TID_OFFSET, true), parent);
    }
  }

  /** The name of a thread; `:TID`, as perf has it, when nobody has told. */
  of(tid: number): string {
    return this.#names.get(tid) ?? `:${tid | 0}`;
  }

  #set(tid: number, name: string): void {
    if (this.#names.size < MOST_NAMES || this.#names.has(tid)) this.#names.set(tid, name);
  }
}

/** A name that anybody may choose: without what would steer a terminal. */
function text(view: DataView, at: number, end: number): string {
  let name = "";
  for (let i = at; i < end && name.length < LONGEST_NAME; i++) {
    const byte = view.getUint8(i);
    if (byte === 0) break;
    name += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "?";
  }
  return name;
}
