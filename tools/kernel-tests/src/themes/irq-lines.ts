/** Interrupt lines: the 8259s, the I/O APIC, routing, and irqfd. */

import * as b from "@tools-kvm/kvm-binding";
import { EventFd, type Vm } from "@tools-kvm/kvm-binding";
import { check, equal, needs, refuses } from "../expect.js";
import { asm16, asm32 } from "../guest/code.js";
import { type Machine, type MachineOptions, machine } from "../guest/machine.js";
import { APIC_ENABLE, APIC_EOI, BACK_TO_WAIT, HANDLER, HANDLER_ORG, PIC_INIT, WAIT } from "../guest/snippets.js";
import { themeOf } from "../registry.js";

const it = themeOf("irq-lines", "api.rst, KVM_IRQ_LINE");
const irqchip = (vm: Vm) => vm.createIrqchip();

/** Sets the PICs up, says so at port 0x70, and waits; the handler says 0x77 before the end of interrupt and 0x78 behind it. */
const picGuest = asm16`
  ${PIC_INIT}
  out 0x70, al
  ${WAIT}
  ${HANDLER_ORG}
  out 0x77, al
  mov al, 0x20
  out 0xa0, al
  out 0x20, al
  out 0x78, al
  iret`;

function picMachine(vector: number, options: MachineOptions = {}): Machine {
  const m = machine(picGuest, { prepare: irqchip, handlers: { [vector]: HANDLER }, ...options });
  m.expectOut(0x70, "the PICs' set-up");
  return m;
}

function expectInterrupt(m: Machine): void {
  m.expectOut(0x77, "the interrupt");
  m.expectOut(0x78, "the end of interrupt");
}

it("without-irqchip", "KVM_IRQ_LINE without an in-kernel irqchip is ENXIO", () => {
  using kvm = b.Kvm.open();
  using vm = kvm.createVm();
  refuses("ENXIO", () => vm.irqLine(4, 1));
});

for (const line of [1, 4, 7, 9, 15]) {
  it(`pic-${line}`, `an edge on GSI ${line} is an interrupt through the 8259s with vector base + pin`, () => {
    using m = picMachine(0x20 + line);
    m.vm.irqLine(line, 1);
    m.vm.irqLine(line, 0);
    expectInterrupt(m);
  });
}

it("edge-once", "an edge-triggered line that stays high is one interrupt", () => {
  using m = picMachine(0x24);
  m.vm.irqLine(4, 1);
  expectInterrupt(m);
  m.vm.irqLine(4, 1);
  equal(m.vm.getIrqchip(b.KVM_IRQCHIP_PIC_MASTER).pic.irr & 0x10, 0, "IRR bit 4");
  m.vm.irqLine(4, 0);
  m.vm.irqLine(4, 1);
  expectInterrupt(m);
});

it(
  "masked",
  "a masked line waits in the IRR until it is unmasked",
  () => {
    using m = picMachine(0x25);
    const chip = m.vm.getIrqchip(b.KVM_IRQCHIP_PIC_MASTER);
    chip.pic.imr = 0x20;
    m.vm.setIrqchip(chip);
    m.vm.irqLine(5, 1);
    const masked = m.vm.getIrqchip(b.KVM_IRQCHIP_PIC_MASTER);
    equal([masked.pic.irr & 0x20, masked.pic.isr], [0x20, 0], "IRR and ISR");
    masked.pic.imr = 0;
    m.vm.setIrqchip(masked);
    expectInterrupt(m);
  },
  { source: "api.rst, KVM_SET_IRQCHIP" },
);

it(
  "status-counts",
  "KVM_IRQ_LINE_STATUS says 1 when the interrupt went to a CPU, 0 when it was coalesced",
  () => {
    needs("KVM_CAP_IRQ_INJECT_STATUS");
    using m = picMachine(0x24);
    check(m.vm.irqLineStatus(4, 1) > 0, "the first edge was not delivered");
    m.vm.irqLine(4, 0);
    equal(m.vm.irqLineStatus(4, 1), 0, "the second edge, with the first still waiting");
  },
  { source: "api.rst, KVM_IRQ_LINE_STATUS" },
);

it("bad-gsi", "a GSI beyond the routing table goes nowhere and is no crash", () => {
  using m = picMachine(0x24);
  try {
    m.vm.irqLine(5000, 1);
  } catch (error) {
    check(error instanceof b.KvmError && error.errnoName === "EINVAL", String(error));
  }
});

it(
  "created-once",
  "a second irqchip is EEXIST, one after the first vCPU EINVAL",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    vm.createIrqchip();
    refuses("EEXIST", () => vm.createIrqchip());
    using other = kvm.createVm();
    using _vcpu = other.createVcpu(0);
    refuses("EINVAL", () => other.createIrqchip());
  },
  { source: "api.rst, KVM_CREATE_IRQCHIP" },
);

for (const [chip, id] of [
  ["pic-master", b.KVM_IRQCHIP_PIC_MASTER],
  ["pic-slave", b.KVM_IRQCHIP_PIC_SLAVE],
] as const) {
  it(
    `state-${chip}`,
    "an 8259's state that was read and is written back reads the same",
    () => {
      using kvm = b.Kvm.open();
      using vm = kvm.createVm();
      vm.createIrqchip();
      const state = vm.getIrqchip(id);
      state.pic.assign({ imr: 0xa5, irqBase: 0x48, elcr: 0x20, isr: 0x01, irr: 0x40, specialMask: 1, autoEoi: 1 });
      vm.setIrqchip(state);
      const { imr, irqBase, elcr, isr, irr, specialMask, autoEoi } = vm.getIrqchip(id).pic;
      equal([imr, irqBase, elcr, isr, irr, specialMask, autoEoi], [0xa5, 0x48, 0x20, 1, 0x40, 1, 1], "state");
    },
    { source: "api.rst, KVM_GET_IRQCHIP" },
  );
}

it(
  "state-ioapic",
  "the I/O APIC's state that was read and is written back reads the same",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    vm.createIrqchip();
    const state = vm.getIrqchip(b.KVM_IRQCHIP_IOAPIC);
    state.ioapic.ioregsel = 0x12;
    state.ioapic.id = 3;
    for (let pin = 0; pin < 24; pin++) state.ioapic.redirtbl[pin] = 0x0300000000010000n | BigInt(0x30 + pin);
    vm.setIrqchip(state);
    const back = vm.getIrqchip(b.KVM_IRQCHIP_IOAPIC).ioapic;
    equal([back.baseAddress, back.ioregsel, back.id], [0xfec00000n, 0x12, 3], "base address, IOREGSEL, ID");
    equal([...back.redirtbl], [...state.ioapic.redirtbl], "redirection table");
  },
  { source: "api.rst, KVM_GET_IRQCHIP" },
);

it(
  "chip-id-checked",
  "a chip that does not exist is EINVAL",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    vm.createIrqchip();
    refuses("EINVAL", () => vm.getIrqchip(7));
  },
  { source: "api.rst, KVM_GET_IRQCHIP" },
);

/** Routes I/O APIC pin 10 to vector 0x50, `flags` in the low word of the entry; then as the PIC guest. */
const ioapicCode = (flags: number) => `
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  ${APIC_ENABLE}
  mov dword ptr ds:[0xfec00000], ${0x10 + 2 * 10 + 1}
  mov dword ptr ds:[0xfec00010], 0
  mov dword ptr ds:[0xfec00000], ${0x10 + 2 * 10}
  mov dword ptr ds:[0xfec00010], ${0x50 | flags}
  out 0x70, al
  ${WAIT}
  ${HANDLER_ORG}
  out 0x77, al
  ${APIC_EOI}
  out 0x78, al
  ${BACK_TO_WAIT}`;
const ioapicEdge = asm32`${ioapicCode(0)}`;
const ioapicLevel = asm32`${ioapicCode(0x8000)}`;

function ioapicMachine(code: typeof ioapicEdge, options: MachineOptions = {}): Machine {
  const m = machine(code, { prepare: irqchip, handlers: { 80: HANDLER }, ...options });
  m.expectOut(0x70, "the I/O APIC's set-up");
  return m;
}

it("ioapic-edge", "an edge on GSI 10 is the vector in the I/O APIC's redirection entry", () => {
  using m = ioapicMachine(ioapicEdge);
  m.vm.irqLine(10, 1);
  m.vm.irqLine(10, 0);
  expectInterrupt(m);
});

it("ioapic-level", "a level that stays high is an interrupt again after each EOI", () => {
  using m = ioapicMachine(ioapicLevel);
  m.vm.irqLine(10, 1);
  expectInterrupt(m);
  expectInterrupt(m);
  m.vm.irqLine(10, 0);
});

it(
  "ioapic-remote-irr",
  "a level interrupt sets remote IRR until its EOI",
  () => {
    using m = ioapicMachine(ioapicLevel);
    const remoteIrr = () => (m.vm.getIrqchip(b.KVM_IRQCHIP_IOAPIC).ioapic.redirtbl[10]! >> 14n) & 1n;
    m.vm.irqLine(10, 1);
    m.expectOut(0x77, "the interrupt");
    equal(remoteIrr(), 1n, "remote IRR in the handler");
    m.vm.irqLine(10, 0);
    m.expectOut(0x78, "the end of interrupt");
    equal(remoteIrr(), 0n, "remote IRR behind the EOI");
  },
  { source: "82093AA datasheet, IOREDTBL" },
);

it(
  "routing-replaces",
  "KVM_SET_GSI_ROUTING replaces the table: a GSI that is not in it leads nowhere",
  () => {
    using m = picMachine(0x24);
    m.vm.setGsiRouting([{ gsi: 20, type: "irqchip", irqchip: b.KVM_IRQCHIP_PIC_MASTER, pin: 4 }]);
    try {
      m.vm.irqLine(4, 1);
    } catch {}
    equal(m.vm.getIrqchip(b.KVM_IRQCHIP_PIC_MASTER).pic.irr & 0x10, 0, "IRR by the old GSI");
    m.vm.irqLine(20, 1);
    expectInterrupt(m);
  },
  { source: "api.rst, KVM_SET_GSI_ROUTING" },
);

it(
  "routing-msi",
  "a GSI that is routed to an MSI interrupts with the MSI's vector",
  () => {
    using m = ioapicMachine(ioapicEdge);
    m.vm.setGsiRouting([{ gsi: 30, type: "msi", address: 0xfee00000, data: 0x50 }]);
    m.vm.irqLine(30, 1);
    expectInterrupt(m);
  },
  { source: "api.rst, KVM_SET_GSI_ROUTING" },
);

it(
  "routing-checked",
  "a route of an unknown type, chip or pin is EINVAL and leaves the table as it was",
  () => {
    using m = picMachine(0x24);
    refuses("EINVAL", () => m.vm.setGsiRouting([{ gsi: 4, type: "irqchip", irqchip: 9, pin: 0 }]));
    refuses("EINVAL", () => m.vm.setGsiRouting([{ gsi: 4, type: "irqchip", irqchip: b.KVM_IRQCHIP_IOAPIC, pin: 99 }]));
    refuses("EINVAL", () => m.vm.setGsiRouting([{ gsi: 1 << 20, type: "msi", address: 0xfee00000, data: 0x50 }]));
    m.vm.irqLine(4, 1);
    expectInterrupt(m);
  },
  { source: "api.rst, KVM_SET_GSI_ROUTING" },
);

const irqfdSource = { source: "api.rst, KVM_IRQFD" };

it(
  "irqfd",
  "a signal of an irqfd is an edge on its GSI, once for each",
  () => {
    using m = picMachine(0x25);
    using eventfd = EventFd.create();
    m.vm.irqfd({ eventfd, gsi: 5 });
    for (let i = 0; i < 3; i++) {
      eventfd.signal();
      expectInterrupt(m);
    }
  },
  irqfdSource,
);

it(
  "irqfd-early",
  "a signal from before the assignment is an interrupt at once",
  () => {
    using m = picMachine(0x25);
    using eventfd = EventFd.create();
    eventfd.signal();
    m.vm.irqfd({ eventfd, gsi: 5 });
    expectInterrupt(m);
  },
  irqfdSource,
);

it(
  "irqfd-deassign",
  "after deassigning, signals stay in the eventfd",
  () => {
    using m = picMachine(0x25);
    using eventfd = EventFd.create();
    m.vm.irqfd({ eventfd, gsi: 5 });
    m.vm.irqfd({ eventfd, gsi: 5, deassign: true });
    eventfd.signal();
    equal(m.vm.getIrqchip(b.KVM_IRQCHIP_PIC_MASTER).pic.irr & 0x20, 0, "IRR bit 5");
    equal(eventfd.take(), 1, "the counter");
  },
  irqfdSource,
);

it(
  "irqfd-msi",
  "an irqfd on a GSI that is routed to an MSI interrupts with the MSI's vector",
  () => {
    using m = ioapicMachine(ioapicEdge);
    using eventfd = EventFd.create();
    m.vm.setGsiRouting([{ gsi: 30, type: "msi", address: 0xfee00000, data: 0x50 }]);
    m.vm.irqfd({ eventfd, gsi: 30 });
    eventfd.signal();
    expectInterrupt(m);
  },
  irqfdSource,
);

it(
  "irqfd-rerouted",
  "an irqfd follows its GSI when the routing changes",
  () => {
    using m = ioapicMachine(ioapicEdge);
    using eventfd = EventFd.create();
    m.vm.setGsiRouting([{ gsi: 30, type: "msi", address: 0xfee00000, data: 0x51 }]);
    m.vm.irqfd({ eventfd, gsi: 30 });
    m.vm.setGsiRouting([{ gsi: 30, type: "msi", address: 0xfee00000, data: 0x50 }]);
    eventfd.signal();
    expectInterrupt(m);
  },
  irqfdSource,
);

it(
  "irqfd-resample",
  "with resampling the line stays up until the EOI, and the resample eventfd is signalled then",
  () => {
    needs("KVM_CAP_IRQFD_RESAMPLE");
    using m = ioapicMachine(ioapicLevel);
    using eventfd = EventFd.create();
    using resample = EventFd.create();
    m.vm.irqfd({ eventfd, gsi: 10, resample });
    eventfd.signal();
    m.expectOut(0x77, "the interrupt");
    equal(resample.take(), 0, "resample signals in the handler");
    m.expectOut(0x78, "the end of interrupt");
    equal(resample.take(), 1, "resample signals behind the EOI");
    eventfd.signal();
    expectInterrupt(m);
  },
  irqfdSource,
);

it(
  "irqfd-busy",
  "one eventfd is the irqfd of one GSI at a time: EBUSY",
  () => {
    using m = picMachine(0x25);
    using eventfd = EventFd.create();
    m.vm.irqfd({ eventfd, gsi: 5 });
    refuses("EBUSY", () => m.vm.irqfd({ eventfd, gsi: 6 }));
  },
  irqfdSource,
);

it(
  "irqfd-checked",
  "an irqfd of a descriptor that is no eventfd is EINVAL, with unknown flags EINVAL",
  () => {
    using m = picMachine(0x25);
    using eventfd = EventFd.create();
    const assign = (fd: number, flags: number) =>
      m.vm.ioctlBytes(b.KVM_IRQFD, b.Irqfd.from({ fd, gsi: 5, flags }).bytes);
    refuses("EINVAL", () => assign(m.vm.fd, 0));
    refuses("EINVAL", () => assign(eventfd.fd, 0x80));
  },
  irqfdSource,
);

it(
  "pending-survives-save",
  "an interrupt that waits is delivered to another VM that takes over the irqchip's state",
  () => {
    using from = picMachine(0x24);
    from.vm.irqLine(4, 1);
    using to = picMachine(0x24);
    for (const id of [b.KVM_IRQCHIP_PIC_MASTER, b.KVM_IRQCHIP_PIC_SLAVE, b.KVM_IRQCHIP_IOAPIC])
      to.vm.setIrqchip(from.vm.getIrqchip(id));
    expectInterrupt(to);
  },
  { source: "api.rst, KVM_SET_IRQCHIP" },
);

const split = (vm: Vm) => {
  needs("KVM_CAP_SPLIT_IRQCHIP", vm);
  vm.enableCap(b.KVM_CAP_SPLIT_IRQCHIP, 24);
};
const splitSource = { source: "api.rst, KVM_CAP_SPLIT_IRQCHIP" };

const splitGuest = asm32`
  ${APIC_ENABLE}
  out 0x70, al
  ${WAIT}
  ${HANDLER_ORG}
  out 0x77, al
  ${APIC_EOI}
  out 0x78, al
  ${BACK_TO_WAIT}`;

it(
  "split-msi",
  "with a split irqchip an MSI interrupts, and the I/O APIC's address is user space's",
  () => {
    using m = machine(splitGuest, { prepare: split, handlers: { 80: HANDLER } });
    m.expectOut(0x70, "set-up");
    equal(m.vm.signalMsi({ address: 0xfee00000, data: 0x50 }), 1, "CPUs that took it");
    expectInterrupt(m);
  },
  splitSource,
);

it(
  "split-eoi-exit",
  "the EOI of a vector that a route marks as level-triggered is an exit with that vector",
  () => {
    using m = machine(splitGuest, { prepare: split, handlers: { 80: HANDLER } });
    m.vm.setGsiRouting([{ gsi: 3, type: "msi", address: 0xfee00000, data: 0x8050 }]);
    m.expectOut(0x70, "set-up");
    m.vm.irqLine(3, 1);
    m.expectOut(0x77, "the interrupt");
    equal(m.expectExit(b.KVM_EXIT_IOAPIC_EOI).eoiVector, 0x50, "the vector");
    m.expectOut(0x78, "the end of interrupt");
  },
  { source: "api.rst, KVM_EXIT_IOAPIC_EOI" },
);

it(
  "split-edge-no-exit",
  "the EOI of an edge-triggered vector is no exit",
  () => {
    using m = machine(splitGuest, { prepare: split, handlers: { 80: HANDLER } });
    m.vm.setGsiRouting([{ gsi: 3, type: "msi", address: 0xfee00000, data: 0x50 }]);
    m.expectOut(0x70, "set-up");
    m.vm.irqLine(3, 1);
    expectInterrupt(m);
  },
  splitSource,
);

it(
  "split-no-chips",
  "a split irqchip has no 8259 and no I/O APIC to read: ENXIO",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    split(vm);
    refuses("ENXIO", () => vm.getIrqchip(b.KVM_IRQCHIP_IOAPIC));
    refuses("EEXIST", () => vm.createIrqchip());
  },
  splitSource,
);

it(
  "split-extint",
  "with a split irqchip KVM_INTERRUPT is user space's 8259: the vector comes when the guest lets it",
  () => {
    using m = machine(extint, { prepare: split, handlers: { 96: HANDLER } });
    m.expectOut(0x70, "set-up");
    m.vcpu.interrupt(0x60);
    m.expectOut(0x77, "the interrupt");
  },
  { source: "api.rst, KVM_INTERRUPT" },
);

const extint = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[0xfee00350], 0x700
  out 0x70, al
  ${WAIT}
  ${HANDLER_ORG}
  out 0x77, al
  ${BACK_TO_WAIT}`;
