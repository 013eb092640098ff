/**
 * A guest that does to its PCI bus whatever it likes while its devices are at work: by ports, by ECAM and through capability
 * windows, with BARs over RAM, over each other and over what stands fast. KVM's own ioeventfds are asked where there is a KVM.
 *
 *   FUZZ_STEPS=N FUZZ_SEED=S          so many steps, from that seed
 */
import { EventFd, KVM_CAP_SPLIT_IRQCHIP, Kvm, KvmError, type Vm } from "@tools-kvm/kvm-binding";
import { hasKvm, NEEDS_KVM } from "tools-testing";
import { describe, expect, it } from "vitest";
import { readWindow, writeWindow } from "../bus/bus.js";
import { IOAPIC, IOAPIC_PINS, IOAPIC_REGISTER, REDIRECTION } from "../devices/ioapic/ioapic.js";
import { PCIEXBAR } from "../devices/pci-host/functions.js";
import { generator, type Random } from "../virtio/fuzzing.js";
import { FEATURE, STATUS } from "../virtio/ids.js";
import { BAR, BAR_BYTES, COMMAND, CONFIG, NOTIFY_MULTIPLIER, PCI_CFG } from "../virtio/pci/layout.js";
import { interruptDriver } from "../virtio/pci/msix.js";
import { DeviceServer } from "../virtio/server.js";
import { TestDriverQueue, TestMemory } from "../virtio/testing.js";
import { COMMON, type PciState } from "../virtio/transport-pci.js";
import { Assembly, createState } from "./assembly.js";
import { IOAPIC_BASE, LAPIC_BASE, MMIO_HOLE_START, PCI_ECAM_BASE, PCI_WINDOWS } from "./memory-map.js";
import { pciWiring } from "./pci-wiring.js";
import type { MachineSpec } from "./spec.js";
import { placeVirtio } from "./virtio.js";
import { messageRoute } from "./vm-wiring.js";

const STEPS = Number(process.env.FUZZ_STEPS ?? 5_000);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);

const spec = {
  name: "hostile",
  cpus: 1,
  memoryBytes: 2 ** 24,
  virtio: [
    { kind: "entropy" },
    { kind: "block", path: "/disk", readonly: false, cache: "writeback", serial: "", queues: 2, sizeBytes: 2 ** 20 },
    { kind: "vsock", cid: 3, path: "/sock" },
  ],
  bus: "pci",
  testDevices: false,
} satisfies Omit<MachineSpec, "irqchip">;
const ENTROPY_SLOT = 1;
const SLOT_BYTES = 0x8000;
const RINGS = 0x1000;
const BUFFER = { gpa: 0x8000, length: 64, writable: true };
const NAMES = placeVirtio(spec).map(({ device }) => device.name);
const WIDTHS = [1, 2, 4] as const;

/** KVM's table of ioeventfds, as it takes them; without KVM the same rules (virt/kvm/eventfd.c). */
class Ioeventfds {
  readonly at = new Map<number, EventFd>();
  readonly setGsiRouting: Vm["setGsiRouting"];

  constructor(private readonly kvm: Vm | undefined) {
    this.setGsiRouting = (entries) => this.kvm?.setGsiRouting(entries);
  }
  ioeventfd(options: Parameters<Vm["ioeventfd"]>[0]): void {
    const { addr, eventfd, deassign } = options;
    const mine = this.at.get(Number(addr));
    const works = deassign ? mine === eventfd : mine === undefined;
    try {
      if (this.kvm !== undefined) this.kvm.ioeventfd(options);
      else if (!works) throw new KvmError("ERRNO", "KVM_IOEVENTFD", 17, "");
    } catch (error) {
      expect(works).toBe(false);
      throw error;
    }
    expect(works).toBe(true);
    if (deassign) this.at.delete(Number(addr));
    else this.at.set(Number(addr), eventfd);
  }
}

class HostileGuest {
  readonly kernel: Ioeventfds;
  readonly assembly: Assembly;
  readonly memory = new TestMemory(0x2_0000);
  readonly #wires = new Map(
    placeVirtio(spec).map(({ device }) => [
      device.name,
      {
        kicks: device.queueSizes.map(() => EventFd.create()),
        line: { gsi: 16, raise: EventFd.create(), lowered: EventFd.create() },
      },
    ]),
  );
  readonly #server: DeviceServer;
  interrupts = 0;

  constructor(
    vm: Vm | undefined,
    irqchip: MachineSpec["irqchip"],
    private readonly random: Random,
  ) {
    const machine: MachineSpec = { ...spec, irqchip };
    this.kernel = new Ioeventfds(vm);
    const nothing = (): void => {};
    this.assembly = new Assembly(machine, createState(machine), {
      irqLine: nothing,
      sendMsi: nothing,
      routeMsis: (messages) => this.kernel.setGsiRouting(messages.map(messageRoute)),
      pci: pciWiring(() => this.kernel as unknown as Vm, this.#wires, [PCI_WINDOWS]),
      wakeReader: nothing,
      request: nothing,
      memory: () => undefined,
      fwCfgItem: () => undefined,
      flash: () => undefined,
      nowNs: () => 0,
      wallClockMs: () => 0,
    });
    this.assembly.reset();
    const state = this.#state("virtio-rng0");
    const count = (): void => void this.interrupts++;
    this.#server = new DeviceServer({
      state,
      backend: { handle: (_queue, { writable }) => writable.reduce((sum, { length }) => sum + length, 0), close() {} },
      memory: this.memory,
      interrupt: (queue = 1) => interruptDriver(state, queue, { vector: count, line: count }),
      onFault: nothing,
      nowNs: () => 0,
    });
  }

  #state(name: string): PciState {
    return this.assembly.device(name).state as PciState;
  }
  close(): void {
    for (const { kicks, line } of this.#wires.values())
      for (const eventfd of [...kicks, line.raise, line.lowered]) eventfd.close();
  }

  read(address: number, sizeBytes: number): number {
    const window = this.assembly.mmio.find(address);
    return window === undefined ? 2 ** (8 * sizeBytes) - 1 : readWindow(window, address, sizeBytes);
  }
  write(address: number, sizeBytes: number, value: number): void {
    const window = this.assembly.mmio.find(address);
    if (window !== undefined) writeWindow(window, address, sizeBytes, value % 2 ** (8 * sizeBytes));
  }
  /** Reads and writes a register of the configuration space: by the ports or by ECAM, as it happens. */
  config(slot: number, register: number, sizeBytes: number, value: number): void {
    if (this.random(2) === 0) {
      const address = PCI_ECAM_BASE + SLOT_BYTES * slot + register;
      this.read(address, sizeBytes);
      this.write(address, sizeBytes, value);
    } else this.configByPorts(slot, register, sizeBytes, value);
  }
  configByPorts(slot: number, register: number, sizeBytes: number, value: number): void {
    const ports = this.assembly.pio.find(0xcf8)!;
    writeWindow(ports, 0xcf8, 4, 0x8000_0000 + slot * 0x800 + (register & 0xfc));
    const port = 0xcfc + (register & 3);
    readWindow(ports, port, sizeBytes);
    writeWindow(ports, port, sizeBytes, value % 2 ** (8 * sizeBytes));
  }

  /** One thing that a driver would not do. */
  step(): void {
    const { random } = this;
    const slot = random(5);
    const sizeBytes = WIDTHS[random(3)]!;
    const value = random(3) === 0 ? this.#somewhere() : random(2 ** 32);
    switch (random(9)) {
      case 0:
        this.config(slot, CONFIG.BAR0, 4, this.#somewhere());
        break;
      case 1:
        this.config(slot, CONFIG.COMMAND, 2, random(3) === 0 ? value : COMMAND.MEMORY | COMMAND.BUS_MASTER);
        break;
      case 2:
        this.config(random(32), random(256), sizeBytes, value);
        break;
      case 3:
        this.config(slot, CONFIG.PCI_CFG + PCI_CFG.OFFSET, 4, random(9) * 0x1000 + random(0x40));
        this.config(slot, CONFIG.PCI_CFG + PCI_CFG.LENGTH, 4, random(6));
        this.config(slot, CONFIG.PCI_CFG + PCI_CFG.DATA, sizeBytes, value);
        break;
      case 4:
        this.write(PCI_ECAM_BASE + random(2 ** 20), sizeBytes, value);
        this.read(PCI_ECAM_BASE + random(2 ** 20), sizeBytes);
        break;
      case 5:
        // Nobody's, or a split irqchip's.
        this.write(IOAPIC_BASE + IOAPIC.IOREGSEL, 4, IOAPIC_REGISTER.REDIRECTION + 2 * (14 + random(8)) + random(2));
        this.write(IOAPIC_BASE + IOAPIC.IOWIN, 4, random(2) === 0 ? value : REDIRECTION.LEVEL + random(256));
        break;
      default: {
        const { windowBase } = this.#state(NAMES[random(NAMES.length)]!);
        const page = 0x1000 * random(9);
        this.write(windowBase + page + random(0x80), sizeBytes, value);
        this.read(windowBase + page + random(0x80), sizeBytes);
      }
    }
    this.#server.serve(0);
  }

  /** Where a BAR should not be, or should. */
  #somewhere(): number {
    const { random } = this;
    const window = PCI_WINDOWS.base + BAR_BYTES * random(4);
    const places = [0, 0x10_0000, MMIO_HOLE_START - BAR_BYTES, window, window, window, PCI_ECAM_BASE];
    return [...places, IOAPIC_BASE, LAPIC_BASE, 0xffff_8000, 0xffff_ffff, random(2 ** 32)][random(12)]!;
  }

  /** The entropy device as its driver takes it into use; a chain of it comes back, and interrupts. */
  drive(): void {
    const base = PCI_WINDOWS.base + 16 * BAR_BYTES;
    this.configByPorts(0, PCIEXBAR, 4, PCI_ECAM_BASE + 1);
    this.config(ENTROPY_SLOT, CONFIG.COMMAND, 2, 0);
    this.config(ENTROPY_SLOT, CONFIG.MSIX + 2, 2, 0);
    this.config(ENTROPY_SLOT, CONFIG.BAR0, 4, base);
    this.config(ENTROPY_SLOT, CONFIG.COMMAND, 2, COMMAND.MEMORY | COMMAND.BUS_MASTER);
    const common = (field: number, sizeBytes: number, value: number) =>
      this.write(base + BAR.COMMON + field, sizeBytes, value);
    this.memory.bytes.fill(0, RINGS, 0x8000);
    const queue = new TestDriverQueue(this.memory, 16, RINGS);
    common(COMMON.DEVICE_STATUS, 1, 0);
    common(COMMON.DEVICE_STATUS, 1, STATUS.ACKNOWLEDGE | STATUS.DRIVER);
    common(COMMON.DRIVER_FEATURE_SELECT, 4, 1);
    common(COMMON.DRIVER_FEATURE, 4, 1 << (FEATURE.VERSION_1 - 32));
    common(COMMON.DEVICE_STATUS, 1, STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK);
    common(COMMON.QUEUE_SELECT, 2, 0);
    common(COMMON.QUEUE_SIZE, 2, 16);
    common(COMMON.QUEUE_DESC, 4, queue.descriptors);
    common(COMMON.QUEUE_DRIVER, 4, queue.available);
    common(COMMON.QUEUE_DEVICE, 4, queue.used);
    common(COMMON.QUEUE_ENABLE, 2, 1);
    common(COMMON.DEVICE_STATUS, 1, 15);
    const head = queue.offer([BUFFER]);
    const before = this.interrupts;
    this.#server.serve(0);
    expect(queue.collect()).toEqual([{ head, written: BUFFER.length }]);
    expect(this.interrupts).toBe(before + 1);
    const kick = this.#wires.get("virtio-rng0")!.kicks[0];
    expect(this.kernel.at.get(base + BAR.NOTIFY)).toBe(kick);
  }

  /** What holds at any moment. */
  check(): void {
    const { mmio } = this.assembly;
    // What stands fast is seen where it stands.
    expect(mmio.find(PCI_ECAM_BASE)?.device.definition.name).toBe("pci-host");
    for (const name of NAMES) {
      const { windowBase } = this.#state(name);
      if (windowBase === 0) continue;
      expect(windowBase % BAR_BYTES).toBe(0);
      const found = mmio.find(windowBase);
      expect(found === undefined ? -1 : windowBase - found.base).toBeGreaterThanOrEqual(0);
    }
    // The kernel has nobody's notification address where that function is no longer, and the first's where some are.
    const expected = new Set<number>();
    for (const [name, { kicks }] of this.#wires) {
      const { windowBase } = this.#state(name);
      if (windowBase < PCI_WINDOWS.base || windowBase >= PCI_WINDOWS.base + PCI_WINDOWS.sizeBytes) continue;
      kicks.forEach((_, queue) => {
        expected.add(windowBase + BAR.NOTIFY + NOTIFY_MULTIPLIER * queue);
      });
    }
    for (const [addr, eventfd] of this.kernel.at) {
      expect(expected.has(addr)).toBe(true);
      const [name] = [...this.#wires].find(([, { kicks }]) => kicks.includes(eventfd))!;
      expect(addr - this.#state(name).windowBase - BAR.NOTIFY).toBeLessThan(0x1000);
    }
    expect(this.memory.isGuardIntact).toBe(true);
  }
}

function attack(vm: Vm | undefined, irqchip: MachineSpec["irqchip"] = "kernel"): void {
  const guest = new HostileGuest(vm, irqchip, generator(SEED));
  try {
    for (let step = 1; step <= STEPS; step++) {
      guest.step();
      guest.check();
      if (step % 64 === 0) guest.drive();
    }
  } finally {
    guest.close();
  }
}

describe(`${STEPS} accesses to a PCI bus that no driver makes (FUZZ_SEED=${SEED})`, () => {
  it("move no device over another, and let every driver begin anew", () => attack(undefined), 3_600_000);

  it.skipIf(!hasKvm).each(["kernel", "split"] as const)(
    `leave no ioeventfd of KVM's where it does not belong, and no route that it refuses: irqchip %s${NEEDS_KVM}`,
    (irqchip) => {
      using kvm = Kvm.open();
      using vm = kvm.createVm();
      if (irqchip === "kernel") vm.createIrqchip();
      else vm.enableCap(KVM_CAP_SPLIT_IRQCHIP, IOAPIC_PINS);
      attack(vm, irqchip);
    },
    3_600_000,
  );
});
