/**
 * What CPUID tells the guest: the host KVM's supported leaves, with this machine's topology, and with only those
 * paravirtual features that the host can serve. Leaf layouts: Intel SDM vol 2A "CPUID", AMD APM vol 3 appendix E,
 * KVM's own leaves: Documentation/virt/kvm/x86/cpuid.rst.
 */
import type { CpuidEntry } from "@tools-kvm/kvm-binding";

export interface CpuidPolicy {
  readonly cpus: number;
  /** False where a hypercall never returns (kvm-pvm): then the guest is told of no KVM feature at all. */
  readonly paravirtual: boolean;
  /** True when the local APIC timer has TSC-deadline mode (KVM_CAP_TSC_DEADLINE_TIMER). */
  readonly tscDeadlineTimer: boolean;
}

const ECX_TSC_DEADLINE = 1 << 24;
const ECX_X2APIC = 1 << 21;
const ECX_HYPERVISOR = 1 << 31;
const EDX_HTT = 1 << 28;

const KVM_SIGNATURE_LEAF = 0x4000_0000;
const KVM_FEATURES_LEAF = 0x4000_0001;

/** Bits that hold `count` different ids. */
function idBits(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}

/** The entries for one vCPU. All CPUs are cores of one package, one thread each. */
export function cpuidFor(supported: readonly CpuidEntry[], apicId: number, policy: CpuidPolicy): CpuidEntry[] {
  const entries = supported
    .filter(({ function: leaf }) => leaf !== 0xb && leaf !== 0x1f && leaf !== 0x8000_0026)
    .map((entry) => adjust({ ...entry }, apicId, policy));
  return [...entries, ...topologyLeaf(apicId, policy.cpus)];
}

function adjust(entry: CpuidEntry, apicId: number, { cpus, paravirtual, tscDeadlineTimer }: CpuidPolicy): CpuidEntry {
  switch (entry.function) {
    case 0x1:
      // EBX: 31-24 initial APIC id, 23-16 addressable ids in the package.
      entry.ebx = ((entry.ebx & 0xffff) | (Math.min(cpus, 255) << 16) | ((apicId & 0xff) << 24)) >>> 0;
      entry.ecx = (entry.ecx | ECX_HYPERVISOR | ECX_X2APIC) >>> 0;
      if (tscDeadlineTimer) entry.ecx = (entry.ecx | ECX_TSC_DEADLINE) >>> 0;
      entry.edx = (cpus > 1 ? entry.edx | EDX_HTT : entry.edx & ~EDX_HTT) >>> 0;
      break;
    case 0x4:
      // EAX 31-26: cores a package less one; 25-14: threads sharing this cache less one (caches are per core here).
      entry.eax = ((entry.eax & 0x3fff) | ((Math.min(cpus, 64) - 1) << 26)) >>> 0;
      break;
    case KVM_SIGNATURE_LEAF:
      if (!paravirtual) entry.eax = KVM_SIGNATURE_LEAF;
      break;
    case KVM_FEATURES_LEAF:
      if (!paravirtual) entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
      break;
    case 0x8000_0008:
      // ECX: 15-12 bits of the APIC id within the package, 7-0 threads less one.
      entry.ecx = ((idBits(cpus) << 12) | (Math.min(cpus, 256) - 1)) >>> 0;
      break;
    case 0x8000_001e:
      // EAX extended APIC id, EBX 7-0 core id, 15-8 threads a core less one.
      entry.eax = apicId;
      entry.ebx = apicId & 0xff;
      entry.ecx = 0;
      break;
  }
  return entry;
}

/** Leaf 0xb: level 0 (thread) has one member, level 1 (core) has them all. */
function topologyLeaf(apicId: number, cpus: number): CpuidEntry[] {
  const SIGNIFICANT_INDEX = 1; // KVM_CPUID_FLAG_SIGNIFCANT_INDEX
  const level = (index: number, shift: number, members: number, type: number): CpuidEntry => ({
    function: 0xb,
    index,
    flags: SIGNIFICANT_INDEX,
    eax: shift,
    ebx: members,
    ecx: (type << 8) | index,
    edx: apicId,
  });
  return [level(0, 0, 1, 1), level(1, idBits(cpus), cpus, 2), level(2, 0, 0, 0)];
}
