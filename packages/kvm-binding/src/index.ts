/**
 * KVM for Node.js: ioctls, guest memory, eventfds, the exit ledger. The native layer of tools-kvm; it knows no device, no boot, no report.
 * docs/binding.md tells about threads and lifetimes.
 */
export { CoalescedRingView } from "./coalesced.js";
export type { CpuidEntry } from "./cpuid.js";
export { KvmError, type KvmErrorCode } from "./error.js";
export { EventFd, monotonicNs } from "./eventfd.js";
export { FileRing } from "./file-ring.js";
export * as fsAt from "./fs-at.js";
export * from "./generated/kvm-constants.js";
export * from "./generated/layouts.js";
export * from "./generated/perf-constants.js";
export * from "./generated/system-constants.js";
export { isLockedByOthers, pageMisalignment, punchHole, tryLock, zeroRange } from "./host-file.js";
export { Kvm } from "./kvm.js";
export * from "./ledger/histogram.js";
export * from "./ledger/layout.js";
export {
  ExitLedger,
  type GuestSymbolsPlace,
  type LedgerSlot,
  type LedgerSlotSnapshot,
  type LedgerSnapshot,
  type LedgerVcpuSnapshot,
  type SharedExitLedger,
} from "./ledger/ledger.js";
export { GUEST_MEMORY_MAX_BYTES, GuestMemory, type SharedGuestMemory } from "./memory.js";
export type { MsrEntry } from "./msr.js";
export { ReceivedFd, Tap, UnixListener, UnixSocket } from "./net.js";
export { encodePerfAttr, type PerfAttr, type PerfCount, PerfEvent, PerfRing, type PerfTarget } from "./perf.js";
export { Poller } from "./poller.js";
export { Pty } from "./pty.js";
export { type OpenStats, type StatsDescriptor, StatsFd, type StatsType, type StatsUnit } from "./stats.js";
export { type StructInit, StructView } from "./struct-view.js";
export { Vcpu } from "./vcpu.js";
export {
  dirtyBitmapBytes,
  GuestMemfd,
  type IrqRoutingEntry,
  KvmDevice,
  type MsrFilterRange,
  type UserMemoryRegion,
  Vm,
} from "./vm.js";
export { type Watch, watch } from "./watch.js";
