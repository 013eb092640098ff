import { CoalescedRingView } from "./coalesced.js";
import { type CpuidEntry, decodeCpuid, encodeCpuid } from "./cpuid.js";
import { KvmError } from "./error.js";
import * as k from "./generated/kvm-constants.js";
import {
  Debugregs,
  EnableCap,
  Fpu,
  GuestDebug,
  LapicState,
  NestedStateHead,
  PreFaultMemory,
  Regs,
  Run,
  Sregs,
  Sregs2,
  TprAccessCtl,
  Translation,
  VcpuEvents,
  X86Mce,
  Xcrs,
  Xsave,
} from "./generated/layouts.js";
import { IoctlHandle, Kind, made } from "./handle.js";
import type { ExitLedger } from "./ledger/ledger.js";
import { native } from "./load-native.js";
import { type MsrEntry, readMsrs, writeMsrs } from "./msr.js";
import type { NativeHandle } from "./native.d.ts";
import { StatsFd } from "./stats.js";
import { type StructInit, toBigInt, u32Bytes, u64Bytes } from "./struct-view.js";

type Address = number | bigint;

const XSAVE_ROOM_BYTES = 64 * 1024;
const NESTED_STATE_ROOM_BYTES = 64 * 1024;
const CPUID_ROOM = 256;

/**
 * A virtual CPU. One thread at a time may be inside run(); every other method may be called from any thread that has a handle, but the kernel
 * makes it wait until the vCPU has left KVM_RUN: kick() first.
 */
export class Vcpu extends IoctlHandle {
  readonly id: number;
  readonly #run: () => number;
  #runPage: ArrayBuffer | undefined;
  #coalesced: CoalescedRingView | undefined;

  /** @internal */
  constructor(handle: NativeHandle, by: typeof made) {
    super(handle, by);
    this.id = native.vcpuId(handle);
    this.#run = native.vcpuRunner(handle);
  }

  static attach(token: number): Vcpu {
    return new Vcpu(native.attach(token, Kind.vcpu), made);
  }

  /**
   * struct kvm_run, the PIO data page and the coalesced ring, as an external ArrayBuffer made for the calling thread: take it in the Worker
   * that runs the vCPU. `RUN_*` are its offsets. A view kept past close() reads stale bytes, no more.
   * @throws KvmError `CLOSED`
   */
  get runPage(): ArrayBuffer {
    if (this.closed) this.#runPage = undefined; // and the native call says why
    this.#runPage ??= native.vcpuRunPage(this.native);
    return this.#runPage;
  }

  /** The run page with names: `vcpu.runView.ioPort`. Not for the run loop. */
  get runView(): Run {
    return new Run(new Uint8Array(this.runPage));
  }

  /** The coalesced ring in this run page; every vCPU of a VM sees the same ring. */
  get coalesced(): CoalescedRingView {
    this.#coalesced ??= new CoalescedRingView(this.runPage);
    return this.#coalesced;
  }

  /**
   * KVM_RUN, on this thread, until the guest needs something.
   * @returns the exit reason (KVM_EXIT_*, >= 0), or -EINTR after a kick or a signal, or -EAGAIN from a vCPU waiting for INIT.
   *   KVM_EXIT_MEMORY_FAULT is returned as a reason although the ioctl fails with it.
   * @throws KvmError for every other errno, `CLOSED`, and `WRONG_THREAD` when another thread is inside run()
   */
  run(): number {
    return this.#run();
  }

  /**
   * From any thread: takes the vCPU out of run(), or makes its next run() return -EINTR at once when it is not inside. Never lost; several
   * kicks before one return are one.
   */
  kick(): void {
    native.vcpuKick(this.native);
  }

  /** run() accounts its exits into block `index` of the ledger from now on; null: no more (the last exit is accounted as handled now). */
  useLedger(ledger: ExitLedger | null, index = 0): void {
    if (ledger === null) {
      native.vcpuUseLedger(this.native, null, 0, 0);
    } else {
      native.vcpuUseLedger(
        this.native,
        ledger.memory.native,
        ledger.layout.vcpuBlockOffset(index),
        ledger.layout.slotCount,
      );
    }
  }

  getRegs(): Regs {
    return this.#get(k.KVM_GET_REGS, new Regs());
  }

  /** KVM_SET_REGS: all of them; plain objects count unnamed registers as 0. */
  setRegs(r: Regs | StructInit<Regs>): void {
    this.ioctlBytes(k.KVM_SET_REGS, (r instanceof Regs ? r : Regs.from(r)).bytes);
  }

  getSregs(): Sregs {
    return this.#get(k.KVM_GET_SREGS, new Sregs());
  }

  setSregs(s: Sregs): void {
    this.ioctlBytes(k.KVM_SET_SREGS, s.bytes);
  }

  /** KVM_GET_SREGS2 (KVM_CAP_SREGS2): as getSregs, with the PDPTRs of PAE guests. */
  getSregs2(): Sregs2 {
    return this.#get(k.KVM_GET_SREGS2, new Sregs2());
  }

  setSregs2(s: Sregs2): void {
    this.ioctlBytes(k.KVM_SET_SREGS2, s.bytes);
  }

  getFpu(): Fpu {
    return this.#get(k.KVM_GET_FPU, new Fpu());
  }

  setFpu(f: Fpu): void {
    this.ioctlBytes(k.KVM_SET_FPU, f.bytes);
  }

  /** KVM_GET_XSAVE: the first 4096 bytes of the XSAVE area, standard format. */
  getXsave(): Xsave {
    return this.#get(k.KVM_GET_XSAVE, new Xsave());
  }

  /**
   * KVM_GET_XSAVE2: the whole XSAVE area.
   * @param sizeBytes vm.checkExtension(KVM_CAP_XSAVE2) says how much there is; at most 64 KiB
   */
  getXsave2(sizeBytes: number): Uint8Array {
    if (!(sizeBytes >= 0 && sizeBytes <= XSAVE_ROOM_BYTES))
      throw new KvmError("INVALID", "KVM_GET_XSAVE2", 0, `${sizeBytes} bytes`);
    const bytes = new Uint8Array(sizeBytes);
    native.vcpuGetXsave2(this.native, bytes);
    return bytes;
  }

  /** KVM_SET_XSAVE: what getXsave or getXsave2 returned. */
  setXsave(state: Xsave | Uint8Array): void {
    native.vcpuSetXsave(this.native, state instanceof Xsave ? state.bytes : state);
  }

  getXcrs(): Xcrs {
    return this.#get(k.KVM_GET_XCRS, new Xcrs());
  }

  setXcrs(x: Xcrs): void {
    this.ioctlBytes(k.KVM_SET_XCRS, x.bytes);
  }

  getDebugregs(): Debugregs {
    return this.#get(k.KVM_GET_DEBUGREGS, new Debugregs());
  }

  setDebugregs(d: Debugregs): void {
    this.ioctlBytes(k.KVM_SET_DEBUGREGS, d.bytes);
  }

  getVcpuEvents(): VcpuEvents {
    return this.#get(k.KVM_GET_VCPU_EVENTS, new VcpuEvents());
  }

  setVcpuEvents(e: VcpuEvents): void {
    this.ioctlBytes(k.KVM_SET_VCPU_EVENTS, e.bytes);
  }

  /** KVM_GET_MP_STATE: KVM_MP_STATE_*. */
  getMpState(): number {
    const state = new Uint32Array(1);
    this.ioctlBytes(k.KVM_GET_MP_STATE, new Uint8Array(state.buffer));
    return state[0]!;
  }

  setMpState(state: number): void {
    this.ioctlBytes(k.KVM_SET_MP_STATE, u32Bytes(state, "KVM_SET_MP_STATE"));
  }

  /** KVM_GET_LAPIC: the local APIC's registers, with an in-kernel irqchip. */
  getLapic(): LapicState {
    return this.#get(k.KVM_GET_LAPIC, new LapicState());
  }

  setLapic(l: LapicState): void {
    this.ioctlBytes(k.KVM_SET_LAPIC, l.bytes);
  }

  /** KVM_GET_MSRS. Throws naming the first MSR that KVM does not have. */
  getMsrs(indices: ArrayLike<number>): MsrEntry[] {
    return readMsrs(this, indices);
  }

  /** KVM_SET_MSRS. Throws naming the first MSR or value that KVM does not take; those before it are set. */
  setMsrs(entries: readonly { index: number; data: Address }[]): void {
    writeMsrs(this, entries);
  }

  /** KVM_SET_CPUID2: what CPUID says to the guest. Before the first run(). */
  setCpuid2(entries: readonly CpuidEntry[]): void {
    this.ioctlBytes(k.KVM_SET_CPUID2, encodeCpuid(entries));
  }

  /** KVM_GET_CPUID2: what setCpuid2 gave it. Linux 6.1 and earlier do not say how many entries that are: the zeros after them are cut here. */
  getCpuid2(): CpuidEntry[] {
    const bytes = encodeCpuid([], CPUID_ROOM);
    this.ioctlBytes(k.KVM_GET_CPUID2, bytes);
    const entries = decodeCpuid(bytes);
    const last = entries.findLastIndex((entry) => Object.values(entry).some((value) => value !== 0));
    return entries.slice(0, last + 1);
  }

  /** KVM_GET_SUPPORTED_HV_CPUID of this vCPU: the Hyper-V leaves that fit what is enabled on it. */
  getSupportedHvCpuid(): CpuidEntry[] {
    const bytes = encodeCpuid([], CPUID_ROOM);
    this.ioctlBytes(k.KVM_GET_SUPPORTED_HV_CPUID, bytes);
    return decodeCpuid(bytes);
  }

  /** KVM_ENABLE_CAP on the vCPU, with up to four arguments. */
  enableCap(cap: number, ...args: Address[]): void {
    if (args.length > 4) throw new KvmError("INVALID", "KVM_ENABLE_CAP", 0, "at most four arguments");
    this.ioctlBytes(k.KVM_ENABLE_CAP, EnableCap.from({ cap, args }).bytes);
  }

  /** KVM_TRANSLATE: where a guest linear address leads under the vCPU's present page tables. */
  translate(linearAddress: Address): Translation {
    return this.#get(k.KVM_TRANSLATE, Translation.from({ linearAddress }));
  }

  /** KVM_INTERRUPT: injects a vector; only without an in-kernel irqchip (or, split: for its PIC). */
  interrupt(vector: number): void {
    this.ioctlBytes(k.KVM_INTERRUPT, u32Bytes(vector, "KVM_INTERRUPT"));
  }

  /** KVM_NMI. */
  nmi(): void {
    this.ioctl(k.KVM_NMI);
  }

  /** KVM_SMI (KVM_CAP_X86_SMM). */
  smi(): void {
    this.ioctl(k.KVM_SMI);
  }

  /** KVM_SET_GUEST_DEBUG. @param o.control KVM_GUESTDBG_* ored; 0 turns it off. @param o.debugreg DR0-DR7 with KVM_GUESTDBG_USE_HW_BP */
  setGuestDebug(o: { control: number; debugreg?: ArrayLike<Address> }): void {
    const debug = GuestDebug.from({ control: o.control, archDebugreg: Array.from(o.debugreg ?? []) });
    this.ioctlBytes(k.KVM_SET_GUEST_DEBUG, debug.bytes);
  }

  /** KVM_SET_SIGNAL_MASK: signals blocked while the guest runs, bit n - 1 for signal n; null undoes it. */
  setSignalMask(mask: bigint | null): void {
    native.vcpuSetSignalMask(this.native, mask === null ? null : u64Bytes(mask, "KVM_SET_SIGNAL_MASK"));
  }

  /** KVM_SET_TSC_KHZ: this vCPU's TSC frequency (KVM_CAP_TSC_CONTROL). */
  setTscKhz(khz: number): void {
    this.ioctl(k.KVM_SET_TSC_KHZ, khz);
  }

  getTscKhz(): number {
    return this.ioctl(k.KVM_GET_TSC_KHZ);
  }

  /** KVM_KVMCLOCK_CTRL: tells the guest that it was paused, so that its watchdog does not take it for a hang. */
  kvmclockCtrl(): void {
    this.ioctl(k.KVM_KVMCLOCK_CTRL);
  }

  /** KVM_TPR_ACCESS_REPORTING: exits on TPR accesses. */
  tprAccessReporting(enabled: boolean): void {
    this.ioctlBytes(k.KVM_TPR_ACCESS_REPORTING, TprAccessCtl.from({ enabled: enabled ? 1 : 0 }).bytes);
  }

  /** KVM_SET_VAPIC_ADDR: the page of the virtual TPR. */
  setVapicAddr(gpa: Address): void {
    this.ioctlBytes(k.KVM_SET_VAPIC_ADDR, u64Bytes(gpa, "KVM_SET_VAPIC_ADDR"));
  }

  /** KVM_X86_SETUP_MCE: the machine-check banks and features, a subset of kvm.getMceCapSupported() with the bank count in the low byte. */
  setupMce(mcgCap: Address): void {
    this.ioctlBytes(k.KVM_X86_SETUP_MCE, u64Bytes(mcgCap, "KVM_X86_SETUP_MCE"));
  }

  /** KVM_X86_SET_MCE: injects a machine check. */
  setMce(mce: StructInit<X86Mce>): void {
    this.ioctlBytes(k.KVM_X86_SET_MCE, X86Mce.from(mce).bytes);
  }

  /** KVM_GET_NESTED_STATE: what the guest's own hypervisor has running (KVM_CAP_NESTED_STATE), 64 KiB at most. */
  getNestedState(): Uint8Array {
    const bytes = new Uint8Array(NESTED_STATE_ROOM_BYTES);
    const head = new NestedStateHead(bytes);
    head.size = bytes.length;
    this.ioctlBytes(k.KVM_GET_NESTED_STATE, bytes);
    return bytes.slice(0, head.size);
  }

  setNestedState(state: Uint8Array): void {
    this.ioctlBytes(k.KVM_SET_NESTED_STATE, state);
  }

  /** KVM_GET_ONE_REG. Its size in bytes is in bits 52-55 of the id, as a power of two. */
  getOneReg(id: bigint): Uint8Array {
    const bytes = new Uint8Array(2 ** Number((toBigInt(id, "KVM_GET_ONE_REG") >> 52n) & 15n));
    native.vcpuOneReg(this.native, false, id, bytes);
    return bytes;
  }

  setOneReg(id: bigint, bytes: Uint8Array): void {
    native.vcpuOneReg(this.native, true, id, bytes);
  }

  /** KVM_PRE_FAULT_MEMORY: fills the second-level page tables ahead. Returns the bytes that are left when it stopped early. */
  preFaultMemory(o: { gpa: Address; sizeBytes: Address }): bigint {
    const range = PreFaultMemory.from({ gpa: o.gpa, size: o.sizeBytes });
    this.ioctlBytes(k.KVM_PRE_FAULT_MEMORY, range.bytes);
    return range.size;
  }

  /** KVM_VCPU_TSC_CTRL / KVM_VCPU_TSC_OFFSET: the guest's TSC minus the host's, modulo 2^64. */
  getTscOffset(): bigint {
    const value = new BigUint64Array(1);
    native.deviceAttr(this.native, k.KVM_GET_DEVICE_ATTR, k.KVM_VCPU_TSC_CTRL, k.KVM_VCPU_TSC_OFFSET, value);
    return value[0]!;
  }

  setTscOffset(offset: bigint): void {
    const value = u64Bytes(BigInt.asUintN(64, toBigInt(offset, "KVM_VCPU_TSC_OFFSET")), "KVM_VCPU_TSC_OFFSET");
    native.deviceAttr(this.native, k.KVM_SET_DEVICE_ATTR, k.KVM_VCPU_TSC_CTRL, k.KVM_VCPU_TSC_OFFSET, value);
  }

  /**
   * Takes entries out of this vCPU's dirty ring as pairs (slot, page in the slot). The pages are watched again after vm.resetDirtyRings().
   * @returns pairs taken, at most half of `into`
   * @throws KvmError `UNSUPPORTED` when the VM has no dirty ring; `WRONG_THREAD` while another thread is inside run()
   */
  drainDirtyRing(into: Float64Array): number {
    return native.vcpuDrainDirtyRing(this.native, into);
  }

  /** KVM_GET_STATS_FD: the vCPU's counters. */
  getStatsFd(): StatsFd {
    return new StatsFd(native.getStatsFd(this.native), made);
  }

  #get<T extends { bytes: Uint8Array }>(request: number, into: T): T {
    this.ioctlBytes(request, into.bytes);
    return into;
  }
}
