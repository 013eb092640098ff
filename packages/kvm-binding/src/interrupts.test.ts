import { describe, expect, it } from "vitest";
import * as b from "./index.js";
import { enterRealMode, hasKvm, NEEDS_KVM, realModeGuest, watch } from "./testing.js";

/** Where the real-mode interrupt handler lies. */
const HANDLER = 0x3000;

/** A guest with irqchip that halts with interrupts on, and whose handler for `vector` writes to port 0x77. */
function waitingGuest(vector: number, prepare: (vm: b.Vm) => void = () => {}) {
  const guest = realModeGuest(
    [
      0xb0,
      0x11,
      0xe6,
      0x20, // ICW1: edge, cascade, ICW4
      0xb0,
      0x20,
      0xe6,
      0x21, // ICW2: vectors from 0x20
      0xb0,
      0x04,
      0xe6,
      0x21, // ICW3
      0xb0,
      0x01,
      0xe6,
      0x21, // ICW4: 8086
      0xb0,
      0x00,
      0xe6,
      0x21, // OCW1: nothing masked
      0xe6,
      0x70, // out 0x70, al: ready
      0xfb,
      0xf4,
      0xeb,
      0xfc, // sti; hlt; jmp back
    ],
    (vm) => {
      vm.createIrqchip();
      prepare(vm);
    },
  );
  // Handler: out 0x77, al; mov al, 0x20; out 0x20, al (end of interrupt); out 0x78, al; iret
  guest.memory.bytes.set([0xe6, 0x77, 0xb0, 0x20, 0xe6, 0x20, 0xe6, 0x78, 0xcf], HANDLER);
  new DataView(guest.memory.bytes.buffer, guest.memory.bytes.byteOffset).setUint32(vector * 4, HANDLER, true);
  expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
  expect(guest.vcpu.runView.ioPort).toBe(0x70);
  return guest;
}

function expectInterrupt(vcpu: b.Vcpu): void {
  expect(vcpu.run()).toBe(b.KVM_EXIT_IO);
  expect(vcpu.runView.ioPort).toBe(0x77);
}

describe.skipIf(!hasKvm)(`interrupts${NEEDS_KVM}`, () => {
  it("arrive by KVM_IRQ_LINE", () => {
    using guest = waitingGuest(0x24);
    guest.vm.irqLine(4, 1);
    guest.vm.irqLine(4, 0);
    expectInterrupt(guest.vcpu);
  });

  it("arrive by irqfd, without an ioctl", () => {
    using guest = waitingGuest(0x25);
    using eventfd = b.EventFd.create();
    guest.vm.irqfd({ eventfd, gsi: 5 });
    expect(() => guest.vm.irqfd({ eventfd, gsi: 5 })).toThrow(/EBUSY/);
    eventfd.signal();
    expectInterrupt(guest.vcpu);
    guest.vm.irqfd({ eventfd, gsi: 5, deassign: true });
  });

  it("are signalled back when the guest acknowledges a level irqfd (resample)", () => {
    using guest = waitingGuest(0x26);
    using eventfd = b.EventFd.create();
    using resample = b.EventFd.create();
    const elcr = guest.vm.getIrqchip(b.KVM_IRQCHIP_PIC_MASTER);
    elcr.pic.elcr = 1 << 6; // IRQ 6 is level-triggered
    guest.vm.setIrqchip(elcr);
    guest.vm.irqfd({ eventfd, gsi: 6, resample });
    eventfd.signal();
    expect(resample.take()).toBe(0);
    expectInterrupt(guest.vcpu);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    expect(guest.vcpu.runView.ioPort).toBe(0x78); // behind the end of interrupt
    expect(resample.take()).toBe(1);
    guest.vm.irqfd({ eventfd, gsi: 6, deassign: true });
  });

  it("arrive by MSI", () => {
    using guest = waitingGuest(0x51);
    const lapic = guest.vcpu.getLapic();
    const spurious = new DataView(lapic.bytes.buffer).getUint32(0xf0, true);
    new DataView(lapic.bytes.buffer).setUint32(0xf0, spurious | 0x1ff, true); // APIC on
    guest.vcpu.setLapic(lapic);
    expect(guest.vm.signalMsi({ address: 0xfee00000, data: 0x51 })).toBe(1);
    expectInterrupt(guest.vcpu);
  });

  it("arrive as NMI", () => {
    using guest = waitingGuest(2);
    guest.vcpu.nmi();
    expectInterrupt(guest.vcpu);
  });

  it("are injected by KVM_INTERRUPT without an in-kernel irqchip, once the window is open", () => {
    // sti; nop; out 0x70, al; nop; jmp back
    using guest = realModeGuest([0xfb, 0x90, 0xe6, 0x70, 0x90, 0xeb, 0xfb]);
    guest.memory.bytes.set([0xe6, 0x77, 0xcf], HANDLER);
    new DataView(guest.memory.bytes.buffer, guest.memory.bytes.byteOffset).setUint32(0x40 * 4, HANDLER, true);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    const run = guest.vcpu.runView;
    run.requestInterruptWindow = 1;
    let reason = guest.vcpu.run();
    for (let i = 0; i < 1000 && reason !== b.KVM_EXIT_IRQ_WINDOW_OPEN && run.readyForInterruptInjection === 0; i++)
      reason = guest.vcpu.run();
    run.requestInterruptWindow = 0;
    guest.vcpu.interrupt(0x40);
    for (let i = 0; i < 5000; i++) {
      expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
      if (run.ioPort === 0x77) return;
    }
    expect.unreachable("the interrupt never came");
  });

  it("start another CPU by INIT and SIPI", async () => {
    using guest = waitingGuest(0x24);
    using second = guest.vm.createVcpu(1);
    watch(second);
    second.setLapic(second.getLapic()); // from now on KVM finds it by its APIC id
    expect(second.getMpState()).toBe(b.KVM_MP_STATE_UNINITIALIZED);
    guest.vm.signalMsi({ address: 0xfee01000, data: 0x4500 });
    guest.vm.signalMsi({ address: 0xfee01000, data: 0x4604 }); // start at 0x4000
    guest.memory.bytes.set([0xe6, 0x99, 0xf4], 0x4000);
    // The first runs answer the INIT and the SIPI themselves.
    let reason = second.run();
    for (let i = 0; i < 10 && reason === -b.EAGAIN; i++) reason = second.run();
    expect(reason).toBe(b.KVM_EXIT_IO);
    expect(second.runView.ioPort).toBe(0x99);
  });
});

describe.skipIf(!hasKvm)(`ioeventfd${NEEDS_KVM}`, () => {
  it("takes port writes, with a value to match or any", () => {
    // mov al, 1; out 0x50, al; mov al, 2; out 0x50, al; out 0x51, al; hlt
    using guest = realModeGuest([0xb0, 1, 0xe6, 0x50, 0xb0, 2, 0xe6, 0x50, 0xe6, 0x51, 0xf4]);
    using one = b.EventFd.create();
    using any = b.EventFd.create();
    guest.vm.ioeventfd({ eventfd: one, addr: 0x50, lengthBytes: 1, datamatch: 1, pio: true });
    guest.vm.ioeventfd({ eventfd: any, addr: 0x51, lengthBytes: 0, pio: true });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO); // the 2, which nobody waits for
    expect(guest.vcpu.runView.ioPort).toBe(0x50);
    expect(one.take()).toBe(1);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
    expect(any.take()).toBe(1);
    guest.vm.ioeventfd({ eventfd: one, addr: 0x50, lengthBytes: 1, datamatch: 1, pio: true, deassign: true });
    enterRealMode(guest.vcpu);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    expect(one.take()).toBe(0);
  });

  it("takes MMIO writes", () => {
    using guest = realModeGuest([0xb8, 0xff, 0xff, 0x8e, 0xd8, 0xbb, 0x10, 0x10, 0x89, 0x07, 0xf4]); // mov [0x101000], ax
    using eventfd = b.EventFd.create();
    guest.vm.ioeventfd({ eventfd, addr: 0x101000n, lengthBytes: 2 });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
    expect(eventfd.take()).toBe(1);
    expect(() => guest.vm.ioeventfd({ eventfd, addr: 0, lengthBytes: 3 as never })).toThrow(/EINVAL/);
  });
});

describe.skipIf(!hasKvm)(`coalesced zones${NEEDS_KVM}`, () => {
  it("gather port writes in the ring until the next exit", () => {
    using guest = realModeGuest([0xb0, 1, 0xe6, 0x50, 0xb0, 2, 0xe6, 0x50, 0xe6, 0x60, 0xf4]);
    guest.vm.registerCoalescedZone({ addr: 0x50, sizeBytes: 1, pio: true });
    expect(guest.vcpu.coalesced.pending).toBe(false);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    expect(guest.vcpu.runView.ioPort).toBe(0x60);
    expect(guest.vcpu.coalesced.pending).toBe(true);
    const writes: unknown[] = [];
    expect(guest.vcpu.coalesced.drain((e) => writes.push([e.physAddr, e.len, e.pio, e.data[0]]))).toBe(2);
    expect(writes).toEqual([
      [0x50n, 1, 1, 1],
      [0x50n, 1, 1, 2],
    ]);
    expect(guest.vcpu.coalesced.drain(() => {})).toBe(0);
    guest.vm.unregisterCoalescedZone({ addr: 0x50, sizeBytes: 1, pio: true });
  });

  it("gather MMIO writes too, and fall back to exits when the ring is full", () => {
    // mov ax, 0xffff; mov ds, ax; mov cx, 300; loop: mov [0x1010], cx; loop; hlt
    using guest = realModeGuest([
      0xb8, 0xff, 0xff, 0x8e, 0xd8, 0xb9, 0x2c, 0x01, 0x89, 0x0e, 0x10, 0x10, 0xe2, 0xfa, 0xf4,
    ]);
    guest.vm.registerCoalescedZone({ addr: 0x101000, sizeBytes: 4096 });
    let written = 0;
    let mmioExits = 0;
    for (let reason = guest.vcpu.run(); reason !== b.KVM_EXIT_HLT; reason = guest.vcpu.run()) {
      expect(reason).toBe(b.KVM_EXIT_MMIO);
      written += guest.vcpu.coalesced.drain(() => {});
      mmioExits++;
    }
    written += guest.vcpu.coalesced.drain(() => {}) + mmioExits;
    expect(written).toBe(300);
    expect(mmioExits).toBeLessThan(10);
  });
});
