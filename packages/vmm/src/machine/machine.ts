/**
 * A machine's life: built from a spec and a kernel, started, paused, reset, stopped. This runs on the main thread and
 * never enters a guest; it talks to the vCPU Workers through control words and kicks (`control.ts`).
 */

import { Worker } from "node:worker_threads";
import { EventFd, ExitLedger, Kvm, monotonicNs, watch } from "@tools-kvm/kvm-binding";
import type { KernelImage } from "../boot/kernel-image.js";
import { loadKernel } from "../boot/load.js";
import { Assembly, createState, type MachineRequest, namedExits } from "./assembly.js";
import { COMMAND, VCPU_STATE } from "./control.js";
import { type CrashReport, crashReport } from "./crash-report.js";
import { enterKernel } from "./entry-state.js";
import { GuestRam } from "./guest-ram.js";
import { ledgerSlots } from "./ledger-slots.js";
import { e820Map } from "./memory-map.js";
import type { OutputName } from "./pc.js";
import type { MachineSpec } from "./spec.js";
import type { LoopEnd } from "./vcpu-loop.js";
import type { VcpuMessage, VcpuWorkerData } from "./vcpu-worker.js";
import { VirtualMachine } from "./virtual-machine.js";
import { vmWiring } from "./vm-wiring.js";

/** What a guest is booted from. */
export interface BootSource {
  readonly image: KernelImage;
  readonly commandLine: string;
  readonly modules: readonly { bytes: Uint8Array; commandLine: string }[];
}

/** How a machine ended. `status` is the exit code that `vmm run` passes on. */
export type MachineEnd =
  | { readonly why: "poweroff"; readonly status: 0 }
  | { readonly why: "exit"; readonly status: number }
  | { readonly why: "reset"; readonly status: 0 }
  | { readonly why: "stopped"; readonly status: 0 }
  | { readonly why: "crashed"; readonly status: 1; readonly report: CrashReport }
  | { readonly why: "failed"; readonly status: 1; readonly message: string };

/** A machine is in exactly one of these; an action that a phase does not allow is refused (control/actions.ts). */
export type Phase = "starting" | "running" | "paused" | "resetting" | "ended";

export interface MachineOptions {
  readonly spec: MachineSpec;
  /** Bytes the guest has written to an output. False holds further output back until `releaseOutputs`. */
  onOutput(output: OutputName, bytes: Uint8Array): boolean;
  /** Called when the guest asks for a reset; false ends the machine instead. */
  readonly resetOnRequest?: boolean;
}

/** How long a kicked vCPU may take to leave the guest before something is wrong. */
const KICK_TIMEOUT_MS = 2_000;
/** How often input that found the device full is offered again. */
const INPUT_RETRY_MS = 1;

export class Machine {
  readonly spec: MachineSpec;
  readonly ram: GuestRam;
  readonly ledger: ExitLedger;
  readonly assembly: Assembly;
  /** Settles once, when the machine has ended and everything it held is closed. */
  readonly ended: Promise<MachineEnd>;
  readonly startedAtMs = Date.now();

  readonly #options: MachineOptions;
  readonly #state: SharedArrayBuffer;
  readonly #kvm: Kvm;
  readonly #wake: EventFd;
  readonly #workers: Worker[];
  readonly #inLoop = new Set<number>();
  /** Outputs whose reader is slow: what the guest writes stays in their rings, and then the guest waits. */
  readonly #heldOutputs = new Set<OutputName>();
  readonly #input: number[] = [];
  #inputTimer: NodeJS.Timeout | undefined;
  #watch: { close(): void } | undefined;
  #source: BootSource | undefined;
  #hardware: VirtualMachine | undefined;
  #phase: Phase = "starting";
  #settle!: (end: MachineEnd) => void;
  #onLoopsLeft: (() => void) | undefined;

  /** Builds the machine and starts its Workers, which come up while the caller reads the kernel. */
  constructor(options: MachineOptions) {
    const { spec } = options;
    this.spec = spec;
    this.#options = options;
    this.#kvm = Kvm.open();
    this.#wake = EventFd.create();
    this.#state = createState(spec);
    this.ledger = ExitLedger.create({
      machineName: spec.name,
      vcpuIds: Array.from({ length: spec.cpus }, (_, id) => id),
      slots: ledgerSlots(namedExits(spec)),
    });
    this.#workers = Array.from({ length: spec.cpus }, (_, index) => this.#startWorker(index));
    this.ram = GuestRam.create(spec.memoryBytes);
    this.assembly = new Assembly(spec, this.#state, {
      ...vmWiring(() => this.#hardware?.vm),
      wakeReader: () => this.#wake.signal(),
      request: (request) => this.#onRequest(request),
      nowNs: monotonicNs,
      wallClockMs: Date.now,
    });
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Boots `source`. Throws BootError when it does not fit, KvmError when KVM refuses; then the machine is closed. */
  start(source: BootSource): void {
    this.#source = source;
    try {
      this.#watch = watch(this.#wake, () => {
        this.#wake.take();
        this.#drainOutputs();
      });
      this.#drainOutputs(); // declares the reader asleep
      this.#boot();
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  #startWorker(index: number): Worker {
    const workerData: VcpuWorkerData = {
      spec: this.spec,
      state: this.#state,
      index,
      wake: this.#wake.share(),
      ledger: this.ledger.share(),
    };
    const worker = new Worker(new URL("./vcpu-worker.js", import.meta.url), {
      name: `vcpu${index}`,
      workerData,
      // A vCPU's loop allocates nothing: the smallest heap does (measured in docs/performance.md).
      resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16, codeRangeSizeMb: 4, stackSizeMb: 1 },
    });
    worker.on("message", (message: VcpuMessage) => this.#onMessage(index, message));
    worker.on("error", (error) => this.#onMessage(index, { type: "failed", message: error.message }));
    return worker;
  }

  #boot(): void {
    const { image, commandLine, modules } = this.#source!;
    this.#hardware = new VirtualMachine(this.#kvm, this.spec, this.ram);
    this.assembly.reset();
    const entry = loadKernel({
      image,
      commandLine,
      modules,
      memory: this.ram,
      memoryMap: e820Map(this.spec.memoryBytes),
    });
    const { vm, vcpus } = this.#hardware;
    enterKernel(vcpus[0]!, entry);
    this.assembly.command.set(COMMAND.RUN);
    vcpus.forEach((vcpu, index) => {
      this.#inLoop.add(index);
      this.#workers[index]!.postMessage({ vm: vm.share(), vcpu: vcpu.share() });
    });
    this.#phase = "running";
  }

  #onMessage(index: number, message: VcpuMessage): void {
    switch (message.type) {
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
    if (this.#inLoop.size === 0) this.#onLoopsLeft?.();
  }

  #onLoopEnd(index: number, end: LoopEnd, runPage: Uint8Array): void {
    if (this.#phase === "ended" || this.#phase === "resetting") return;
    if (end.why === "crashed" || end.why === "halted") {
      const report = crashReport({ vcpu: this.#hardware!.vcpus[index]!, index, end, runPage, ram: this.ram });
      this.#finish({ why: "crashed", status: 1, report });
    }
  }

  #onRequest({ kind, status }: MachineRequest): void {
    if (this.#phase === "ended" || this.#phase === "resetting") return;
    if (kind === "poweroff") this.#finish({ why: "poweroff", status: 0 });
    else if (kind === "exit") this.#finish({ why: "exit", status });
    else if (this.#options.resetOnRequest === false) this.#finish({ why: "reset", status: 0 });
    else void this.reset();
  }

  /** Brings every vCPU to a halt where it stands. */
  async pause(): Promise<void> {
    if (this.#phase !== "running") return;
    this.#phase = "paused";
    this.assembly.command.set(COMMAND.PAUSE);
    this.#hardware!.kick();
    await Promise.all(
      [...this.#inLoop].map((index) => this.assembly.vcpuStates[index]!.until(VCPU_STATE.PAUSED, KICK_TIMEOUT_MS)),
    );
  }

  resume(): void {
    if (this.#phase !== "paused") return;
    this.#phase = "running";
    this.assembly.command.set(COMMAND.RUN);
  }

  /** Power-cycles the guest: fresh vCPUs and devices, the kernel loaded again, RAM otherwise as it was. */
  async reset(): Promise<void> {
    if (this.#phase !== "running" && this.#phase !== "paused") return;
    this.#phase = "resetting";
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

  /** Ends the machine whatever the guest does. */
  async stop(): Promise<void> {
    this.#finish({ why: "stopped", status: 0 });
    await this.ended;
  }

  /** Registers of every vCPU; the machine is paused for as long as it takes. */
  async withPaused<T>(look: (hardware: VirtualMachine) => T): Promise<T> {
    const wasRunning = this.#phase === "running";
    await this.pause();
    if (this.#hardware === undefined || !this.#isIn("paused")) throw new Error("the machine has ended");
    try {
      return look(this.#hardware);
    } finally {
      if (wasRunning) this.resume();
    }
  }

  /** Bytes for the serial port. What does not fit into its FIFO waits here. */
  receive(bytes: Uint8Array): void {
    for (const byte of bytes) this.#input.push(byte);
    this.#offerInput();
  }

  #offerInput(): void {
    if (this.#inputTimer !== undefined || this.#phase === "ended") return;
    const serial = this.assembly.device("serial16550");
    let taken = 0;
    serial.lock();
    try {
      while (taken < this.#input.length && serial.definition.receive!(serial.state, this.#input[taken]!, serial.port)) {
        taken++;
      }
    } finally {
      serial.unlock();
    }
    this.#input.splice(0, taken);
    if (this.#input.length > 0) {
      this.#inputTimer = setTimeout(() => {
        this.#inputTimer = undefined;
        this.#offerInput();
      }, INPUT_RETRY_MS);
    }
  }

  #drainOutputs(): void {
    for (const [name, ring] of this.assembly.outputs) {
      while (!this.#heldOutputs.has(name)) {
        const bytes = ring.take();
        if (bytes === undefined) break;
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

  async #stopLoops(): Promise<void> {
    this.assembly.command.set(COMMAND.STOP);
    this.#hardware?.kick();
    if (this.#inLoop.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onLoopsLeft = resolve;
    });
    this.#onLoopsLeft = undefined;
  }

  #finish(end: MachineEnd): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    void this.#stopLoops().then(() => {
      this.#heldOutputs.clear();
      this.#drainOutputs();
      this.#close();
      this.#settle(end);
    });
  }

  #close(): void {
    this.#phase = "ended";
    clearTimeout(this.#inputTimer);
    this.#watch?.close();
    for (const worker of this.#workers) {
      worker.removeAllListeners();
      void worker.terminate();
    }
    this.#hardware?.close();
    this.ram.close();
    this.#wake.close();
    this.#kvm.close();
  }
}
