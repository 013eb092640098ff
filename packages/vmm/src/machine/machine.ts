/**
 * A machine's life: built from a spec and a kernel, started, paused, reset, stopped. This runs on the main thread and
 * never enters a guest; it talks to the vCPU Workers through control words and kicks (`control.ts`).
 */

import type { Worker } from "node:worker_threads";
import { EventFd, ExitLedger, type GuestSymbolsPlace, Kvm, monotonicNs, watch } from "@tools-kvm/kvm-binding";
import { guestSymbols } from "../boot/guest-symbols.js";
import type { KernelImage } from "../boot/kernel-image.js";
import { loadKernel } from "../boot/load.js";
import { acpiPm, pressPowerButton } from "../devices/acpi-pm/acpi-pm.js";
import { buildItems, type FwCfgItems } from "../devices/fw-cfg/items.js";
import { Assembly, createState, type MachineRequest, namedExits } from "./assembly.js";
import { Balloon } from "./balloon.js";
import { Console } from "./console.js";
import { COMMAND, VCPU_STATE } from "./control.js";
import { type CrashReport, crashReport } from "./crash-report.js";
import { enterKernel } from "./entry-state.js";
import { type Firmware, ROM_END, shadowRom } from "./firmware-rom.js";
import { firmwareTables, placeFirmwareTables } from "./firmware-tables.js";
import { FlashMemory } from "./flash-memory.js";
import { firmwareContents, machineContents } from "./fw-cfg-contents.js";
import { GuestRam, ramSpan } from "./guest-ram.js";
import { GuestStream } from "./guest-stream.js";
import { InputQueue } from "./input-queue.js";
import { IoPause } from "./io-pause.js";
import { IoThread } from "./io-thread.js";
import { ledgerSlots } from "./ledger-slots.js";
import { e820Map } from "./memory-map.js";
import type { OutputName } from "./pc.js";
import { sharePciWires } from "./pci-wiring.js";
import type { MachineSpec } from "./spec.js";
import type { LoopEnd } from "./vcpu-loop.js";
import { takeVcpuThread } from "./vcpu-thread.js";
import type { ToVcpu, VcpuMessage } from "./vcpu-worker.js";
import { placeVirtio, VirtioWires } from "./virtio.js";
import { VirtualMachine } from "./virtual-machine.js";
import { vmWiring } from "./vm-wiring.js";

/** What a guest is booted from. */
export interface BootSource {
  readonly image: KernelImage;
  readonly commandLine: string;
  readonly modules: readonly { bytes: Uint8Array; commandLine: string }[];
  /** Nobody has asked for this kernel: firmware boots a disk rather than it. */
  readonly isFallback?: boolean;
  /** Loads the kernel in the machine's place; without it the kernel is entered at once. */
  readonly firmware?: Firmware;
}

/** How a machine ended. `status` is the exit code that `vmm run` passes on. */
export type MachineEnd =
  | { readonly why: "poweroff"; readonly status: 0 }
  | { readonly why: "exit"; readonly status: number }
  | { readonly why: "reset"; readonly status: 0 }
  | { readonly why: "panicked"; readonly status: 1 }
  | { readonly why: "stopped"; readonly status: 0 }
  | { readonly why: "crashed"; readonly status: 1; readonly report: CrashReport }
  | { readonly why: "failed"; readonly status: 1; readonly message: string };

/** A machine is in exactly one of these; an action that a phase does not allow is refused (control/actions.ts). */
export type Phase = "starting" | "running" | "paused" | "resetting" | "ended";

export interface MachineOptions {
  readonly spec: MachineSpec;
  /** Bytes the guest has written to an output. False holds further output back until `releaseOutputs`. */
  onOutput(output: OutputName, bytes: Uint8Array): boolean;
  /** Called after `receive` has said false: more may come. */
  onInputTaken?(): void;
  /** One line for whoever runs the machine: a disk that fails, a driver that breaks the rules. */
  onLog?(message: string): void;
  /** What happens when the guest asks for a reset: false ends the machine instead. */
  readonly resetOnRequest?: boolean;
}

/** How long a kicked vCPU may take to leave the guest before something is wrong. */
const KICK_TIMEOUT_MS = 2_000;
/** When input that found the device full is offered again: soon, and ever later while the guest takes nothing. */
const INPUT_RETRY_MS = { FIRST: 1, LAST: 32 } as const;
/** Whoever sends input is asked to wait while this much is on its way. */
const INPUT_BACKLOG_BYTES = 4 * 1024;

export class Machine {
  readonly spec: MachineSpec;
  readonly ram: GuestRam;
  /** Stays open when the machine has ended, so that its counts can be read; whoever has read them disposes of it. */
  readonly ledger: ExitLedger;
  readonly assembly: Assembly;
  /** Settles once, when the machine has ended and everything it held is closed. */
  readonly ended: Promise<MachineEnd>;
  readonly startedAtMs = Date.now();
  /** What the guest gives back of its memory, when the machine has such a device. */
  readonly balloon: Balloon | undefined;
  /** The guest's terminal on virtio (hvc0), when the machine has one. */
  readonly console: Console | undefined;
  /** By name, ports whose other ends are here. */
  readonly ports: ReadonlyMap<string, GuestStream>;

  readonly #options: MachineOptions;
  readonly #state: SharedArrayBuffer;
  readonly #kvm: Kvm;
  readonly #wake: EventFd;
  readonly #workers: Worker[] = [];
  readonly #wires: readonly VirtioWires[];
  readonly #ioThreads: IoThread[] = [];
  readonly #ioPause: IoPause;
  readonly #inLoop = new Set<number>();
  /** Outputs whose reader is slow: what the guest writes stays in their rings, and then the guest waits. */
  readonly #heldOutputs = new Set<OutputName>();
  readonly #input = new InputQueue();
  /** False until the guest has set its serial port up: what came before would be lost when it does. */
  #serialUsed = false;
  #inputRetryMs: number = INPUT_RETRY_MS.FIRST;
  #inputTimer: NodeJS.Timeout | undefined;
  #watch: { close(): void } | undefined;
  #source: BootSource | undefined;
  #hardware: VirtualMachine | undefined;
  #fwCfgItems: FwCfgItems = new Map();
  #flash: FlashMemory | undefined;
  #phase: Phase = "starting";
  /** Somebody looks at the vCPUs and needs them still, whatever the phase is. */
  #holds = 0;
  #settle!: (end: MachineEnd) => void;
  /** Told when the last Worker has left its loop. */
  #onLoopsLeft: (() => void)[] = [];

  /** Builds the machine and starts its Workers, which come up while the caller reads the kernel. */
  constructor(options: MachineOptions) {
    const { spec } = options;
    this.spec = spec;
    this.#options = options;
    this.#kvm = Kvm.open();
    this.#wake = EventFd.create();
    this.#state = createState(spec);
    this.#wires = placeVirtio(spec).map((placement) => new VirtioWires(placement));
    this.ledger = ExitLedger.create({
      machineName: spec.name,
      vcpuIds: Array.from({ length: spec.cpus }, (_, id) => id),
      slots: ledgerSlots(namedExits(spec)),
    });
    try {
      for (let index = 0; index < spec.cpus; index++) this.#workers.push(this.#startWorker(index));
      this.ram = GuestRam.create(spec.memoryBytes);
      this.#wires.forEach((wires, index) => {
        this.#ioThreads.push(this.#startIoThread(wires, index));
      });
    } catch (error) {
      this.#close();
      throw error;
    }
    this.assembly = new Assembly(spec, this.#state, {
      ...vmWiring(() => this.#hardware?.vm),
      wakeReader: () => this.#wake.signal(),
      request: (request) => this.#onRequest(request),
      memory: (gpa, maxBytes) => ramSpan(this.ram.windows(), gpa, maxBytes),
      fwCfgItem: (key) => this.#fwCfgItems.get(key),
      flash: () => undefined,
      nowNs: monotonicNs,
      wallClockMs: Date.now,
    });
    this.#ioPause = new IoPause(
      this.#wires.map(({ placement }) => this.assembly.device(placement.device.name).state.shared),
    );
    const balloon = this.#wires.find(({ placement }) => placement.spec.kind === "balloon");
    this.balloon = balloon && new Balloon(this.assembly.device(balloon.placement.device.name), balloon);
    [this.console, this.ports] = this.#guestStreams();
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get phase(): Phase {
    return this.#phase;
  }

  /**
   * Boots `source`; once. Throws BootError when it does not fit, KvmError when KVM refuses; then the machine has ended.
   * A machine that was stopped before is left alone.
   */
  start(source: BootSource): void {
    if (this.#phase === "ended") return;
    if (this.#phase !== "starting") throw new Error("a machine is started once; reset() boots it again");
    this.#source = source;
    this.ledger.setGuestSymbols(symbolsOf(source));
    try {
      this.#watch = watch(this.#wake, () => {
        this.#wake.take();
        this.#drainOutputs();
      });
      this.#drainOutputs(); // declares the reader asleep
      this.#boot();
    } catch (error) {
      this.#finish({ why: "failed", status: 1, message: (error as Error).message });
      throw error;
    }
  }

  #startWorker(index: number): Worker {
    const worker = takeVcpuThread();
    tell(worker, {
      type: "assemble",
      spec: this.spec,
      state: this.#state,
      index,
      wake: this.#wake.share(),
      ledger: this.ledger.share(),
      pciWires: sharePciWires(this.#wires),
    });
    worker.on("message", (message: VcpuMessage) => this.#onMessage(index, message));
    worker.on("error", (error) => this.#onMessage(index, { type: "failed", message: error.message }));
    worker.on("exit", () => this.#onMessage(index, { type: "failed", message: "its thread has ended" }));
    return worker;
  }

  #startIoThread(wires: VirtioWires, index: number): IoThread {
    return new IoThread({
      spec: this.spec,
      state: this.#state,
      ram: this.ram,
      index,
      wires,
      onLog: (message) => this.#options.onLog?.(message),
      onStats: (stats) => this.balloon?.receive(stats),
      onFailure: (message) => this.#finish({ why: "failed", status: 1, message }),
    });
  }

  #guestStreams(): [Console | undefined, Map<string, GuestStream>] {
    let console: Console | undefined;
    const ports = new Map<string, GuestStream>();
    for (const wires of this.#wires) {
      const { spec, device } = wires.placement;
      wires.streams.forEach((pair, index) => {
        const port = spec.kind === "console" ? spec.ports[index] : undefined;
        if (pair === undefined) return;
        if (port === undefined) console ??= new Console(this.assembly.device(device.name), wires, pair[0]);
        else ports.set(port.name, new GuestStream(pair[0]));
      });
    }
    return [console, ports];
  }

  get #streams(): GuestStream[] {
    return [...(this.console === undefined ? [] : [this.console]), ...this.ports.values()];
  }

  #boot(): void {
    const source = this.#source!;
    this.#hardware = new VirtualMachine(this.#kvm, this.spec, this.ram, this.#wires);
    this.assembly.reset();
    this.#serialUsed = false;
    if (source.firmware === undefined) this.#loadKernel(source);
    else this.#plugFirmware(source, source.firmware);
    const { vm, vcpus } = this.#hardware;
    this.assembly.command.set(this.#holds > 0 ? COMMAND.PAUSE : COMMAND.RUN);
    vcpus.forEach((vcpu, index) => {
      this.#inLoop.add(index);
      tell(this.#workers[index]!, {
        type: "run",
        vm: vm.share(),
        vcpu: vcpu.share(),
        ram: this.ram.windows(),
        fwCfgItems: this.#fwCfgItems,
        flash: this.#flash?.share(),
      });
    });
    this.#phase = "running";
  }

  /** The kernel and what firmware would have left, in RAM; the first vCPU at its entry. */
  #loadKernel({ image, commandLine, modules }: BootSource): void {
    const tables = firmwareTables(this.spec);
    placeFirmwareTables(this.ram, tables);
    const entry = loadKernel({
      image,
      commandLine,
      modules,
      memory: this.ram,
      memoryMap: e820Map(this.spec.memoryBytes),
      rsdp: tables.rsdp,
    });
    this.#fwCfgItems = buildItems(machineContents(this.spec));
    enterKernel(this.#hardware!.vcpus[0]!, entry);
  }

  /** The first vCPU begins in firmware, which finds all the rest in fw_cfg. */
  #plugFirmware(source: BootSource, { bytes, variables }: Firmware): void {
    this.#fwCfgItems = buildItems(firmwareContents(this.spec, source));
    this.#hardware!.plugRom(bytes);
    shadowRom(this.ram, bytes);
    if (this.spec.flash === undefined || variables === undefined) return;
    // What the guest has changed outlives its reset.
    this.#flash ??= FlashMemory.create(this.spec.flash.base, variables, this.#hardware!.flashSlot);
    this.#flash.plug(this.#hardware!.vm);
  }

  #onMessage(index: number, message: VcpuMessage): void {
    switch (message.type) {
      case "log":
        this.#options.onLog?.(message.message);
        break;
      case "request":
        this.#onRequest(message.request);
        break;
      case "failed":
        this.#inLoop.delete(index);
        this.#finish({ why: "failed", status: 1, message: `vCPU ${index}: ${message.message}` });
        break;
      case "ended":
        this.#inLoop.delete(index);
        this.#onLoopEnd(index, message.end, message.runPage);
        break;
    }
    if (this.#inLoop.size === 0) for (const resolve of this.#onLoopsLeft.splice(0)) resolve();
  }

  #onLoopEnd(index: number, end: LoopEnd, runPage: Uint8Array): void {
    if (this.#phase === "ended" || this.#phase === "resetting") return;
    if (end.why === "crashed" || end.why === "halted") {
      const report = crashReport({ vcpu: this.#hardware!.vcpus[index]!, index, end, runPage, ram: this.#readable() });
      this.#finish({ why: "crashed", status: 1, report });
    }
  }

  /** Memory in which a guest may stand. */
  #readable(): { view(gpa: number, length: number): Uint8Array } {
    const rom = this.#source?.firmware?.bytes;
    const base = ROM_END - (rom?.length ?? 0);
    return {
      view: (gpa, length) =>
        rom && gpa >= base ? rom.subarray(gpa - base, gpa - base + length) : this.ram.view(gpa, length),
    };
  }

  #onRequest({ kind, status }: MachineRequest): void {
    if (this.#phase === "ended" || this.#phase === "resetting") return;
    if (kind === "poweroff") this.#finish({ why: "poweroff", status: 0 });
    else if (kind === "exit") this.#finish({ why: "exit", status });
    else if (kind === "panic") this.#finish({ why: "panicked", status: 1 });
    else if (this.#options.resetOnRequest === false) this.#finish({ why: "reset", status: 0 });
    else void this.reset();
  }

  /** Brings every vCPU to a halt where it stands, and the devices when they are done with the request at hand. */
  async pause(): Promise<void> {
    if (this.#phase !== "running") return;
    this.#phase = "paused";
    await this.#halt();
    await this.#ioPause.hold(KICK_TIMEOUT_MS, () => this.#isIn("paused"));
  }

  resume(): void {
    if (this.#phase !== "paused") return;
    this.#phase = "running";
    this.#ioPause.release();
    this.#goOn();
  }

  /** Resolves when every vCPU stands still, or when somebody has ordered something else meanwhile. */
  async #halt(): Promise<void> {
    const { command, vcpuStates } = this.assembly;
    command.set(COMMAND.PAUSE);
    this.#hardware?.kick();
    const isDue = (index: number): boolean => command.value === COMMAND.PAUSE && this.#inLoop.has(index);
    await Promise.all(
      [...this.#inLoop].map((index) =>
        vcpuStates[index]!.until(VCPU_STATE.PAUSED, KICK_TIMEOUT_MS, () => isDue(index)),
      ),
    );
  }

  #goOn(): void {
    if (this.#phase === "running" && this.#holds === 0) this.assembly.command.set(COMMAND.RUN);
  }

  /** Power-cycles the guest: fresh vCPUs and devices, the kernel loaded again, RAM otherwise as it was. */
  async reset(): Promise<void> {
    if (this.#phase !== "running" && this.#phase !== "paused") return;
    this.#phase = "resetting";
    this.#ioPause.release();
    await this.#stopLoops();
    // Somebody may have stopped the machine meanwhile.
    if (!this.#isIn("resetting")) return;
    this.#hardware?.close();
    this.#hardware = undefined;
    try {
      this.#boot();
    } catch (error) {
      this.#finish({ why: "failed", status: 1, message: `the reset failed: ${(error as Error).message}` });
    }
  }

  /** Presses the power button. False when the guest does not listen to it. */
  pressPowerButton(): boolean {
    const pm = this.assembly.device(acpiPm.name);
    pm.lock();
    try {
      return pressPowerButton(pm.state as Parameters<typeof pressPowerButton>[0], pm.port);
    } finally {
      pm.unlock();
    }
  }

  /** Ends the machine whatever the guest does. */
  async stop(): Promise<void> {
    this.#finish({ why: "stopped", status: 0 });
    await this.ended;
  }

  /** Looks at the vCPUs while they stand still; a machine that runs goes on afterwards. */
  async withPaused<T>(look: (hardware: VirtualMachine) => T): Promise<T> {
    this.#holds++;
    try {
      if (this.#isBooted()) await this.#halt();
      if (this.#hardware === undefined || !this.#isBooted()) throw new Error(`the machine is ${this.#phase}`);
      return look(this.#hardware);
    } finally {
      this.#holds--;
      this.#goOn();
    }
  }

  /**
   * Bytes for the serial port. What does not fit into its FIFO waits here. False when a lot waits already: hold back
   * what is not sent yet until `onInputTaken`.
   */
  receive(bytes: Uint8Array): boolean {
    this.#input.push(bytes);
    if (this.#inputTimer === undefined) this.#offerInput();
    return this.#input.length < INPUT_BACKLOG_BYTES;
  }

  #offerInput(): void {
    if (this.#phase === "ended") return;
    const serial = this.assembly.device("serial16550");
    const wasFull = this.#input.length >= INPUT_BACKLOG_BYTES;
    let taken = 0;
    serial.lock();
    try {
      if (this.#isListening(serial.state)) {
        taken = this.#input.offer((byte) => serial.definition.receive!(serial.state, byte, serial.port));
      }
    } finally {
      serial.unlock();
    }
    if (wasFull && this.#input.length < INPUT_BACKLOG_BYTES) this.#options.onInputTaken?.();
    this.#inputRetryMs = taken > 0 ? INPUT_RETRY_MS.FIRST : Math.min(2 * this.#inputRetryMs, INPUT_RETRY_MS.LAST);
    if (this.#input.length > 0) {
      this.#inputTimer = setTimeout(() => {
        this.#inputTimer = undefined;
        this.#offerInput();
      }, this.#inputRetryMs);
    }
  }

  /**
   * A guest empties the receive FIFO when it sets its UART up, so nothing is sent to a UART in its power-on state. One
   * that never sets it up but sends is listening all the same.
   */
  #isListening(serial: { ier?: number; fcr?: number; mcr?: number }): boolean {
    if (!this.#isBooted()) return false;
    this.#serialUsed ||= ((serial.ier ?? 0) | (serial.fcr ?? 0) | (serial.mcr ?? 0)) !== 0;
    return this.#serialUsed;
  }

  #drainOutputs(): void {
    for (const [name, ring] of this.assembly.outputs) {
      while (!this.#heldOutputs.has(name)) {
        const bytes = ring.take();
        if (bytes === undefined) break;
        if (name === "serial") this.#serialUsed = true;
        if (!this.#options.onOutput(name, bytes)) this.#heldOutputs.add(name);
        if (ring.takeRefused()) this.#outputDrained(name);
      }
    }
  }

  /** The places that outputs go to can take more again. */
  releaseOutputs(): void {
    if (this.#heldOutputs.size === 0) return;
    this.#heldOutputs.clear();
    this.#drainOutputs();
  }

  #outputDrained(name: OutputName): void {
    this.assembly.placements.forEach(({ output, definition }, index) => {
      if (output !== name || definition.outputDrained === undefined) return;
      const device = this.assembly.devices[index]!;
      device.lock();
      try {
        definition.outputDrained(device.state, device.port);
      } finally {
        device.unlock();
      }
    });
  }

  /** The phase as it is now: awaits let others change it, which the compiler cannot see. */
  #isIn(phase: Phase): boolean {
    return this.#phase === phase;
  }

  #isBooted(): boolean {
    return this.#phase === "running" || this.#phase === "paused";
  }

  async #stopLoops(): Promise<void> {
    this.assembly.command.set(COMMAND.STOP);
    this.#hardware?.kick();
    if (this.#inLoop.size === 0) return;
    await new Promise<void>((resolve) => void this.#onLoopsLeft.push(resolve));
  }

  #finish(end: MachineEnd): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    this.#ioPause.release();
    void this.#stopLoops().then(async () => {
      for (const stream of this.#streams) stream.flow();
      // Disks are closed by the threads that have them; nothing is lost when this process ends.
      await Promise.all(this.#ioThreads.map((thread) => thread.end()));
      try {
        this.#heldOutputs.clear();
        this.#drainOutputs();
        for (const stream of this.#streams) stream.close();
      } finally {
        this.#close();
        this.#settle(end);
      }
    });
  }

  #close(): void {
    this.#phase = "ended";
    clearTimeout(this.#inputTimer);
    this.#watch?.close();
    for (const worker of this.#workers) {
      worker.removeAllListeners();
      // One that is still coming up may fail now; nobody needs it any more.
      worker.on("error", () => {});
      void worker.terminate();
    }
    this.#hardware?.close();
    this.#flash?.close();
    for (const wires of this.#wires) wires.close();
    this.ram?.close();
    this.#wake.close();
    this.#kvm.close();
  }
}

function tell(worker: Worker, message: ToVcpu): void {
  worker.postMessage(message);
}

/** For whoever profiles the guest. */
function symbolsOf({ image, commandLine, firmware, isFallback }: BootSource): GuestSymbolsPlace {
  const bootsDisk = firmware !== undefined && isFallback === true;
  return bootsDisk ? { why: "the guest's firmware chose what to boot" } : guestSymbols(image, commandLine);
}
