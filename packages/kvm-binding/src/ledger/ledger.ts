import { readdirSync, readlinkSync, statSync } from "node:fs";
import { KvmError } from "../error.js";
import { native } from "../load-native.js";
import { GuestMemory, type SharedGuestMemory } from "../memory.js";
import type { NativeHandle } from "../native.d.ts";
import { u32Bytes, u64Bytes } from "../struct-view.js";
import { BUCKET_COUNT } from "./histogram.js";
import {
  HEADER,
  HISTOGRAM_PARAMETERS,
  LEDGER_DEVICE_BYTES,
  LEDGER_FIRST_DEVICE_SLOT,
  LEDGER_HEADER_BYTES,
  LEDGER_MAGIC,
  LEDGER_MEMFD_NAME,
  LEDGER_NAME_BYTES,
  LEDGER_PATH_BYTES,
  LEDGER_REASON_BYTES,
  LEDGER_SLOT_BYTES,
  LEDGER_SLOT_COUNTER_BYTES,
  LEDGER_TABLE_ENTRY_BYTES,
  LEDGER_VCPU_HEADER_BYTES,
  LEDGER_VERSION,
  LedgerDirection,
  LedgerLayout,
  SLOT,
  TABLE,
  VCPU,
} from "./layout.js";

/** What a slot of the ledger counts: exits of one reason, in one direction, at one device. */
export interface LedgerSlot {
  /** KVM_EXIT_* */
  reason: number;
  /** 0 none, 1 in (the guest reads), 2 out (the guest writes). */
  direction: number;
  /** First port, guest-physical address or MSR of the device's region. */
  detail: bigint | number;
  /** At most 31 bytes of UTF-8; longer names are cut. */
  device: string;
}

export interface SharedExitLedger {
  memory: SharedGuestMemory;
  vcpuCount: number;
  slotCount: number;
}

/** One slot's counters at the moment of the snapshot. Times in nanoseconds. */
export interface LedgerSlotSnapshot extends LedgerSlot {
  slot: number;
  detail: number;
  count: number;
  /** Sum of the time inside KVM_RUN that ended in this exit: guest and kernel. */
  kernelNs: number;
  /** Sum of the time from that return to the next call. */
  handlerNs: number;
  minKernelNs: number;
  maxKernelNs: number;
  minHandlerNs: number;
  maxHandlerNs: number;
  /** Counts by bucket (ledger/histogram.ts): percentileNs(kernelHistogram, 99). */
  kernelHistogram: Float64Array;
  handlerHistogram: Float64Array;
}

export interface LedgerVcpuSnapshot {
  id: number;
  tid: number;
  /** LedgerVcpuState */
  state: number;
  currentSlot: number;
  /** CLOCK_MONOTONIC */
  lastEnterNs: number;
  lastExitNs: number;
  /** Slots with a count, in slot order. */
  slots: LedgerSlotSnapshot[];
}

export interface LedgerSnapshot {
  machineName: string;
  pid: number;
  /** CLOCK_MONOTONIC */
  createdNs: number;
  takenNs: number;
  vcpus: LedgerVcpuSnapshot[];
}

/** An ELF file that has the guest kernel's symbols at the addresses where it runs; or why there is none. */
export type GuestSymbolsPlace = { readonly path: string } | { readonly why: string };

/** Puts text into a NUL-padded field, cut at a whole character. */
function putText(field: Uint8Array, text: string): void {
  if (typeof text !== "string") throw new TypeError("a name in the ledger must be a string");
  field.fill(0);
  new TextEncoder().encodeInto(text, field.subarray(0, field.length - 1));
}

function getText(field: Uint8Array): string {
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

/** The layout that a ledger's header states, every field checked against this version and against the size of the file. */
function readLayout(handle: NativeHandle): LedgerLayout {
  const invalid = (detail: string): never => {
    throw new KvmError("INVALID", "ledger", 0, detail);
  };
  const sizeBytes = native.mappedSize(handle);
  if (sizeBytes < LEDGER_HEADER_BYTES) invalid(`${sizeBytes} bytes are less than a header`);
  const bytes = new Uint8Array(LEDGER_HEADER_BYTES);
  native.mappedBytes(handle, 0, bytes);
  const view = new DataView(bytes.buffer);
  const field = (name: keyof typeof HEADER) => view.getUint32(HEADER[name], true);
  const expect = (name: Parameters<typeof field>[0], wanted: number) => {
    if (field(name) !== wanted) invalid(`${name} is ${field(name)}, not ${wanted}`);
  };
  if (new TextDecoder("latin1").decode(bytes.subarray(HEADER.magic, HEADER.magic + 8)) !== LEDGER_MAGIC)
    invalid("no ledger: the magic is missing");
  expect("version", LEDGER_VERSION);
  expect("headerBytes", LEDGER_HEADER_BYTES);
  expect("slotBytes", LEDGER_SLOT_BYTES);
  expect("subBucketBits", HISTOGRAM_PARAMETERS.subBucketBits);
  expect("bucketCount", HISTOGRAM_PARAMETERS.bucketCount);
  expect("minimumUnitNs", HISTOGRAM_PARAMETERS.minimumUnitNs);
  expect("vcpuHeaderBytes", LEDGER_VCPU_HEADER_BYTES);
  const layout = new LedgerLayout(field("vcpuCount"), field("slotCount"));
  expect("slotTableOffset", layout.slotTableOffset);
  expect("vcpuBlockBytes", layout.vcpuBlockBytes);
  if (view.getBigUint64(HEADER.vcpuOffset, true) !== BigInt(layout.vcpuOffset))
    invalid(`vcpuOffset is not ${layout.vcpuOffset}`);
  if (sizeBytes < layout.sizeBytes) invalid(`${sizeBytes} bytes, but its vCPUs and slots need ${layout.sizeBytes}`);
  return layout;
}

/**
 * The exit ledger of one machine: as the machine writes it (create, attach), or as another process reads it (openPid, open).
 * docs/binding.md says what it is for; ledger/layout.ts where everything lies.
 */
export class ExitLedger implements Disposable {
  readonly layout: LedgerLayout;
  readonly #handle: NativeHandle;
  readonly #memory: GuestMemory | null;

  private constructor(handle: NativeHandle, layout: LedgerLayout, memory: GuestMemory | null) {
    this.#handle = handle;
    this.layout = layout;
    this.#memory = memory;
  }

  /** @internal The memory that run() writes to. Only the machine's own process has it. */
  get memory(): GuestMemory {
    if (this.#memory === null) throw new KvmError("INVALID", "ledger", 0, "it was opened for reading");
    return this.#memory;
  }

  /**
   * A new ledger. Slots 0 to 63 are the exit reasons; the given ones follow from 64 on, in order.
   * @param o.vcpuIds the vCPUs; elsewhere they are named by their index here
   */
  static create(o: { machineName: string; vcpuIds: readonly number[]; slots?: readonly LedgerSlot[] }): ExitLedger {
    const slots = o.slots ?? [];
    const layout = new LedgerLayout(o.vcpuIds.length, LEDGER_FIRST_DEVICE_SLOT + slots.length);
    const memory = GuestMemory.create({ sizeBytes: layout.sizeBytes, name: LEDGER_MEMFD_NAME });
    const { bytes } = memory;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let n = 0; n < layout.slotCount; n++) {
      const at = layout.slotTableOffset + n * LEDGER_TABLE_ENTRY_BYTES;
      const slot =
        n < LEDGER_FIRST_DEVICE_SLOT
          ? { reason: n, direction: LedgerDirection.none, detail: 0, device: "" }
          : slots[n - LEDGER_FIRST_DEVICE_SLOT]!;
      bytes.set(u32Bytes(slot.reason, "ledger slot's reason"), at + TABLE.exitReason);
      bytes.set(u32Bytes(slot.direction, "ledger slot's direction"), at + TABLE.direction);
      bytes.set(u64Bytes(slot.detail, "ledger slot's detail"), at + TABLE.detail);
      putText(bytes.subarray(at + TABLE.deviceName, at + TABLE.deviceName + LEDGER_DEVICE_BYTES), slot.device);
    }
    for (const [index, id] of o.vcpuIds.entries())
      bytes.set(u32Bytes(id, "vCPU id"), layout.vcpuBlockOffset(index) + VCPU.id);
    view.setUint32(HEADER.version, LEDGER_VERSION, true);
    view.setUint32(HEADER.headerBytes, LEDGER_HEADER_BYTES, true);
    view.setUint32(HEADER.pid, process.pid, true);
    view.setUint32(HEADER.vcpuCount, layout.vcpuCount, true);
    view.setUint32(HEADER.slotCount, layout.slotCount, true);
    view.setUint32(HEADER.slotBytes, LEDGER_SLOT_BYTES, true);
    view.setUint32(HEADER.vcpuBlockBytes, layout.vcpuBlockBytes, true);
    view.setUint32(HEADER.subBucketBits, HISTOGRAM_PARAMETERS.subBucketBits, true);
    view.setUint32(HEADER.bucketCount, HISTOGRAM_PARAMETERS.bucketCount, true);
    view.setUint32(HEADER.minimumUnitNs, HISTOGRAM_PARAMETERS.minimumUnitNs, true);
    putText(bytes.subarray(HEADER.machineName, HEADER.machineName + LEDGER_NAME_BYTES), o.machineName);
    view.setBigUint64(HEADER.createdNs, BigInt(native.monotonicNs()), true);
    view.setUint32(HEADER.slotTableOffset, layout.slotTableOffset, true);
    view.setUint32(HEADER.vcpuHeaderBytes, LEDGER_VCPU_HEADER_BYTES, true);
    view.setBigUint64(HEADER.vcpuOffset, BigInt(layout.vcpuOffset), true);
    // The magic comes last: a reader that sees it sees a whole header.
    bytes.set(new TextEncoder().encode(LEDGER_MAGIC), HEADER.magic);
    return new ExitLedger(memory.native, layout, memory);
  }

  /** Says where the guest kernel's symbols are, or why nowhere. Only the machine's own process can. */
  setGuestSymbols(symbols: GuestSymbolsPlace): void {
    const { bytes } = this.memory;
    const [path, why] = "path" in symbols ? [symbols.path, ""] : ["", symbols.why];
    // A path that is cut is another file's.
    const fits = new TextEncoder().encode(path).length < LEDGER_PATH_BYTES;
    putText(bytes.subarray(HEADER.guestSymbols, HEADER.guestSymbols + LEDGER_PATH_BYTES), fits ? path : "");
    const reason = fits ? why : "their path is too long";
    putText(bytes.subarray(HEADER.noGuestSymbols, HEADER.noGuestSymbols + LEDGER_REASON_BYTES), reason);
  }

  /** What the machine says of its guest kernel's symbols; undefined when it says nothing. */
  get guestSymbols(): GuestSymbolsPlace | undefined {
    const head = new Uint8Array(LEDGER_HEADER_BYTES);
    native.mappedBytes(this.#handle, 0, head);
    const path = getText(head.subarray(HEADER.guestSymbols, HEADER.guestSymbols + LEDGER_PATH_BYTES));
    if (path !== "") return { path };
    const why = getText(head.subarray(HEADER.noGuestSymbols, HEADER.noGuestSymbols + LEDGER_REASON_BYTES));
    return why === "" ? undefined : { why };
  }

  /**
   * The ledgers of a running machine's process, found by their memfd's name among its open files and mapped read-only.
   * Empty when the process has none, is gone, or may not be looked at.
   * @throws KvmError `INVALID` for a file of that name that is no ledger of version 1
   */
  static openPid(pid: number): ExitLedger[] {
    const folder = `/proc/${pid}/fd`;
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch {
      return [];
    }
    const seen = new Set<bigint>();
    const ledgers: ExitLedger[] = [];
    try {
      for (const name of names) {
        const path = `${folder}/${name}`;
        let inode: bigint;
        try {
          if (!readlinkSync(path).startsWith(`/memfd:${LEDGER_MEMFD_NAME}`)) continue;
          inode = statSync(path, { bigint: true }).ino;
        } catch {
          continue; // closed meanwhile
        }
        if (seen.has(inode)) continue;
        seen.add(inode);
        ledgers.push(ExitLedger.open(path));
      }
    } catch (error) {
      for (const ledger of ledgers) ledger.close();
      throw error;
    }
    return ledgers;
  }

  /** One ledger by path (/proc/PID/fd/N). It must be sealed against shrinking, as every ledger is. */
  static open(path: string): ExitLedger {
    const handle = native.sealedOpen(path);
    try {
      return new ExitLedger(handle, readLayout(handle), null);
    } catch (error) {
      native.close(handle);
      throw error;
    }
  }

  /**
   * What has been counted by now. The writer goes on meanwhile: a slot's fields may be one exit apart from each other, each is whole.
   */
  snapshot(): LedgerSnapshot {
    const { layout } = this;
    const head = new Uint8Array(layout.slotTableOffset + layout.slotCount * LEDGER_TABLE_ENTRY_BYTES);
    native.mappedBytes(this.#handle, 0, head);
    const view = new DataView(head.buffer);
    const counters = new Float64Array(LEDGER_SLOT_COUNTER_BYTES / 8);
    const vcpus = Array.from({ length: layout.vcpuCount }, (_, index): LedgerVcpuSnapshot => {
      const block = layout.vcpuBlockOffset(index);
      const ids = new Uint32Array(4);
      const times = new Float64Array(2);
      native.mappedBytes(this.#handle, block, ids);
      native.mappedDoubles(this.#handle, block + VCPU.lastEnterNs, times);
      const slots: LedgerSlotSnapshot[] = [];
      for (let slot = 0; slot < layout.slotCount; slot++) {
        const at = layout.slotOffset(index, slot);
        native.mappedDoubles(this.#handle, at, counters);
        if (counters[SLOT.count / 8] === 0) continue;
        const kernelHistogram = new Float64Array(BUCKET_COUNT);
        const handlerHistogram = new Float64Array(BUCKET_COUNT);
        native.mappedDoubles(this.#handle, at + SLOT.kernelHistogram, kernelHistogram);
        native.mappedDoubles(this.#handle, at + SLOT.handlerHistogram, handlerHistogram);
        const entry = layout.slotTableOffset + slot * LEDGER_TABLE_ENTRY_BYTES;
        slots.push({
          slot,
          reason: view.getUint32(entry + TABLE.exitReason, true),
          direction: view.getUint32(entry + TABLE.direction, true),
          detail: Number(view.getBigUint64(entry + TABLE.detail, true)),
          device: getText(head.subarray(entry + TABLE.deviceName, entry + TABLE.deviceName + LEDGER_DEVICE_BYTES)),
          count: counters[SLOT.count / 8]!,
          kernelNs: counters[SLOT.kernelNs / 8]!,
          handlerNs: counters[SLOT.handlerNs / 8]!,
          minKernelNs: counters[SLOT.minKernelNs / 8]!,
          maxKernelNs: counters[SLOT.maxKernelNs / 8]!,
          minHandlerNs: counters[SLOT.minHandlerNs / 8]!,
          maxHandlerNs: counters[SLOT.maxHandlerNs / 8]!,
          kernelHistogram,
          handlerHistogram,
        });
      }
      return {
        id: ids[VCPU.id / 4]!,
        tid: ids[VCPU.tid / 4]!,
        state: ids[VCPU.state / 4]!,
        currentSlot: ids[VCPU.currentSlot / 4]!,
        lastEnterNs: times[0]!,
        lastExitNs: times[1]!,
        slots,
      };
    });
    return {
      machineName: getText(head.subarray(HEADER.machineName, HEADER.machineName + LEDGER_NAME_BYTES)),
      pid: view.getUint32(HEADER.pid, true),
      createdNs: Number(view.getBigUint64(HEADER.createdNs, true)),
      takenNs: native.monotonicNs(),
      vcpus,
    };
  }

  /** For `attach` in a Worker: `postMessage(ledger.share())`. */
  share(): SharedExitLedger {
    return { memory: this.memory.share(), vcpuCount: this.layout.vcpuCount, slotCount: this.layout.slotCount };
  }

  static attach(shared: SharedExitLedger): ExitLedger {
    const layout = new LedgerLayout(shared.vcpuCount, shared.slotCount);
    const memory = GuestMemory.attach(shared.memory);
    if (memory.sizeBytes !== layout.sizeBytes) {
      memory.close();
      throw new KvmError("INVALID", "ledger", 0, "the shared memory is not a ledger of that many vCPUs and slots");
    }
    return new ExitLedger(memory.native, layout, memory);
  }

  /**
   * One element: the slot that the exit being handled counts for. run() sets it to the exit reason; the handler overwrites it with its
   * device's slot. @param index the vCPU's place in `vcpuIds`
   */
  currentSlot(index: number): Int32Array {
    return new Int32Array(
      this.memory.bytes.buffer,
      this.memory.bytes.byteOffset + this.layout.vcpuBlockOffset(index) + VCPU.currentSlot,
      1,
    );
  }

  /** One element: what the vCPU is doing (LedgerVcpuState). run() sets 1 and 2; the machine sets 3 (paused) and 4 (stopped). */
  vcpuState(index: number): Int32Array {
    return new Int32Array(
      this.memory.bytes.buffer,
      this.memory.bytes.byteOffset + this.layout.vcpuBlockOffset(index) + VCPU.state,
      1,
    );
  }

  get closed(): boolean {
    return native.closed(this.#handle);
  }

  close(): void {
    native.close(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
