/**
 * The thread of one vCPU. It is told of its machine, whose devices it assembles over the shared state; then it is given
 * a vCPU and runs it until the machine stops; a reset gives it the next one.
 */
import { parentPort } from "node:worker_threads";
import { EventFd, ExitLedger, monotonicNs, type SharedExitLedger, Vcpu, Vm } from "@tools-kvm/kvm-binding";
import type { FwCfgItems } from "../devices/fw-cfg/items.js";
import { SharedLock } from "../state/lock.js";
import { Assembly, type MachineRequest } from "./assembly.js";
import { CoalescedWrites } from "./coalesced-writes.js";
import { COALESCED_LOCK, type ControlWord, VCPU_STATE } from "./control.js";
import { exitHandlers } from "./exits.js";
import { FlashMemory, type SharedFlash } from "./flash-memory.js";
import { type RamWindow, ramSpan } from "./guest-ram.js";
import { pciWindows } from "./memory-map.js";
import { attachPciWires, pciWiring, type SharedPciWires } from "./pci-wiring.js";
import { RunPage } from "./run-page.js";
import type { MachineSpec } from "./spec.js";
import { type LoopEnd, runLoop } from "./vcpu-loop.js";
import { vmWiring } from "./vm-wiring.js";

/** From the main thread, once: this is the machine. */
export interface AssembleMessage {
  readonly type: "assemble";
  readonly spec: MachineSpec;
  readonly state: SharedArrayBuffer;
  readonly index: number;
  /** Token of the eventfd that wakes the main thread for output. */
  readonly wake: number;
  readonly ledger: SharedExitLedger;
  /** On a PCI bus: tokens of each device's eventfds. */
  readonly pciWires: ReadonlyMap<string, SharedPciWires>;
}

/** From the main thread: run this vCPU of this VM. */
export interface RunMessage {
  readonly type: "run";
  readonly vm: number;
  readonly vcpu: number;
  readonly ram: readonly RamWindow[];
  readonly fwCfgItems: FwCfgItems;
  readonly flash?: SharedFlash;
}

export type ToVcpu = AssembleMessage | RunMessage;

/** To the main thread. */
export type VcpuMessage =
  | { readonly type: "request"; readonly request: MachineRequest }
  | { readonly type: "ended"; readonly end: LoopEnd; readonly runPage: Uint8Array }
  | { readonly type: "log"; readonly message: string }
  | { readonly type: "failed"; readonly message: string };

/** As much of kvm_run as describes an exit. */
const EXIT_DESCRIPTION_BYTES = 288;

const port = parentPort!;
const post = (message: VcpuMessage): void => port.postMessage(message);

/** The machine as this thread has it. */
let thread: VcpuThread | undefined;

class VcpuThread {
  readonly #about: AssembleMessage;
  readonly #ledger: ExitLedger;
  readonly #assembly: Assembly;
  readonly #state: ControlWord;
  readonly #asked = { value: false };
  #vm: Vm | undefined;
  #ram: readonly RamWindow[] = [];
  #fwCfgItems: FwCfgItems = new Map();
  #flash: FlashMemory | undefined;

  constructor(about: AssembleMessage) {
    this.#about = about;
    this.#ledger = ExitLedger.attach(about.ledger);
    const wakeMain = EventFd.attach(about.wake);
    const pciWires = attachPciWires(about.pciWires);
    this.#assembly = new Assembly(about.spec, about.state, {
      ...vmWiring(() => this.#vm),
      pci: pciWiring(() => this.#vm, pciWires, pciWindows(about.spec)),
      wakeReader: () => wakeMain.signal(),
      request: (request) => this.#request(request),
      memory: (gpa, maxBytes) => ramSpan(this.#ram, gpa, maxBytes),
      fwCfgItem: (key) => this.#fwCfgItems.get(key),
      flash: () => this.#flash,
      nowNs: monotonicNs,
      wallClockMs: Date.now,
    });
    this.#state = this.#assembly.vcpuStates[about.index]!;
  }

  #request(request: MachineRequest): void {
    this.#asked.value = true;
    post({ type: "request", request });
  }

  run(message: RunMessage): void {
    const { spec, state: buffer, index } = this.#about;
    const assembly = this.#assembly;
    using vm = Vm.attach(message.vm);
    using vcpu = Vcpu.attach(message.vcpu);
    using flash =
      message.flash && FlashMemory.attach(message.flash, vm, (text) => post({ type: "log", message: text }));
    this.#vm = vm;
    this.#ram = message.ram;
    this.#fwCfgItems = message.fwCfgItems;
    this.#flash = flash;
    this.#asked.value = false;
    vcpu.useLedger(this.#ledger, index);
    const page = new RunPage(vcpu.runPage);
    const end = runLoop({
      vcpu,
      coalesced: spec.testDevices
        ? new CoalescedWrites(vcpu.coalesced, new SharedLock(new Int32Array(buffer), COALESCED_LOCK), assembly)
        : undefined,
      handlers: exitHandlers({
        page,
        assembly,
        currentSlot: this.#ledger.currentSlot(index),
        request: (request) => this.#request(request),
      }),
      command: assembly.command,
      state: this.#state,
      asked: this.#asked,
    });
    this.idle();
    post({ type: "ended", end, runPage: page.u8.slice(0, EXIT_DESCRIPTION_BYTES) });
  }

  /** This vCPU is in no loop any more. */
  idle(): void {
    this.#vm = undefined;
    this.#flash = undefined;
    this.#state.set(VCPU_STATE.IDLE);
  }
}

port.on("message", (message: ToVcpu) => {
  try {
    if (message.type === "assemble") thread = new VcpuThread(message);
    else thread!.run(message);
  } catch (error) {
    thread?.idle();
    post({ type: "failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});
