import { readdirSync, readlinkSync } from "node:fs";
import { KvmError } from "./error.js";
import * as k from "./generated/kvm-constants.js";
import { StatsDesc, StatsHeader } from "./generated/layouts.js";
import { Kind, made, SharableHandle } from "./handle.js";
import { native } from "./load-native.js";
import type { NativeHandle } from "./native.d.ts";

export type StatsType = "cumulative" | "instant" | "peak" | "linear histogram" | "log histogram";
export type StatsUnit = "none" | "bytes" | "seconds" | "cycles" | "boolean";

/** One counter of a statistics descriptor. */
export interface StatsDescriptor {
  name: string;
  type: StatsType;
  /** The value times base^exponent is in this unit: seconds with base 10, exponent -9 are nanoseconds. */
  unit: StatsUnit;
  base: 10 | 2;
  exponent: number;
  /** Where its first value is in `values`. */
  index: number;
  /** Values it has: 1, or the buckets of a histogram. */
  count: number;
  /** Width of a linear histogram's buckets. */
  bucketSize: number;
}

/** A statistics descriptor found in a process. */
export interface OpenStats {
  fd: number;
  owner: "vm" | "vcpu";
  /** The vCPU's id; -1 of a VM. */
  vcpuId: number;
}

const TYPES: readonly StatsType[] = ["cumulative", "instant", "peak", "linear histogram", "log histogram"];
const UNITS: readonly StatsUnit[] = ["none", "bytes", "seconds", "cycles", "boolean"];
const MAX_DESCRIPTORS = 65_536;
const MAX_NAME_BYTES = 4096;
const MAX_DATA_BYTES = 16 * 2 ** 20;

function invalid(detail: string): never {
  throw new KvmError("INVALID", "KVM statistics", 0, detail);
}

function readText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/**
 * A VM's or vCPU's counters: KVM_GET_STATS_FD and its binary format (api.rst, 4.133). The kernel gives such a descriptor to the VM's own
 * process only, but an open one can be taken from it (StatsFd.take) and read by anybody with the right to ptrace it.
 */
export class StatsFd extends SharableHandle {
  /** "kvm-1234" or "kvm-1234/vcpu-0": the process and the object. */
  readonly id: string;
  readonly descriptors: readonly StatsDescriptor[];
  /** All values, refreshed by read(). A descriptor's are at `index`. */
  readonly values: BigUint64Array;
  readonly #bytes: Uint8Array;
  readonly #dataOffset: number;
  readonly #byName: ReadonlyMap<string, StatsDescriptor>;

  /** @internal */
  constructor(handle: NativeHandle, by: typeof made) {
    super(handle, by);
    const head = new StatsHeader(this.#part(0, StatsHeader.sizeBytes, "header"));
    if (head.nameSize === 0 || head.nameSize > MAX_NAME_BYTES) invalid(`names of ${head.nameSize} bytes`);
    if (head.numDesc > MAX_DESCRIPTORS) invalid(`${head.numDesc} descriptors`);
    this.id = readText(this.#part(head.idOffset, head.nameSize, "id"));
    const descriptorBytes = StatsDesc.sizeBytes + head.nameSize;
    const table = this.#part(head.descOffset, head.numDesc * descriptorBytes, "descriptors");
    // Descriptors are not in the order of their values; the data block ends where the furthest does.
    let words = 0;
    this.descriptors = Array.from({ length: head.numDesc }, (_, i) => {
      const bytes = table.slice(i * descriptorBytes, (i + 1) * descriptorBytes);
      const desc = new StatsDesc(bytes);
      const name = readText(bytes.subarray(StatsDesc.sizeBytes));
      const type = TYPES[(desc.flags & k.KVM_STATS_TYPE_MASK) >> k.KVM_STATS_TYPE_SHIFT];
      const unit = UNITS[(desc.flags & k.KVM_STATS_UNIT_MASK) >> k.KVM_STATS_UNIT_SHIFT];
      if (type === undefined || unit === undefined) invalid(`${name} has flags 0x${desc.flags.toString(16)}`);
      if (desc.offset % 8 !== 0 || desc.size === 0 || desc.offset + desc.size * 8 > MAX_DATA_BYTES) {
        invalid(`${name} has ${desc.size} values at ${desc.offset}`);
      }
      words = Math.max(words, desc.offset / 8 + desc.size);
      const base = (desc.flags & k.KVM_STATS_BASE_MASK) === k.KVM_STATS_BASE_POW2 ? 2 : 10;
      return {
        name,
        type,
        unit,
        base,
        exponent: desc.exponent,
        index: desc.offset / 8,
        count: desc.size,
        bucketSize: desc.bucketSize,
      };
    });
    this.values = new BigUint64Array(words);
    this.#bytes = new Uint8Array(this.values.buffer);
    this.#dataOffset = head.dataOffset;
    this.#byName = new Map(this.descriptors.map((d) => [d.name, d]));
  }

  static attach(token: number): StatsFd {
    return new StatsFd(native.attach(token, Kind.stats), made);
  }

  /**
   * A duplicate of a statistics descriptor that another process has open.
   * @throws KvmError EPERM without ptrace rights over it; EBADF, ESRCH; `INVALID` when it is something else
   */
  static take(pid: number, fd: number): StatsFd {
    const handle = native.pidfdGetfd(pid, fd, Kind.stats);
    try {
      return new StatsFd(handle, made);
    } catch (error) {
      native.close(handle);
      throw error;
    }
  }

  /** The statistics descriptors that a process has open, by /proc/PID/fd. Empty when it is gone or may not be looked at. */
  static find(pid: number): OpenStats[] {
    let names: string[];
    try {
      names = readdirSync(`/proc/${pid}/fd`);
    } catch {
      return [];
    }
    return names.flatMap((name): OpenStats[] => {
      try {
        const target = readlinkSync(`/proc/${pid}/fd/${name}`);
        if (target === "anon_inode:kvm-vm-stats") return [{ fd: Number(name), owner: "vm", vcpuId: -1 }];
        const vcpu = /^anon_inode:kvm-vcpu-stats:(\d+)$/.exec(target);
        return vcpu === null ? [] : [{ fd: Number(name), owner: "vcpu", vcpuId: Number(vcpu[1]) }];
      } catch {
        return []; // closed meanwhile
      }
    });
  }

  /** Refreshes `values` and returns it: one read, nothing allocated. */
  read(): BigUint64Array {
    const length = native.fileRead(this.native, this.#bytes, this.#dataOffset);
    if (length !== this.#bytes.length) invalid(`${length} of ${this.#bytes.length} bytes of values`);
    return this.values;
  }

  /** The first (or only) value of a counter as of the last read(), as a number; undefined when there is no such counter. */
  value(name: string): number | undefined {
    const descriptor = this.#byName.get(name);
    return descriptor && Number(this.values[descriptor.index]);
  }

  descriptor(name: string): StatsDescriptor | undefined {
    return this.#byName.get(name);
  }

  #part(offset: number, length: number, what: string): Uint8Array {
    const bytes = new Uint8Array(length);
    const got = native.fileRead(this.native, bytes, offset);
    if (got !== length) invalid(`the ${what} ends after ${got} of ${length} bytes`);
    return bytes;
  }
}
