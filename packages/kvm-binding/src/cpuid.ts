import { CpuidHead, CpuidRecord } from "./generated/layouts.js";

/** One CPUID leaf as KVM keeps it. `index` counts when `flags` has KVM_CPUID_FLAG_SIGNIFCANT_INDEX. All values unsigned. */
export interface CpuidEntry {
  function: number;
  index: number;
  flags: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** struct kvm_cpuid2 with room for `entries` leaves, by default exactly the given ones. */
export function encodeCpuid(leaves: readonly CpuidEntry[], entries = leaves.length): Uint8Array {
  const bytes = new Uint8Array(CpuidHead.sizeBytes + entries * CpuidRecord.sizeBytes);
  new CpuidHead(bytes).nent = entries;
  leaves.forEach((leaf, i) => {
    const { function: fn, index, flags, eax, ebx, ecx, edx } = leaf;
    record(bytes, i).assign({ function: fn, index, flags, eax, ebx, ecx, edx });
  });
  return bytes;
}

export function decodeCpuid(bytes: Uint8Array): CpuidEntry[] {
  return Array.from({ length: new CpuidHead(bytes).nent }, (_, i) => {
    const { function: fn, index, flags, eax, ebx, ecx, edx } = record(bytes, i);
    return { function: fn, index, flags, eax, ebx, ecx, edx };
  });
}

function record(bytes: Uint8Array, i: number): CpuidRecord {
  return new CpuidRecord(bytes.subarray(CpuidHead.sizeBytes + i * CpuidRecord.sizeBytes));
}
