import { KvmError } from "./error.js";
import { KVM_GET_MSRS, KVM_SET_MSRS } from "./generated/kvm-constants.js";
import { MsrRecord, MsrsHead } from "./generated/layouts.js";
import type { IoctlHandle } from "./handle.js";
import { listOf } from "./struct-view.js";

export interface MsrEntry {
  index: number;
  data: bigint;
}

function encode(entries: ArrayLike<{ index: number; data: bigint | number }>): Uint8Array {
  listOf(entries, "MSRs");
  const bytes = new Uint8Array(MsrsHead.sizeBytes + entries.length * MsrRecord.sizeBytes);
  new MsrsHead(bytes).nmsrs = entries.length;
  for (let i = 0; i < entries.length; i++) {
    const { index, data } = entries[i]!;
    record(bytes, i).assign({ index, data });
  }
  return bytes;
}

function record(bytes: Uint8Array, i: number): MsrRecord {
  return new MsrRecord(bytes.subarray(MsrsHead.sizeBytes + i * MsrRecord.sizeBytes));
}

// The kernel stops at the first MSR it does not take and says how many it did: half a state is nobody's wish.
function refuse(ioctl: string, index: number): never {
  throw new KvmError("UNSUPPORTED", ioctl, 0, `KVM does not take MSR 0x${index.toString(16)}`);
}

/** @internal */
export function readMsrs(handle: IoctlHandle, indices: ArrayLike<number>): MsrEntry[] {
  const bytes = encode(Array.from(listOf(indices, "MSRs"), (index) => ({ index, data: 0n })));
  const done = handle.ioctlBytes(KVM_GET_MSRS, bytes);
  if (done < indices.length) refuse("KVM_GET_MSRS", indices[done]!);
  return Array.from(indices, (index, i) => ({ index, data: record(bytes, i).data }));
}

/** @internal */
export function writeMsrs(handle: IoctlHandle, entries: readonly { index: number; data: bigint | number }[]): void {
  const done = handle.ioctlBytes(KVM_SET_MSRS, encode(entries));
  if (done < entries.length) refuse("KVM_SET_MSRS", entries[done]!.index);
}
