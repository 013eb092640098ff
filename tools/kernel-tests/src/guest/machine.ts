/** A guest of one page of code: memory, one vCPU in the mode its code is written for, and what it did last in words. */
import * as b from "@tools-kvm/kvm-binding";
import { fail } from "../expect.js";
import { assembled, CODE, type GuestCode } from "./code.js";
import { describeExit, exitName } from "./exits.js";

/** Where things lie in a guest's first megabyte. Everything else is the test's. */
export const STACK_TOP = 0x4000;
export const DATA = 0x5000;
export const GDT = 0x6000;
export const IDT = 0x7000;
export const PAGE_TABLES = 0x10000;
export const MEMORY_BYTES = 0x100000;
/** Guest-physical addresses without memory, where accesses are MMIO. */
export const MMIO = 0xd0000000;

const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;
const CODE_DESCRIPTOR_32 = 0x00cf9b000000ffffn;
const CODE_DESCRIPTOR_64 = 0x00af9b000000ffffn;
const DATA_DESCRIPTOR = 0x00cf93000000ffffn;
const CR0_PE = 0x1n;
const CR0_ET = 0x10n;
const CR0_PG = 0x80000000n;
const CR4_PAE = 0x20n;
const EFER_LME_LMA = 0x500n;
const PAGE_PRESENT_WRITABLE_USER = 7n;
const PAGE_LARGE = 0x80n;
const GATE_INTERRUPT_PRESENT = 0x8e;

export interface MachineOptions {
  /** Runs before the vCPU is made: irqchips, capabilities. */
  readonly prepare?: (vm: b.Vm, kvm: b.Kvm) => void;
  /** What slot 0 is like; `null` leaves it out. */
  readonly slot0?: Partial<b.UserMemoryRegion> | null;
  /** What the guest's CPUID says; everything KVM supports unless given, `null` none. */
  readonly cpuid?: readonly b.CpuidEntry[] | null;
  /** Interrupt handlers by vector: guest-physical addresses, in the code's page by `.org`. */
  readonly handlers?: Readonly<Record<number, number>>;
  readonly vcpuId?: number;
}

export class Machine implements Disposable {
  readonly kvm = b.Kvm.open();
  readonly vm: b.Vm;
  readonly memory: b.GuestMemory;
  readonly vcpu: b.Vcpu;
  readonly run: b.Run;
  readonly view: DataView;

  constructor(code: GuestCode, options: MachineOptions = {}) {
    this.vm = this.kvm.createVm();
    this.memory = b.GuestMemory.create({ sizeBytes: MEMORY_BYTES });
    this.view = new DataView(this.memory.bytes.buffer, this.memory.bytes.byteOffset, MEMORY_BYTES);
    this.memory.bytes.set(assembled(code), CODE);
    options.prepare?.(this.vm, this.kvm);
    if (options.slot0 !== null)
      this.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: this.memory, ...options.slot0 });
    this.vcpu = this.vm.createVcpu(options.vcpuId ?? 0);
    if (options.cpuid !== null) this.vcpu.setCpuid2(options.cpuid ?? this.kvm.getSupportedCpuid());
    this.run = this.vcpu.runView;
    this.enter(code, this.vcpu);
    this.#writeHandlers(code, options.handlers ?? {});
  }

  /** Puts a vCPU at the start of the code, in the code's mode. */
  enter(code: GuestCode, vcpu: b.Vcpu): void {
    const sregs = vcpu.getSregs();
    if (code.bits === 16) enterRealMode(sregs);
    else if (code.bits === 32) this.#enterProtectedMode(sregs);
    else this.#enterLongMode(sregs);
    vcpu.setSregs(sregs);
    vcpu.setRegs({ rip: CODE, rsp: STACK_TOP, rflags: 2 });
  }

  /** Runs to the next exit and tells it in words: "out byte 0x10: 0x41", "hlt". A signal is told as "-EINTR". */
  next(): string {
    return nextExit(this.vcpu);
  }

  /** The exits up to and with the first that is no port or memory access. */
  trace(limit = 1000): string[] {
    const exits: string[] = [];
    while (exits.length < limit) {
      exits.push(this.next());
      if (!/^(in|out|read|write) /.test(exits.at(-1)!)) return exits;
    }
    return fail(`more than ${limit} exits, the last: ${exits.at(-1)}`);
  }

  /** Runs until the guest writes to a port, and gives the value it wrote. Everything else is a failure. */
  expectOut(port: number, what = `a write to port 0x${port.toString(16)}`): number {
    const reason = this.vcpu.run();
    const { run } = this;
    if (reason !== b.KVM_EXIT_IO || run.ioDirection !== b.KVM_EXIT_IO_OUT || run.ioPort !== port)
      fail(`expected ${what}, got ${reason < 0 ? b.errnoNames.get(-reason) : describeExit(run, this.vcpu.runPage)}`);
    const bytes = new DataView(this.vcpu.runPage, Number(run.ioDataOffset), run.ioSize);
    return run.ioSize === 1
      ? bytes.getUint8(0)
      : run.ioSize === 2
        ? bytes.getUint16(0, true)
        : bytes.getUint32(0, true);
  }

  /** Runs to an exit of this reason, or fails. */
  expectExit(reason: number): b.Run {
    const got = this.vcpu.run();
    if (got !== reason)
      fail(
        `expected ${exitName(reason)}, got ${got < 0 ? `-${b.errnoNames.get(-got)}` : describeExit(this.run, this.vcpu.runPage)}`,
      );
    return this.run;
  }

  /** What a port read or MMIO read of the guest gets. */
  answer(value: number): void {
    const { run } = this;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
    if (run.exitReason === b.KVM_EXIT_MMIO) run.mmioData.set(bytes);
    else new Uint8Array(this.vcpu.runPage).set(bytes.subarray(0, run.ioSize), Number(run.ioDataOffset));
  }

  [Symbol.dispose](): void {
    for (const handle of [this.vcpu, this.vm, this.memory, this.kvm]) handle.close();
  }

  #enterLongMode(sregs: b.Sregs): void {
    // PML4, PDPT, four page directories of 2 MiB pages: the first 4 GiB are where they are.
    const { view } = this;
    const entry = (table: number, index: number, value: bigint) => view.setBigUint64(table + index * 8, value, true);
    const pageTable = (n: number) => PAGE_TABLES + n * 0x1000;
    entry(pageTable(0), 0, BigInt(pageTable(1)) | PAGE_PRESENT_WRITABLE_USER);
    for (let gib = 0; gib < 4; gib++) {
      entry(pageTable(1), gib, BigInt(pageTable(2 + gib)) | PAGE_PRESENT_WRITABLE_USER);
      for (let i = 0; i < 512; i++)
        entry(pageTable(2 + gib), i, BigInt(gib * 2 ** 30 + i * 2 ** 21) | PAGE_PRESENT_WRITABLE_USER | PAGE_LARGE);
    }
    this.#enterProtectedMode(sregs);
    view.setBigUint64(GDT + CODE_SELECTOR, CODE_DESCRIPTOR_64, true);
    sregs.cs.assign({ l: 1, db: 0 });
    sregs.assign({ cr3: PAGE_TABLES, cr4: CR4_PAE, efer: EFER_LME_LMA, cr0: CR0_PE | CR0_ET | CR0_PG });
    sregs.idt.assign({ base: IDT, limit: 0xfff });
  }

  #enterProtectedMode(sregs: b.Sregs): void {
    // An interrupt loads CS from here, long after the segments were set.
    this.view.setBigUint64(GDT + CODE_SELECTOR, CODE_DESCRIPTOR_32, true);
    this.view.setBigUint64(GDT + DATA_SELECTOR, DATA_DESCRIPTOR, true);
    enterFlatMode(sregs);
  }

  #writeHandlers(code: GuestCode, handlers: Readonly<Record<number, number>>): void {
    const { view } = this;
    for (const [vector, address] of Object.entries(handlers)) {
      if (code.bits === 16) {
        view.setUint32(Number(vector) * 4, address, true);
        continue;
      }
      const gate = IDT + Number(vector) * (code.bits === 64 ? 16 : 8);
      view.setUint16(gate, address & 0xffff, true);
      view.setUint16(gate + 2, CODE_SELECTOR, true);
      view.setUint8(gate + 5, GATE_INTERRUPT_PRESENT);
      view.setUint16(gate + 6, address >>> 16, true);
    }
  }
}

function enterRealMode(sregs: b.Sregs): void {
  for (const segment of [sregs.cs, sregs.ds, sregs.es, sregs.ss]) segment.assign({ base: 0, selector: 0 });
}

function enterFlatMode(sregs: b.Sregs): void {
  const flat = { base: 0, limit: 0xffffffff, present: 1, s: 1, db: 1, g: 1, dpl: 0, unusable: 0, l: 0 };
  sregs.cs.assign({ ...flat, selector: CODE_SELECTOR, type: 11 });
  for (const segment of [sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss])
    segment.assign({ ...flat, selector: DATA_SELECTOR, type: 3 });
  sregs.gdt.assign({ base: GDT, limit: 0x17 });
  sregs.idt.assign({ base: IDT, limit: 0x7ff });
  sregs.cr0 = CR0_PE | CR0_ET;
}

/** As Machine.next, for any vCPU. One that starts by INIT and SIPI first says "-EAGAIN". */
export function nextExit(vcpu: b.Vcpu): string {
  const reason = vcpu.run();
  return reason < 0 ? `-${b.errnoNames.get(-reason)}` : describeExit(vcpu.runView, vcpu.runPage);
}

/** A machine with its vCPU at the start of `code`. */
export function machine(code: GuestCode, options: MachineOptions = {}): Machine {
  return new Machine(code, options);
}
