/**
 * The thread of one vCPU. It assembles the machine's devices over the shared state, waits to be given a vCPU, and runs
 * it until the machine stops; a reset gives it the next one.
 */
import { parentPort, workerData } from "node:worker_threads";
import { EventFd, ExitLedger, monotonicNs, type SharedExitLedger, Vcpu, Vm } from "@tools-kvm/kvm-binding";
import { SharedLock } from "../state/lock.js";
import { Assembly, type MachineRequest } from "./assembly.js";
import { CoalescedWrites } from "./coalesced-writes.js";
import { COALESCED_LOCK, VCPU_STATE } from "./control.js";
import { exitHandlers } from "./exits.js";
import { RunPage } from "./run-page.js";
import type { MachineSpec } from "./spec.js";
import { type LoopEnd, runLoop } from "./vcpu-loop.js";
import { vmWiring } from "./vm-wiring.js";

export interface VcpuWorkerData {
  readonly spec: MachineSpec;
  readonly state: SharedArrayBuffer;
  readonly index: number;
  /** Token of the eventfd that wakes the main thread for output. */
  readonly wake: number;
  readonly ledger: SharedExitLedger;
}

/** From the main thread: run this vCPU of this VM. */
export interface StartMessage {
  readonly vm: number;
  readonly vcpu: number;
}

/** To the main thread. */
export type VcpuMessage =
  | { readonly type: "request"; readonly request: MachineRequest }
  | { readonly type: "ended"; readonly end: LoopEnd; readonly runPage: Uint8Array }
  | { readonly type: "failed"; readonly message: string };

/** As much of kvm_run as describes an exit. */
const EXIT_DESCRIPTION_BYTES = 288;

const { spec, state, index, wake, ledger: sharedLedger } = workerData as VcpuWorkerData;
const port = parentPort!;
const post = (message: VcpuMessage): void => port.postMessage(message);

const asked = { value: false };
let vm: Vm | undefined;
const wakeMain = EventFd.attach(wake);
const ledger = ExitLedger.attach(sharedLedger);

function request(what: MachineRequest): void {
  asked.value = true;
  post({ type: "request", request: what });
}

const assembly = new Assembly(spec, state, {
  ...vmWiring(() => vm),
  wakeReader: () => wakeMain.signal(),
  request,
  nowNs: monotonicNs,
  wallClockMs: Date.now,
});

function runVcpu(message: StartMessage): void {
  using machine = Vm.attach(message.vm);
  using vcpu = Vcpu.attach(message.vcpu);
  vm = machine;
  asked.value = false;
  vcpu.useLedger(ledger, index);
  const page = new RunPage(vcpu.runPage);
  const context = { page, assembly, currentSlot: ledger.currentSlot(index), request };
  const coalesced = spec.testDevices
    ? new CoalescedWrites(vcpu.coalesced, new SharedLock(new Int32Array(state), COALESCED_LOCK), assembly)
    : undefined;
  const end = runLoop({
    vcpu,
    coalesced,
    handlers: exitHandlers(context),
    command: assembly.command,
    state: assembly.vcpuStates[index]!,
    asked,
  });
  vm = undefined;
  const runPage = page.u8.slice(0, EXIT_DESCRIPTION_BYTES);
  assembly.vcpuStates[index]!.set(VCPU_STATE.IDLE);
  post({ type: "ended", end, runPage });
}

port.on("message", (message: StartMessage) => {
  try {
    runVcpu(message);
  } catch (error) {
    assembly.vcpuStates[index]!.set(VCPU_STATE.IDLE);
    post({ type: "failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});
