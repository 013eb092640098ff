/**
 * The exit ledger, version 1: a memfd named `tools-kvm-ledger`, little-endian. Written by run() (native/ledger.h) and by the machine (current
 * slot, state), read by whoever can open /proc/PID/fd/N.
 *
 *   header, one page | slot table | one block for each vCPU, page-aligned
 *
 * A block is a page of header (LedgerVcpu) and `slotCount` slots: counters (LedgerSlotCounters, 64 bytes), then two histograms of
 * `bucketCount` u64: time inside KVM_RUN that ended in this exit, and time from that return to the next call. Slot n below 64 is exit
 * reason n with no device named (63: every reason above); slots from 64 on are what the machine declared. The memfd is sparse and
 * sealed against shrinking: slots never used cost nothing, and a reader may map it without fear of SIGBUS.
 */
import { KvmError } from "../error.js";
import { BUCKET_COUNT, SUB_BUCKET_BITS } from "./histogram.js";

export const LEDGER_MEMFD_NAME = "tools-kvm-ledger";
export const LEDGER_MAGIC = "KVMLEDG1";
export const LEDGER_VERSION = 1;
export const LEDGER_HEADER_BYTES = 4096;
export const LEDGER_TABLE_ENTRY_BYTES = 64;
export const LEDGER_VCPU_HEADER_BYTES = 4096;
export const LEDGER_SLOT_COUNTER_BYTES = 64;
export const LEDGER_SLOT_BYTES = LEDGER_SLOT_COUNTER_BYTES + 2 * BUCKET_COUNT * 8;
export const LEDGER_FIRST_DEVICE_SLOT = 64;
/** Reasons of 63 and above. */
export const LEDGER_OTHER_SLOT = 63;
export const LEDGER_NAME_BYTES = 64;
export const LEDGER_DEVICE_BYTES = 32;
/** Of the file with the guest's symbols, and of why there is none; both empty where the writer says nothing. */
export const LEDGER_PATH_BYTES = 1024;
export const LEDGER_REASON_BYTES = 256;
export const LEDGER_MAX_VCPUS = 4096;
export const LEDGER_MAX_SLOTS = 16384;
const PAGE_BYTES = 4096;

/** Byte offsets in the header page. */
export const HEADER = {
  magic: 0,
  version: 8,
  headerBytes: 12,
  pid: 16,
  vcpuCount: 20,
  slotCount: 24,
  slotBytes: 28,
  vcpuBlockBytes: 32,
  subBucketBits: 36,
  bucketCount: 40,
  minimumUnitNs: 44,
  machineName: 48,
  createdNs: 112,
  slotTableOffset: 120,
  vcpuHeaderBytes: 124,
  vcpuOffset: 128,
  guestSymbols: 136,
  noGuestSymbols: 136 + LEDGER_PATH_BYTES,
} as const;

/** Byte offsets in one entry of the slot table. */
export const TABLE = { exitReason: 0, direction: 4, detail: 8, deviceName: 16 } as const;

/** Byte offsets in a vCPU block's header. */
export const VCPU = { id: 0, tid: 4, state: 8, currentSlot: 12, lastEnterNs: 16, lastExitNs: 24 } as const;

/** Byte offsets in a slot. */
export const SLOT = {
  count: 0,
  kernelNs: 8,
  handlerNs: 16,
  minKernelNs: 24,
  maxKernelNs: 32,
  minHandlerNs: 40,
  maxHandlerNs: 48,
  kernelHistogram: LEDGER_SLOT_COUNTER_BYTES,
  handlerHistogram: LEDGER_SLOT_COUNTER_BYTES + BUCKET_COUNT * 8,
} as const;

/** What a vCPU is doing, as the ledger says it. */
export const LedgerVcpuState = { notStarted: 0, inGuest: 1, inHandler: 2, paused: 3, stopped: 4 } as const;

export const LedgerDirection = { none: 0, in: 1, out: 2 } as const;

const pages = (bytes: number) => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;

/** Where everything is in a ledger of so many vCPUs and slots. */
export class LedgerLayout {
  readonly vcpuCount: number;
  readonly slotCount: number;
  readonly slotTableOffset: number;
  readonly vcpuOffset: number;
  readonly vcpuBlockBytes: number;
  readonly sizeBytes: number;

  constructor(vcpuCount: number, slotCount: number) {
    if (!Number.isInteger(vcpuCount) || vcpuCount < 1 || vcpuCount > LEDGER_MAX_VCPUS) {
      throw new KvmError("INVALID", "ledger", 0, `${vcpuCount} vCPUs: 1 to ${LEDGER_MAX_VCPUS} are possible`);
    }
    if (!Number.isInteger(slotCount) || slotCount < LEDGER_FIRST_DEVICE_SLOT || slotCount > LEDGER_MAX_SLOTS) {
      throw new KvmError(
        "INVALID",
        "ledger",
        0,
        `${slotCount} slots: ${LEDGER_FIRST_DEVICE_SLOT} to ${LEDGER_MAX_SLOTS} are possible`,
      );
    }
    this.vcpuCount = vcpuCount;
    this.slotCount = slotCount;
    this.slotTableOffset = LEDGER_HEADER_BYTES;
    this.vcpuOffset = pages(this.slotTableOffset + slotCount * LEDGER_TABLE_ENTRY_BYTES);
    this.vcpuBlockBytes = pages(LEDGER_VCPU_HEADER_BYTES + slotCount * LEDGER_SLOT_BYTES);
    this.sizeBytes = this.vcpuOffset + vcpuCount * this.vcpuBlockBytes;
  }

  /** The block of the vCPU at `index` (its place in `vcpuIds`, not its id). */
  vcpuBlockOffset(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.vcpuCount) {
      throw new KvmError("INVALID", "ledger", 0, `vCPU ${index} of ${this.vcpuCount}`);
    }
    return this.vcpuOffset + index * this.vcpuBlockBytes;
  }

  slotOffset(vcpuIndex: number, slot: number): number {
    return this.vcpuBlockOffset(vcpuIndex) + LEDGER_VCPU_HEADER_BYTES + slot * LEDGER_SLOT_BYTES;
  }
}

/** The histogram parameters a version 1 ledger has. */
export const HISTOGRAM_PARAMETERS = {
  subBucketBits: SUB_BUCKET_BITS,
  bucketCount: BUCKET_COUNT,
  minimumUnitNs: 1,
} as const;
