/**
 * The kernel's side of a machine: one VM with its memory slots, interrupt controllers and vCPUs, as KVM has them. A
 * reset throws it away and makes the next one over the same RAM, which is how every register in the kernel comes to its
 * power-on value.
 */
import {
  type CpuidEntry,
  EventFd,
  GuestMemory,
  KVM_CAP_EXIT_ON_EMULATION_FAILURE,
  KVM_CAP_MAX_VCPUS,
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CAP_TSC_DEADLINE_TIMER,
  KVM_CAP_X86_USER_SPACE_MSR,
  KVM_MSR_EXIT_REASON_INVAL,
  KVM_MSR_EXIT_REASON_UNKNOWN,
  type Kvm,
  type StatsFd,
  type Vcpu,
  type Vm,
} from "@tools-kvm/kvm-binding";
import { cpuidFor } from "./cpuid.js";
import { ROM_END } from "./firmware-rom.js";
import type { GuestRam } from "./guest-ram.js";
import { kvmKind, servesParavirtualFeatures } from "./host.js";
import { IDENTITY_MAP_ADDR, TSS_ADDR } from "./memory-map.js";
import { EXERCISER_COALESCED, EXERCISER_DOORBELL } from "./pc.js";
import type { MachineSpec } from "./spec.js";
import type { VirtioWires } from "./virtio.js";

/** Pins of the IOAPIC that the split irqchip keeps routes for. */
const IOAPIC_PINS = 24;
const DOORBELL_BYTES = 4;

export class VirtualMachine {
  readonly vm: Vm;
  readonly vcpus: readonly Vcpu[];
  /** Kept open so that another process can take them and read on (KVM_GET_STATS_FD is the owner's alone). */
  readonly stats: readonly StatsFd[];
  readonly #doorbell: EventFd | undefined;
  /** Memory slots that RAM has taken. */
  readonly #slots: number;
  #rom: GuestMemory | undefined;

  constructor(kvm: Kvm, spec: MachineSpec, ram: GuestRam, wires: readonly VirtioWires[]) {
    this.vm = kvm.createVm();
    this.#slots = ram.regions.length;
    const { vm } = this;
    try {
      vm.setTssAddr(TSS_ADDR);
      vm.setIdentityMapAddr(IDENTITY_MAP_ADDR);
      if (spec.irqchip === "kernel") {
        vm.createIrqchip();
        vm.createPit2({ speakerDummy: true });
      } else {
        vm.enableCap(KVM_CAP_SPLIT_IRQCHIP, IOAPIC_PINS);
      }
      if (vm.checkExtension(KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0) vm.enableCap(KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
      for (const each of wires) each.connect(vm, spec.irqchip);
      this.#doorbell = spec.testDevices ? addTestHooks(vm) : undefined;
      ram.regions.forEach(({ guestPhysAddr, memory }, slot) => {
        vm.setUserMemoryRegion({ slot, guestPhysAddr, memory });
      });
      const supported = kvm.getSupportedCpuid();
      this.vcpus = Array.from({ length: spec.cpus }, (_, id) => {
        const vcpu = vm.createVcpu(id);
        vcpu.setCpuid2(this.#cpuid(kvm, spec, supported, id));
        return vcpu;
      });
      this.stats = openStats(vm, this.vcpus);
    } catch (error) {
      this.#doorbell?.close();
      vm.close();
      throw error;
    }
  }

  #cpuid(kvm: Kvm, spec: MachineSpec, supported: CpuidEntry[], apicId: number): CpuidEntry[] {
    return cpuidFor(supported, apicId, {
      cpus: spec.cpus,
      paravirtual: servesParavirtualFeatures(kvmKind()),
      tscDeadlineTimer: kvm.checkExtension(KVM_CAP_TSC_DEADLINE_TIMER) > 0,
    });
  }

  /** Puts a ROM below 4 GiB, where the first vCPU begins after a reset. What a guest writes there goes nowhere. */
  plugRom(bytes: Uint8Array): void {
    this.#rom = GuestMemory.create({ sizeBytes: bytes.length, name: "tools-kvm-rom" });
    this.#rom.bytes.set(bytes);
    const guestPhysAddr = ROM_END - bytes.length;
    this.vm.setUserMemoryRegion({ slot: this.#slots, guestPhysAddr, memory: this.#rom, readonly: true });
  }

  /** The memory slot of the flash chip's cells. */
  get flashSlot(): number {
    return this.#slots + 1;
  }

  /** Brings every vCPU out of the guest. */
  kick(): void {
    for (const vcpu of this.vcpus) vcpu.kick();
  }

  /** No vCPU may be running. */
  close(): void {
    for (const stats of this.stats) stats.close();
    for (const vcpu of this.vcpus) vcpu.close();
    this.#doorbell?.close();
    this.vm.close();
    this.#rom?.close();
  }
}

/** The most vCPUs a VM may have on this host. */
export function maxVcpus(kvm: Kvm): number {
  return kvm.checkExtension(KVM_CAP_MAX_VCPUS);
}

/** What the exerciser has beside its registers: coalesced writes, an ioeventfd and an MSR that comes to user space. */
function addTestHooks(vm: Vm): EventFd {
  vm.registerCoalescedZone({ addr: EXERCISER_COALESCED, sizeBytes: DOORBELL_BYTES });
  if (vm.checkExtension(KVM_CAP_X86_USER_SPACE_MSR) > 0) {
    // What KVM would answer with #GP comes to us instead. A filter for the one MSR would take KVM 15 ms to set.
    vm.enableCap(KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL);
  }
  const doorbell = EventFd.create();
  vm.ioeventfd({ eventfd: doorbell, addr: EXERCISER_DOORBELL, lengthBytes: DOORBELL_BYTES });
  return doorbell;
}

function openStats(vm: Vm, vcpus: readonly Vcpu[]): StatsFd[] {
  return [vm.getStatsFd(), ...vcpus.map((vcpu) => vcpu.getStatsFd())];
}
