import { errnoNames } from "./generated/system-constants.js";

/**
 * - `ERRNO`: the kernel refused; `errno` says why.
 * - `CLOSED`: the handle was closed.
 * - `INVALID`: an argument that can never be right; the kernel was not asked.
 * - `UNSUPPORTED`: this kernel, host or build lacks it.
 * - `WRONG_THREAD`: another thread is inside `run()` of this vCPU.
 */
export type KvmErrorCode = "ERRNO" | "CLOSED" | "INVALID" | "UNSUPPORTED" | "WRONG_THREAD";

/** What to do about the failures that people meet. Key: ioctl and errno name, or errno name alone. */
const advice: Record<string, string> = {
  "open ENOENT":
    "load the kvm module (modprobe kvm_intel or kvm_amd), and see that virtualization is on in the firmware",
  "open EACCES": "add the user to the group that owns it (usermod -aG kvm USER), or run as root",
  "open EPERM": "the container or cgroup does not allow the device: pass /dev/kvm through",
  "KVM_CREATE_VM EBUSY": "another hypervisor holds the CPU's virtualization: unload it",
  "KVM_CREATE_VM EINVAL": "this host has no VM of that type: KVM_CAP_VM_TYPES says which it has",
  "KVM_CREATE_VCPU EEXIST": "the id is taken: vCPU ids are unique in a VM",
  "KVM_CREATE_VCPU EINVAL": "the id must be below KVM_CAP_MAX_VCPU_ID, and the number of vCPUs below KVM_CAP_MAX_VCPUS",
  "KVM_CREATE_IRQCHIP EEXIST": "the VM has an interrupt controller, or vCPUs already: create it first and once",
  "KVM_CREATE_PIT2 ENXIO": "create the irqchip first",
  "KVM_IRQ_LINE ENXIO": "create the irqchip first",
  "KVM_SET_USER_MEMORY_REGION EEXIST": "the range overlaps another slot",
  "KVM_SET_USER_MEMORY_REGION EINVAL":
    "address, size and offset must be whole pages, and a slot's size and read-only flag cannot change in place",
  "KVM_GET_STATS_FD EIO":
    "only the process that owns the VM may ask: take a stats descriptor that is open already (pidfd_getfd)",
  "perf_event_open EACCES": "lower /proc/sys/kernel/perf_event_paranoid, or give CAP_PERFMON",
  "perf_event_open EPERM": "lower /proc/sys/kernel/perf_event_paranoid, or give CAP_PERFMON",
  "perf_event_open EMFILE": "raise the limit of open files (ulimit -n)",
  EMFILE: "raise the limit of open files (ulimit -n)",
  ENOTTY: "this kernel does not know the request: checkExtension() tells before asking",
};

const brand: unique symbol = Symbol.for("@tools-kvm/kvm-binding KvmError");

/**
 * Every failure of this package but a wrong argument type (TypeError).
 *
 * @example
 * try {
 *   vm.createVcpu(0);
 * } catch (error) {
 *   if (error instanceof KvmError && error.errnoName === "EEXIST") return; // somebody was first
 *   throw error;
 * }
 */
export class KvmError extends Error {
  override readonly name = "KvmError";
  /** Two copies of this package in one thread share the native part, and with it the class of its errors: either copy knows them. */
  get [brand](): true {
    return true;
  }

  static override [Symbol.hasInstance](value: unknown): value is KvmError {
    return typeof value === "object" && value !== null && brand in value;
  }

  readonly code: KvmErrorCode;
  /** The ioctl or system call: "KVM_SET_REGS", "mmap". */
  readonly ioctl: string;
  /** errno, 0 when the kernel was not asked. */
  readonly errno: number;
  /** "EINVAL", "" when the kernel was not asked. */
  readonly errnoName: string;

  constructor(code: KvmErrorCode, ioctl: string, errno: number, detail: string, options?: ErrorOptions) {
    const errnoName = errno === 0 ? "" : (errnoNames.get(errno) ?? `errno ${errno}`);
    const said = code === "ERRNO" ? `${ioctl} failed with ${errnoName}` : ioctl;
    const hint = code === "ERRNO" ? (advice[`${ioctl} ${errnoName}`] ?? advice[errnoName]) : undefined;
    super([said, detail && `: ${detail}`, hint && ` (${hint})`].filter(Boolean).join(""), options);
    this.code = code;
    this.ioctl = ioctl;
    this.errno = errno;
    this.errnoName = errnoName;
  }
}
