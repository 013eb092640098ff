import { CpuidHead, CpuidRecord } from "./generated/layouts.js";
import { listOf } from "./struct-view.js";

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

function bits(value: unknown): number {
  if (typeof value !== "number") throw new TypeError("a CPUID leaf is made of numbers");
  return value >>> 0;
}

/** struct kvm_cpuid2 with room for `entries` leaves, by default exactly the given ones. */
export function encodeCpuid(
  leaves: readonly CpuidEntry[],
  entries = listOf(leaves, "CPUID leaves").length,
): Uint8Array {
  const bytes = new Uint8Array(CpuidHead.sizeBytes + entries * CpuidRecord.sizeBytes);
  new CpuidHead(bytes).nent = entries;
  leaves.forEach((leaf, i) => {
    // Registers are bit patterns: what bit operators made negative is the same 32 bits.
    const [fn, index, flags, eax, ebx, ecx, edx] = [
      leaf.function,
      leaf.index,
      leaf.flags,
      leaf.eax,
      leaf.ebx,
      leaf.ecx,
      leaf.edx,
    ].map(bits);
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
