import { KvmError } from "./error.js";
import type { EventFd } from "./eventfd.js";
import * as k from "./generated/kvm-constants.js";
import {
  ClockData,
  CoalescedZone,
  EnableCap,
  HypervEventfd,
  Ioeventfd,
  Irqchip,
  Irqfd,
  IrqRouting,
  IrqRoutingRecord,
  MemoryAttributes,
  Msi,
  PitConfig,
  PitState2,
  PmuEventFilterHead,
  ReinjectControl,
} from "./generated/layouts.js";
import { Handle, IoctlHandle, Kind, made, SharableHandle, wholeNumber } from "./handle.js";
import { native } from "./load-native.js";
import type { GuestMemory } from "./memory.js";
import { StatsFd } from "./stats.js";
import { listOf, toBigInt, u32Bytes, u64Bytes } from "./struct-view.js";
import { Vcpu } from "./vcpu.js";

type Address = number | bigint;

const PAGE_BYTES = 4096;
const EMPTY = new Uint8Array(0);

/** A guest-physical range and the memory behind it. */
export interface UserMemoryRegion {
  slot: number;
  guestPhysAddr: Address;
  /** null (with no size) removes the slot. */
  memory: GuestMemory | null;
  /** Where in `memory` the slot begins; whole pages, by default 0. */
  offsetBytes?: number;
  /** By default the rest of `memory`; whole pages. */
  sizeBytes?: number;
  /** KVM_MEM_READONLY: guest writes come out as MMIO exits. */
  readonly?: boolean;
  /** KVM_MEM_LOG_DIRTY_PAGES. */
  logDirtyPages?: boolean;
  /** KVM_MEM_GUEST_MEMFD: private memory of a confidential guest; uses KVM_SET_USER_MEMORY_REGION2. */
  guestMemfd?: GuestMemfd;
  guestMemfdOffset?: number;
}

/** Where a GSI leads (KVM_SET_GSI_ROUTING). */
export type IrqRoutingEntry =
  | { gsi: number; type: "irqchip"; irqchip: number; pin: number }
  | { gsi: number; type: "msi"; address: Address; data: number; devid?: number }
  | { gsi: number; type: "hv-sint"; vcpu: number; sint: number };

/** One range of KVM_X86_SET_MSR_FILTER: bit n of `bitmap` set allows MSR `base + n`. */
export interface MsrFilterRange {
  base: number;
  /** MSRs in the range. */
  count: number;
  bitmap: Uint8Array;
  /** Which accesses the bitmap speaks of; by default both. */
  read?: boolean;
  write?: boolean;
}

/** guest_memfd: memory that only the guest can map (KVM_CREATE_GUEST_MEMFD, Linux 6.8). */
export class GuestMemfd extends SharableHandle {
  static attach(token: number): GuestMemfd {
    return new GuestMemfd(native.attach(token, Kind.guestMemfd), made);
  }
}

/** An in-kernel device (KVM_CREATE_DEVICE). Attributes are bytes of the size the kernel documents. */
export class KvmDevice extends Handle {
  getAttr(group: number, attr: Address, bytes: Uint8Array): Uint8Array {
    native.deviceAttr(this.native, k.KVM_GET_DEVICE_ATTR, group, attr, bytes);
    return bytes;
  }

  setAttr(group: number, attr: Address, bytes: Uint8Array): void {
    native.deviceAttr(this.native, k.KVM_SET_DEVICE_ATTR, group, attr, bytes);
  }
}

/**
 * A virtual machine. The kernel keeps it, and this package keeps its guest memory, until the VM and its vCPUs are all closed.
 * Methods are named after their ioctl; Documentation/virt/kvm/api.rst is the source for each.
 */
export class Vm extends IoctlHandle {
  static attach(token: number): Vm {
    return new Vm(native.attach(token, Kind.vm), made);
  }

  /** KVM_CREATE_VCPU. @param id APIC id, unique in the VM */
  createVcpu(id: number): Vcpu {
    return new Vcpu(native.vmCreateVcpu(this.native, id), made);
  }

  /** KVM_CHECK_EXTENSION for this VM: may differ from the system's answer. */
  checkExtension(cap: number): number {
    return this.ioctl(k.KVM_CHECK_EXTENSION, cap);
  }

  /** KVM_ENABLE_CAP: KVM_CAP_SPLIT_IRQCHIP, _X86_DISABLE_EXITS, _EXCEPTION_PAYLOAD, _EXIT_ON_EMULATION_FAILURE, ... with up to four arguments. */
  enableCap(cap: number, ...args: Address[]): void {
    if (args.length > 4) throw new KvmError("INVALID", "KVM_ENABLE_CAP", 0, "at most four arguments");
    this.ioctlBytes(k.KVM_ENABLE_CAP, EnableCap.from({ cap, args }).bytes);
  }

  /**
   * KVM_SET_USER_MEMORY_REGION, or ..._REGION2 with a guestMemfd.
   * The memory stays mapped for the guest until the slot is removed or the VM and its vCPUs are closed, also when `memory` is closed before.
   */
  setUserMemoryRegion(r: UserMemoryRegion): void {
    const { memory, guestMemfd = null } = r;
    const offset = r.offsetBytes ?? 0;
    const size = r.sizeBytes ?? (memory === null ? 0 : memory.sizeBytes - offset);
    const flags = (r.readonly ? k.KVM_MEM_READONLY : 0) | (r.logDirtyPages ? k.KVM_MEM_LOG_DIRTY_PAGES : 0);
    native.vmSetUserMemoryRegion(
      this.native,
      r.slot,
      flags,
      r.guestPhysAddr,
      memory === null ? null : memory.native,
      offset,
      size,
      guestMemfd === null ? null : guestMemfd.native,
      r.guestMemfdOffset ?? 0,
    );
  }

  /**
   * KVM_GET_DIRTY_LOG: bit n of the result is set when page n of the slot was written since the last call (with manual clear: since the
   * last clearDirtyLog). @param bitmap room for it, 8 bytes for each 64 pages
   */
  getDirtyLog(slot: number, bitmap: Uint8Array): Uint8Array {
    native.vmGetDirtyLog(this.native, slot, bitmap);
    return bitmap;
  }

  /** KVM_CLEAR_DIRTY_LOG (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2): clears the pages whose bit is set; firstPage a multiple of 64. */
  clearDirtyLog(slot: number, firstPage: number, pageCount: number, bitmap: Uint8Array): void {
    native.vmClearDirtyLog(this.native, slot, firstPage, pageCount, bitmap);
  }

  /** KVM_RESET_DIRTY_RINGS: protects again the pages that drainDirtyRing took. Returns how many. */
  resetDirtyRings(): number {
    return this.ioctl(k.KVM_RESET_DIRTY_RINGS);
  }

  /** KVM_SET_TSS_ADDR: three pages for Intel's real mode, in the first 4 GiB, no memory slot there. */
  setTssAddr(gpa: number): void {
    this.ioctl(k.KVM_SET_TSS_ADDR, gpa);
  }

  /** KVM_SET_IDENTITY_MAP_ADDR: one page, before the first vCPU. */
  setIdentityMapAddr(gpa: Address): void {
    this.ioctlBytes(k.KVM_SET_IDENTITY_MAP_ADDR, u64Bytes(gpa, "KVM_SET_IDENTITY_MAP_ADDR"));
  }

  /** KVM_SET_BOOT_CPU_ID: which vCPU is the bootstrap processor; before the first vCPU. */
  setBootCpuId(id: number): void {
    this.ioctl(k.KVM_SET_BOOT_CPU_ID, id);
  }

  /** KVM_SET_NR_MMU_PAGES: a limit for shadow page tables. */
  setNrMmuPages(pages: number): void {
    this.ioctl(k.KVM_SET_NR_MMU_PAGES, pages);
  }

  /** KVM_CREATE_IRQCHIP: two 8259, an I/O APIC and a local APIC for each vCPU. Before the first vCPU. */
  createIrqchip(): void {
    this.ioctl(k.KVM_CREATE_IRQCHIP);
  }

  /** KVM_GET_IRQCHIP. @param chipId KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE or _IOAPIC */
  getIrqchip(chipId: number): Irqchip {
    const chip = Irqchip.from({ chipId });
    this.ioctlBytes(k.KVM_GET_IRQCHIP, chip.bytes);
    return chip;
  }

  /** KVM_SET_IRQCHIP. */
  setIrqchip(chip: Irqchip): void {
    this.ioctlBytes(k.KVM_SET_IRQCHIP, chip.bytes);
  }

  /** KVM_CREATE_PIT2: the 8254, after the irqchip. With `speakerDummy` also a stub of port 0x61. */
  createPit2(options: { speakerDummy?: boolean } = {}): void {
    this.ioctlBytes(
      k.KVM_CREATE_PIT2,
      PitConfig.from({ flags: options.speakerDummy ? k.KVM_PIT_SPEAKER_DUMMY : 0 }).bytes,
    );
  }

  getPit2(): PitState2 {
    const pit = new PitState2();
    this.ioctlBytes(k.KVM_GET_PIT2, pit.bytes);
    return pit;
  }

  setPit2(pit: PitState2): void {
    this.ioctlBytes(k.KVM_SET_PIT2, pit.bytes);
  }

  /** KVM_REINJECT_CONTROL: whether PIT ticks that a slow guest missed are injected later. */
  reinjectControl(pitReinject: boolean): void {
    this.ioctlBytes(k.KVM_REINJECT_CONTROL, ReinjectControl.from({ pitReinject: pitReinject ? 1 : 0 }).bytes);
  }

  /** KVM_IRQ_LINE: sets a GSI's level. An edge is 1 and then 0. */
  irqLine(gsi: number, level: number): void {
    native.vmIrqLine(this.native, gsi, level);
  }

  /** KVM_IRQ_LINE_STATUS: as irqLine, and how many CPUs it was delivered to; 0 coalesced, -1 masked. */
  irqLineStatus(gsi: number, level: number): number {
    const line = new Uint8Array(8);
    line.set(u32Bytes(gsi, "KVM_IRQ_LINE_STATUS"));
    line.set(u32Bytes(level, "KVM_IRQ_LINE_STATUS"), 4);
    this.ioctlBytes(k.KVM_IRQ_LINE_STATUS, line);
    return new DataView(line.buffer).getInt32(0, true); // the status takes the GSI's place
  }

  /** KVM_SET_GSI_ROUTING: replaces the whole table. */
  setGsiRouting(entries: readonly IrqRoutingEntry[]): void {
    listOf(entries, "GSI routes");
    const bytes = new Uint8Array(IrqRouting.sizeBytes + entries.length * IrqRoutingRecord.sizeBytes);
    new IrqRouting(bytes).nr = entries.length;
    entries.forEach((entry, i) => {
      const record = new IrqRoutingRecord(bytes.subarray(IrqRouting.sizeBytes + i * IrqRoutingRecord.sizeBytes));
      record.assign({ gsi: entry.gsi });
      if (entry.type === "irqchip") {
        record.assign({ type: k.KVM_IRQ_ROUTING_IRQCHIP, irqchipIrqchip: entry.irqchip, irqchipPin: entry.pin });
      } else if (entry.type === "msi") {
        const address = toBigInt(entry.address, "address");
        record.assign({
          type: k.KVM_IRQ_ROUTING_MSI,
          flags: entry.devid === undefined ? 0 : k.KVM_MSI_VALID_DEVID,
          msiAddressLo: Number(address & 0xffffffffn),
          msiAddressHi: Number(address >> 32n),
          msiData: entry.data,
          msiDevid: entry.devid ?? 0,
        });
      } else if (entry.type === "hv-sint") {
        record.assign({ type: k.KVM_IRQ_ROUTING_HV_SINT, hvSintVcpu: entry.vcpu, hvSintSint: entry.sint });
      } else {
        throw new KvmError("INVALID", "KVM_SET_GSI_ROUTING", 0, `entry ${i} has no known type`);
      }
    });
    this.ioctlBytes(k.KVM_SET_GSI_ROUTING, bytes);
  }

  /**
   * KVM_IRQFD: each signal of `eventfd` is an edge on `gsi`, without leaving the kernel. With `resample` the line stays up until the guest
   * acknowledges it, and `resample` is signalled then (KVM_CAP_IRQFD_RESAMPLE).
   */
  irqfd(o: { eventfd: EventFd; gsi: number; resample?: EventFd; deassign?: boolean }): void {
    const flags = (o.resample ? k.KVM_IRQFD_FLAG_RESAMPLE : 0) | (o.deassign ? k.KVM_IRQFD_FLAG_DEASSIGN : 0);
    this.ioctlBytes(
      k.KVM_IRQFD,
      Irqfd.from({ fd: o.eventfd.fd, gsi: o.gsi, flags, resamplefd: o.resample?.fd ?? 0 }).bytes,
    );
  }

  /**
   * KVM_IOEVENTFD: a guest write to the address signals `eventfd` and is done, with no exit to this process.
   * @param o.lengthBytes the width that matches; 0 any width (no datamatch then)
   * @param o.datamatch only writes of this value; others exit as usual
   */
  ioeventfd(o: {
    eventfd: EventFd;
    addr: Address;
    lengthBytes: 0 | 1 | 2 | 4 | 8;
    datamatch?: Address;
    pio?: boolean;
    deassign?: boolean;
  }): void {
    const flags =
      (o.datamatch === undefined ? 0 : k.KVM_IOEVENTFD_FLAG_DATAMATCH) |
      (o.pio ? k.KVM_IOEVENTFD_FLAG_PIO : 0) |
      (o.deassign ? k.KVM_IOEVENTFD_FLAG_DEASSIGN : 0);
    this.ioctlBytes(
      k.KVM_IOEVENTFD,
      Ioeventfd.from({ datamatch: o.datamatch ?? 0, addr: o.addr, len: o.lengthBytes, fd: o.eventfd.fd, flags }).bytes,
    );
  }

  /** KVM_REGISTER_COALESCED_MMIO: guest writes there gather in the ring of the run page (Vcpu.coalesced) until the next exit. */
  registerCoalescedZone(o: { addr: Address; sizeBytes: number; pio?: boolean }): void {
    this.#coalescedZone(k.KVM_REGISTER_COALESCED_MMIO, o);
  }

  /** KVM_UNREGISTER_COALESCED_MMIO. */
  unregisterCoalescedZone(o: { addr: Address; sizeBytes: number; pio?: boolean }): void {
    this.#coalescedZone(k.KVM_UNREGISTER_COALESCED_MMIO, o);
  }

  /** KVM_SIGNAL_MSI: how many CPUs took it; 0 when the guest blocked it. */
  signalMsi(o: { address: Address; data: number; devid?: number }): number {
    const address = toBigInt(o.address, "address");
    const msi = Msi.from({
      addressLo: Number(address & 0xffffffffn),
      addressHi: Number(address >> 32n),
      data: o.data,
      flags: o.devid === undefined ? 0 : k.KVM_MSI_VALID_DEVID,
      devid: o.devid ?? 0,
    });
    return this.ioctlBytes(k.KVM_SIGNAL_MSI, msi.bytes);
  }

  /** KVM_GET_CLOCK: kvmclock, with the host's clocks at the same moment when `flags` say so. */
  getClock(): ClockData {
    const clock = new ClockData();
    this.ioctlBytes(k.KVM_GET_CLOCK, clock.bytes);
    return clock;
  }

  setClock(clock: ClockData): void {
    this.ioctlBytes(k.KVM_SET_CLOCK, clock.bytes);
  }

  /** KVM_SET_TSC_KHZ: the TSC frequency of vCPUs created from now on (KVM_CAP_VM_TSC_CONTROL). */
  setTscKhz(khz: number): void {
    this.ioctl(k.KVM_SET_TSC_KHZ, khz);
  }

  getTscKhz(): number {
    return this.ioctl(k.KVM_GET_TSC_KHZ);
  }

  /**
   * KVM_X86_SET_MSR_FILTER: which MSR accesses the guest may make; the others fault, or exit with KVM_CAP_X86_USER_SPACE_MSR.
   * No ranges and no `defaultDeny` take the filter away. At most 16 ranges.
   */
  setMsrFilter(o: { defaultDeny?: boolean; ranges?: readonly MsrFilterRange[] }): void {
    const ranges = (o.ranges ?? []).flatMap(({ base, count, bitmap, read = true, write = true }) => {
      // The kernel reads whole 64-bit words.
      const words = new Uint8Array(Math.ceil(wholeNumber(count, "KVM_X86_SET_MSR_FILTER", 0, 0x3000) / 64) * 8);
      words.set(bitmap.subarray(0, words.length));
      return [(read ? k.KVM_MSR_FILTER_READ : 0) | (write ? k.KVM_MSR_FILTER_WRITE : 0), base, count, words];
    });
    const flags = o.defaultDeny ? k.KVM_MSR_FILTER_DEFAULT_DENY : k.KVM_MSR_FILTER_DEFAULT_ALLOW;
    native.vmSetMsrFilter(this.native, flags, ...ranges);
  }

  /** KVM_SET_PMU_EVENT_FILTER: which performance events the guest may count. */
  setPmuEventFilter(o: {
    action: number;
    events: readonly Address[];
    fixedCounterBitmap?: number;
    flags?: number;
  }): void {
    listOf(o.events, "events");
    const bytes = new Uint8Array(PmuEventFilterHead.sizeBytes + o.events.length * 8);
    new PmuEventFilterHead(bytes).assign({
      action: o.action,
      nevents: o.events.length,
      fixedCounterBitmap: o.fixedCounterBitmap ?? 0,
      flags: o.flags ?? 0,
    });
    o.events.forEach((event, i) => {
      bytes.set(u64Bytes(event, "KVM_SET_PMU_EVENT_FILTER"), PmuEventFilterHead.sizeBytes + i * 8);
    });
    this.ioctlBytes(k.KVM_SET_PMU_EVENT_FILTER, bytes);
  }

  /** KVM_HYPERV_EVENTFD: signals `eventfd` on the guest's SignalEvent hypercall for this connection. */
  hypervEventfd(o: { connId: number; eventfd: EventFd; deassign?: boolean }): void {
    const flags = o.deassign ? k.KVM_HYPERV_EVENTFD_DEASSIGN : 0;
    this.ioctlBytes(k.KVM_HYPERV_EVENTFD, HypervEventfd.from({ connId: o.connId, fd: o.eventfd.fd, flags }).bytes);
  }

  /** KVM_SET_MEMORY_ATTRIBUTES: makes guest pages private (KVM_MEMORY_ATTRIBUTE_PRIVATE) or shared. */
  setMemoryAttributes(o: { address: Address; sizeBytes: Address; attributes: Address }): void {
    this.ioctlBytes(
      k.KVM_SET_MEMORY_ATTRIBUTES,
      MemoryAttributes.from({ address: o.address, size: o.sizeBytes, attributes: o.attributes }).bytes,
    );
  }

  /** KVM_CREATE_GUEST_MEMFD. */
  createGuestMemfd(o: { sizeBytes: Address; flags?: Address }): GuestMemfd {
    return new GuestMemfd(native.vmCreateGuestMemfd(this.native, o.sizeBytes, o.flags ?? 0), made);
  }

  /** KVM_CREATE_DEVICE. */
  createDevice(type: number): KvmDevice {
    return new KvmDevice(native.vmCreateDevice(this.native, type, 0)!, made);
  }

  /** KVM_CREATE_DEVICE with KVM_CREATE_DEVICE_TEST: whether this kernel has such devices. */
  hasDevice(type: number): boolean {
    try {
      native.vmCreateDevice(this.native, type, k.KVM_CREATE_DEVICE_TEST);
      return true;
    } catch (error) {
      if (error instanceof KvmError && error.code === "ERRNO") return false;
      throw error;
    }
  }

  /** KVM_HAS_DEVICE_ATTR on the VM. */
  hasDeviceAttr(group: number, attr: Address): boolean {
    try {
      native.deviceAttr(this.native, k.KVM_HAS_DEVICE_ATTR, group, attr, EMPTY);
      return true;
    } catch (error) {
      if (error instanceof KvmError && error.code === "ERRNO") return false;
      throw error;
    }
  }

  /** KVM_GET_STATS_FD: the VM's counters, readable as long as the descriptor is open, by whoever has it. */
  getStatsFd(): StatsFd {
    return new StatsFd(native.getStatsFd(this.native), made);
  }

  #coalescedZone(request: number, o: { addr: Address; sizeBytes: number; pio?: boolean }): void {
    this.ioctlBytes(request, CoalescedZone.from({ addr: o.addr, size: o.sizeBytes, pio: o.pio ? 1 : 0 }).bytes);
  }
}

/** Bytes of a dirty bitmap for a slot of this size. */
export function dirtyBitmapBytes(sizeBytes: number): number {
  return Math.ceil(sizeBytes / PAGE_BYTES / 64) * 8;
}
