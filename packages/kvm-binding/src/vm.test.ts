import { describe, expect, it } from "vitest";
import * as b from "./index.js";
import { hasKvm, NEEDS_KVM, realModeGuest } from "./testing.js";

const { KvmError } = b;

function withVm(prepare: (vm: b.Vm, kvm: b.Kvm) => void): void {
  using kvm = b.Kvm.open();
  using vm = kvm.createVm();
  prepare(vm, kvm);
}

describe.skipIf(!hasKvm)(`a VM${NEEDS_KVM}`, () => {
  it("answers capabilities of its own", () =>
    withVm((vm) => {
      expect(vm.checkExtension(b.KVM_CAP_USER_MEMORY)).toBe(1);
      expect(vm.checkExtension(b.KVM_CAP_XSAVE2)).toBeGreaterThanOrEqual(4096);
    }));

  it("enables capabilities with their arguments: disabled exits, exception payload, exit on emulation failure, user-space MSRs", () =>
    withVm((vm) => {
      vm.enableCap(
        b.KVM_CAP_X86_DISABLE_EXITS,
        vm.checkExtension(b.KVM_CAP_X86_DISABLE_EXITS) & b.KVM_X86_DISABLE_EXITS_HLT,
      );
      vm.enableCap(b.KVM_CAP_EXCEPTION_PAYLOAD, 1);
      vm.enableCap(b.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
      vm.enableCap(b.KVM_CAP_X86_USER_SPACE_MSR, b.KVM_MSR_EXIT_REASON_FILTER);
      expect(() => vm.enableCap(0xffff)).toThrow(/KVM_ENABLE_CAP failed with EINVAL/);
      expect(() => vm.enableCap(1, 1, 2, 3, 4, 5)).toThrow(KvmError);
    }));

  it("takes TSS and identity map addresses and the boot CPU before the first vCPU", () =>
    withVm((vm) => {
      vm.setTssAddr(0xfffbd000);
      vm.setIdentityMapAddr(0xfffbc000n);
      vm.setBootCpuId(1);
      vm.setNrMmuPages(1024);
      using _vcpu = vm.createVcpu(0);
      expect(() => vm.setBootCpuId(0)).toThrow(/EBUSY/);
      expect(() => vm.setIdentityMapAddr(0)).toThrow(KvmError);
    }));

  it("refuses a second vCPU of the same id and ids beyond its limit, and says so", () =>
    withVm((vm) => {
      using _first = vm.createVcpu(0);
      expect(() => vm.createVcpu(0)).toThrow(/EEXIST: vCPU 0 \(the id is taken/);
      expect(() => vm.createVcpu(0x7fffffff)).toThrow(/EINVAL/);
      expect(() => vm.createVcpu(-1)).toThrow(KvmError);
      expect(() => vm.createVcpu(0.5)).toThrow(KvmError);
    }));

  it("has an in-kernel irqchip whose state can be read, changed and written back", () =>
    withVm((vm) => {
      expect(() => vm.irqLine(0, 1)).toThrow(/KVM_IRQ_LINE failed with ENXIO.*create the irqchip first/);
      vm.createIrqchip();
      expect(() => vm.createIrqchip()).toThrow(/EEXIST/);
      const ioapic = vm.getIrqchip(b.KVM_IRQCHIP_IOAPIC);
      expect(ioapic.ioapic.redirtbl).toHaveLength(24);
      ioapic.ioapic.redirtbl[4] = 0x10041n;
      vm.setIrqchip(ioapic);
      expect(vm.getIrqchip(b.KVM_IRQCHIP_IOAPIC).ioapic.redirtbl[4]).toBe(0x10041n);
      const pic = vm.getIrqchip(b.KVM_IRQCHIP_PIC_MASTER);
      pic.pic.imr = 0xfe;
      vm.setIrqchip(pic);
      expect(vm.getIrqchip(b.KVM_IRQCHIP_PIC_MASTER).pic.imr).toBe(0xfe);
      vm.irqLine(4, 1);
      vm.irqLine(4, 0);
      expect(vm.irqLineStatus(4, 0)).toBeTypeOf("number");
    }));

  it("has a PIT after the irqchip", () =>
    withVm((vm) => {
      vm.createIrqchip();
      vm.createPit2({ speakerDummy: true });
      const pit = vm.getPit2();
      pit.channels[0]!.count = 0x1234;
      pit.channels[0]!.mode = 2;
      vm.setPit2(pit);
      expect(vm.getPit2().channels[0]!.count).toBe(0x1234);
      vm.reinjectControl(false);
    }));

  it("splits the irqchip", () =>
    withVm((vm) => {
      vm.enableCap(b.KVM_CAP_SPLIT_IRQCHIP, 24);
      expect(() => vm.createIrqchip()).toThrow(/EEXIST/);
      vm.setGsiRouting([{ gsi: 3, type: "msi", address: 0xfee00000, data: 0x41 }]);
    }));

  it("routes GSIs to pins and MSIs", () =>
    withVm((vm) => {
      vm.createIrqchip();
      vm.setGsiRouting([
        { gsi: 0, type: "irqchip", irqchip: b.KVM_IRQCHIP_IOAPIC, pin: 2 },
        { gsi: 24, type: "msi", address: 0xfee00000n, data: 0x4041 },
      ]);
      vm.setGsiRouting([]);
      expect(() => vm.setGsiRouting([{ gsi: 0, type: "irqchip", irqchip: 99, pin: 0 }])).toThrow(KvmError);
      expect(() => vm.setGsiRouting([{ gsi: 0, type: "pigeon" } as never])).toThrow(/entry 0/);
    }));

  it("keeps a clock that can be set", () =>
    withVm((vm) => {
      if (vm.checkExtension(b.KVM_CAP_VM_TSC_CONTROL) > 0) vm.setTscKhz(vm.getTscKhz());
      vm.setClock(b.ClockData.from({ clock: 5_000_000_000n }));
      const { clock } = vm.getClock();
      expect(clock).toBeGreaterThanOrEqual(5_000_000_000n);
      expect(clock).toBeLessThan(15_000_000_000n);
    }));

  it("filters MSRs", () =>
    withVm((vm) => {
      vm.setMsrFilter({ defaultDeny: true, ranges: [{ base: 0x174, count: 3, bitmap: Uint8Array.of(0b101) }] });
      vm.setMsrFilter({});
      expect(() =>
        vm.setMsrFilter({ ranges: Array(17).fill({ base: 0, count: 1, bitmap: new Uint8Array(1) }) }),
      ).toThrow(/at most 16/);
      expect(() => vm.setMsrFilter({ ranges: [{ base: 0, count: 0x3001, bitmap: new Uint8Array(1) }] })).toThrow(
        KvmError,
      );
    }));

  it("says which of guest_memfd, memory attributes and PMU filters this host has, without crashing on those it has not", () =>
    withVm((vm) => {
      const attempts: [number, () => void][] = [
        [b.KVM_CAP_GUEST_MEMFD, () => vm.createGuestMemfd({ sizeBytes: 4096 }).close()],
        [b.KVM_CAP_PMU_EVENT_FILTER, () => vm.setPmuEventFilter({ action: b.KVM_PMU_EVENT_DENY, events: [0xc0] })],
        [b.KVM_CAP_MEMORY_ATTRIBUTES, () => vm.setMemoryAttributes({ address: 0, sizeBytes: 4096, attributes: 0 })],
      ];
      for (const [cap, attempt] of attempts) {
        if (vm.checkExtension(cap) > 0) attempt();
        else expect(attempt).toThrow(KvmError);
      }
    }));

  it("tells what devices and attributes it has", () =>
    withVm((vm) => {
      expect(vm.hasDevice(0x12345)).toBe(false);
      expect(() => vm.createDevice(0x12345)).toThrow(/KVM_CREATE_DEVICE failed/);
      expect(vm.hasDeviceAttr(77, 0)).toBe(false);
      if (vm.hasDevice(b.KVM_DEV_TYPE_VFIO)) vm.createDevice(b.KVM_DEV_TYPE_VFIO).close();
    }));

  it("has Hyper-V connections where KVM offers them", () =>
    withVm((vm) => {
      if (vm.checkExtension(b.KVM_CAP_HYPERV_EVENTFD) === 0) return;
      using eventfd = b.EventFd.create();
      vm.hypervEventfd({ connId: 5, eventfd });
      vm.hypervEventfd({ connId: 5, eventfd, deassign: true });
    }));
});

describe.skipIf(!hasKvm)(`memory slots${NEEDS_KVM}`, () => {
  it("are refused outside their memory, off page bounds, and overlapping", () =>
    withVm((vm) => {
      using memory = b.GuestMemory.create({ sizeBytes: 0x10000 });
      expect(() => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, sizeBytes: 0x11000 })).toThrow(
        /outside the memory/,
      );
      expect(() =>
        vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, offsetBytes: 0x11000, sizeBytes: 0 }),
      ).toThrow(/outside/);
      expect(() => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, offsetBytes: -4096 })).toThrow(KvmError);
      expect(() => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 1, memory })).toThrow(/EINVAL/);
      expect(() => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: null, sizeBytes: 4096 })).toThrow(
        /needs memory/,
      );
      vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
      expect(() => vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x8000, memory })).toThrow(/EEXIST.*overlaps/);
      expect(() =>
        vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x10000, memory: { native: {}, sizeBytes: 4096 } as never }),
      ).toThrow(TypeError);
    }));

  it("can be moved and removed, and the guest sees it", () => {
    // mov al, [0x5000]; out 0x10, al; jmp back
    using guest = realModeGuest([0xa0, 0x00, 0x50, 0xe6, 0x10, 0xeb, 0xf9]);
    using other = b.GuestMemory.create({ sizeBytes: 0x2000 });
    other.bytes[0x1000] = 0x77;
    guest.memory.bytes[0x5000] = 0x11;
    const read = () => {
      expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
      const view = new DataView(guest.vcpu.runPage);
      return view.getUint8(Number(view.getBigUint64(b.RUN_IO_DATA_OFFSET, true)));
    };
    expect(read()).toBe(0x11);
    guest.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: null });
    guest.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: guest.memory, sizeBytes: 0x5000 });
    guest.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x5000, memory: other, offsetBytes: 0x1000 });
    expect(read()).toBe(0x77);
    guest.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0, memory: null });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_MMIO);
  });

  it("keep the guest's memory when it is closed, while JavaScript's views read zeros", () => {
    using guest = realModeGuest([0xa0, 0x00, 0x50, 0xe6, 0x10, 0xf4]);
    guest.memory.bytes[0x5000] = 0x42;
    const { bytes } = guest.memory;
    guest.memory.close();
    expect(bytes[0x5000]).toBe(0);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    const { runView } = guest.vcpu;
    expect(runView.bytes.length).toBe(b.Run.sizeBytes);
    expect(new Uint8Array(guest.vcpu.runPage)[Number(runView.ioDataOffset)]).toBe(0x42);
  });

  it("make guest writes come out as MMIO when they are read-only", () => {
    using guest = realModeGuest([0xc6, 0x06, 0x00, 0x50, 0x99, 0xa0, 0x00, 0x50, 0xe6, 0x10]); // mov byte [0x5000], 0x99; mov al, [0x5000]; out
    guest.memory.bytes[0x5000] = 0x33;
    guest.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: null });
    guest.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: guest.memory, readonly: true });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_MMIO);
    const run = guest.vcpu.runView;
    expect([run.mmioPhysAddr, run.mmioLen, run.mmioIsWrite, run.mmioData[0]]).toEqual([0x5000n, 1, 1, 0x99]);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    expect(guest.memory.bytes[0x5000]).toBe(0x33);
  });
});

describe.skipIf(!hasKvm)(`dirty pages${NEEDS_KVM}`, () => {
  // The guest writes one byte to 0x5000, and to 0x9000, then stops.
  const code = [0xc6, 0x06, 0x00, 0x50, 0x01, 0xc6, 0x06, 0x00, 0x90, 0x01, 0xf4];
  const pagesOf = (bitmap: Uint8Array) =>
    Array.from({ length: bitmap.length * 8 }, (_, page) => page).filter(
      (page) => bitmap[page >> 3]! & (1 << (page & 7)),
    );

  it("are logged, and reading the log clears it", () => {
    using guest = realModeGuest(code);
    guest.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: guest.memory, logDirtyPages: true });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
    const bitmap = new Uint8Array(b.dirtyBitmapBytes(guest.memory.sizeBytes));
    expect(pagesOf(guest.vm.getDirtyLog(0, bitmap))).toEqual(expect.arrayContaining([5, 9]));
    expect(pagesOf(guest.vm.getDirtyLog(0, bitmap))).toEqual([]);
    expect(() => guest.vm.getDirtyLog(0, bitmap.subarray(1))).toThrow(/must be 32 bytes or more/);
    expect(() => guest.vm.getDirtyLog(3, bitmap)).toThrow(/no slot 3/);
  });

  it("stay set until cleared by hand, with manual protection", () => {
    using guest = realModeGuest(code, (vm) =>
      vm.enableCap(b.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, b.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE),
    );
    guest.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: guest.memory, logDirtyPages: true });
    guest.vcpu.run();
    const bitmap = new Uint8Array(b.dirtyBitmapBytes(guest.memory.sizeBytes));
    guest.vm.getDirtyLog(0, bitmap);
    expect(pagesOf(guest.vm.getDirtyLog(0, bitmap))).toEqual(expect.arrayContaining([5, 9]));
    guest.vm.clearDirtyLog(0, 0, 64, bitmap);
    expect(pagesOf(guest.vm.getDirtyLog(0, bitmap))).toEqual([]);
    expect(() => guest.vm.clearDirtyLog(0, 0, 128, bitmap.subarray(0, 8))).toThrow(/must be 16 bytes/);
    expect(() => guest.vm.clearDirtyLog(0, 1, 64, bitmap)).toThrow(/EINVAL/);
  });

  it("come through the dirty ring", () => {
    using guest = realModeGuest(code, (vm) => vm.enableCap(b.KVM_CAP_DIRTY_LOG_RING_ACQ_REL, 65536));
    guest.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: guest.memory, logDirtyPages: true });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
    const into = new Float64Array(64);
    const taken = guest.vcpu.drainDirtyRing(into);
    const pages = Array.from({ length: taken }, (_, i) => [into[2 * i], into[2 * i + 1]]);
    expect(pages).toEqual(
      expect.arrayContaining([
        [0, 5],
        [0, 9],
      ]),
    );
    expect(guest.vcpu.drainDirtyRing(into)).toBe(0);
    expect(guest.vm.resetDirtyRings()).toBe(taken);
  });

  it("have no ring unless it was enabled", () => {
    using guest = realModeGuest(code);
    expect(() => guest.vcpu.drainDirtyRing(new Float64Array(2))).toThrow(/KVM_CAP_DIRTY_LOG_RING/);
  });
});
