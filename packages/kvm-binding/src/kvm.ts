import { type CpuidEntry, decodeCpuid, encodeCpuid } from "./cpuid.js";
import { KvmError } from "./error.js";
import * as k from "./generated/kvm-constants.js";
import { IoctlHandle, Kind, made } from "./handle.js";
import { native } from "./load-native.js";
import { type MsrEntry, readMsrs } from "./msr.js";
import { Vm } from "./vm.js";

const E2BIG = 7;
const MAX_ENTRIES = 1 << 14;

/** Calls `ask` with growing room until the kernel has enough of it. */
function withRoom<T>(first: number, ask: (entries: number) => T): T {
  for (let entries = first; ; entries *= 2) {
    try {
      return ask(entries);
    } catch (error) {
      if (!(error instanceof KvmError) || error.errno !== E2BIG || entries >= MAX_ENTRIES) throw error;
    }
  }
}

/** `/dev/kvm`: what this host's KVM can do, and the maker of VMs. */
export class Kvm extends IoctlHandle {
  /**
   * Opens KVM and checks that its API is version 12, the only one there is.
   * @throws KvmError `ERRNO` ENOENT, EACCES, EPERM: the message says what to do
   */
  static open(path = "/dev/kvm"): Kvm {
    return new Kvm(native.kvmOpen(path), made);
  }

  static attach(token: number): Kvm {
    return new Kvm(native.attach(token, Kind.kvm), made);
  }

  /** KVM_GET_API_VERSION: 12. */
  getApiVersion(): number {
    return this.ioctl(k.KVM_GET_API_VERSION);
  }

  /** KVM_CHECK_EXTENSION: 0 when absent, otherwise 1 or what the capability's documentation says. */
  checkExtension(cap: number): number {
    return this.ioctl(k.KVM_CHECK_EXTENSION, cap);
  }

  /** KVM_GET_VCPU_MMAP_SIZE: bytes of a vCPU's run page with what follows it. */
  getVcpuMmapSize(): number {
    return this.ioctl(k.KVM_GET_VCPU_MMAP_SIZE);
  }

  /** KVM_CREATE_VM. `type` is one of KVM_X86_*_VM, by default 0. */
  createVm(options: { type?: number } = {}): Vm {
    return new Vm(native.kvmCreateVm(this.native, options.type ?? 0), made);
  }

  /** KVM_GET_SUPPORTED_CPUID: what KVM and this CPU can give a guest together. */
  getSupportedCpuid(): CpuidEntry[] {
    return this.#cpuid(k.KVM_GET_SUPPORTED_CPUID);
  }

  /** KVM_GET_EMULATED_CPUID: features that KVM emulates in software, slowly. */
  getEmulatedCpuid(): CpuidEntry[] {
    return this.#cpuid(k.KVM_GET_EMULATED_CPUID);
  }

  /** KVM_GET_SUPPORTED_HV_CPUID: the Hyper-V leaves KVM can offer. */
  getSupportedHvCpuid(): CpuidEntry[] {
    return this.#cpuid(k.KVM_GET_SUPPORTED_HV_CPUID);
  }

  /** KVM_GET_MSR_INDEX_LIST: the MSRs that a guest has and that getMsrs/setMsrs of a vCPU take. */
  getMsrIndexList(): Uint32Array {
    return this.#msrList(k.KVM_GET_MSR_INDEX_LIST);
  }

  /** KVM_GET_MSR_FEATURE_INDEX_LIST: the MSRs that describe features, readable here by getMsrs. */
  getMsrFeatureIndexList(): Uint32Array {
    return this.#msrList(k.KVM_GET_MSR_FEATURE_INDEX_LIST);
  }

  /** KVM_GET_MSRS on the system: values of feature MSRs. Throws naming the first MSR that KVM does not have. */
  getMsrs(indices: ArrayLike<number>): MsrEntry[] {
    return readMsrs(this, indices);
  }

  /** KVM_X86_GET_MCE_CAP_SUPPORTED: the MCG_CAP bits setupMce of a vCPU may use. */
  getMceCapSupported(): bigint {
    const value = new BigUint64Array(1);
    this.ioctlBytes(k.KVM_X86_GET_MCE_CAP_SUPPORTED, new Uint8Array(value.buffer));
    return value[0]!;
  }

  #cpuid(request: number): CpuidEntry[] {
    return withRoom(128, (entries) => {
      const bytes = encodeCpuid([], entries);
      this.ioctlBytes(request, bytes);
      return decodeCpuid(bytes);
    });
  }

  #msrList(request: number): Uint32Array {
    return withRoom(256, (entries) => {
      const list = new Uint32Array(1 + entries);
      list[0] = entries;
      this.ioctlBytes(request, new Uint8Array(list.buffer));
      return list.slice(1, 1 + list[0]);
    });
  }
}
