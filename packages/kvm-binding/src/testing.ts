/** What the tests of this package share: a real-mode guest of a few bytes, and Workers that run the built package. Not exported. */
import { accessSync, constants } from "node:fs";
import { Worker } from "node:worker_threads";
import { type GuestMemory, Kvm, GuestMemory as Memory, type Vcpu, type Vm } from "./index.js";

export const hasKvm = (() => {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
})();

export const NEEDS_KVM = hasKvm ? "" : " (skipped: no /dev/kvm)";

/** Where the guest's code lies and starts. */
export const CODE = 0x1000;
export const STACK = 0x8000;

export interface Guest extends Disposable {
  kvm: Kvm;
  vm: Vm;
  memory: GuestMemory;
  vcpu: Vcpu;
}

/** A guest that should have come back by now is taken out of run(), so that a test fails instead of standing still. */
const PATIENCE_MS = 10_000;
let watchdog: Worker | undefined;

export function watch(vcpu: Vcpu): void {
  if (watchdog === undefined) {
    watchdog = inWorker(
      `parentPort.on("message", (token) => setTimeout(() => {
        try { const vcpu = b.Vcpu.attach(token); vcpu.kick(); vcpu.close(); } catch {}
      }, data))`,
      PATIENCE_MS,
    );
    watchdog.unref();
  }
  watchdog.postMessage(vcpu.share());
}

/** A VM with 1 MiB of memory and one vCPU in 16-bit real mode at CODE. `prepare` runs before the vCPU is made. */
export function realModeGuest(code: ArrayLike<number>, prepare: (vm: Vm) => void = () => {}): Guest {
  const kvm = Kvm.open();
  const vm = kvm.createVm();
  const memory = Memory.create({ sizeBytes: 0x100000 });
  memory.bytes.set(code, CODE);
  prepare(vm);
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
  const vcpu = vm.createVcpu(0);
  enterRealMode(vcpu);
  watch(vcpu);
  const close = () => {
    for (const handle of [vcpu, vm, memory, kvm]) handle.close();
  };
  return { kvm, vm, memory, vcpu, [Symbol.dispose]: close };
}

export function enterRealMode(vcpu: Vcpu, rip = CODE): void {
  const sregs = vcpu.getSregs();
  for (const segment of [sregs.cs, sregs.ds, sregs.es, sregs.ss]) segment.assign({ base: 0, selector: 0 });
  vcpu.setSregs(sregs);
  vcpu.setRegs({ rip, rsp: STACK, rflags: 2 });
}

interface Inbox {
  messages: unknown[];
  waiting: { resolve: (message: unknown) => void; reject: (error: unknown) => void }[];
}

// Several messages may arrive in one turn of the event loop: none is lost while a test awaits the one before.
const inboxes = new WeakMap<Worker, Inbox>();

/**
 * Runs the body of an async function in a Worker, with the built package as `b`, `data` as given and `post` to answer.
 * Workers cannot load TypeScript, so this is the one place where tests need dist/.
 */
export function inWorker(body: string, data: unknown): Worker {
  const dist = new URL("../dist/index.js", import.meta.url).href;
  const code = `
    const { parentPort, workerData: data } = require("node:worker_threads");
    const post = (message) => parentPort.postMessage(message);
    import(${JSON.stringify(dist)}).then(async (b) => { ${body} }).catch((error) => post({ error: error.message, code: error.code }));
  `;
  const worker = new Worker(code, { eval: true, workerData: data });
  const inbox: Inbox = { messages: [], waiting: [] };
  inboxes.set(worker, inbox);
  worker.on("message", (message) => {
    const waiting = inbox.waiting.shift();
    if (waiting === undefined) inbox.messages.push(message);
    else waiting.resolve(message);
  });
  worker.on("error", (error) => {
    for (const { reject } of inbox.waiting) reject(error);
  });
  return worker;
}

/** The next message of a Worker, in the order they were posted. */
export function nextMessage<T>(worker: Worker): Promise<T> {
  const inbox = inboxes.get(worker)!;
  if (inbox.messages.length > 0) return Promise.resolve(inbox.messages.shift() as T);
  return new Promise((resolve, reject) =>
    inbox.waiting.push({ resolve: resolve as (message: unknown) => void, reject }),
  );
}

export function exited(worker: Worker): Promise<number> {
  return new Promise((resolve) => worker.once("exit", resolve));
}
