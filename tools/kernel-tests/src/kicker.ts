/** A thread that takes a vCPU out of KVM_RUN every few milliseconds, because the thread that runs it cannot. */
import { Worker } from "node:worker_threads";
import type { Vcpu } from "@tools-kvm/kvm-binding";

const EVERY_MS = 20;

export interface Kicker extends Disposable {
  readonly worker: Worker;
}

export async function kicker(vcpu: Vcpu): Promise<Kicker> {
  const code = `
    const { parentPort, workerData } = require("node:worker_threads");
    import(workerData.binding).then((b) => {
      const vcpu = b.Vcpu.attach(workerData.token);
      setInterval(() => { try { vcpu.kick(); } catch {} }, ${EVERY_MS});
      parentPort.postMessage("ready");
    });
  `;
  const worker = new Worker(code, {
    eval: true,
    workerData: { binding: import.meta.resolve("@tools-kvm/kvm-binding"), token: vcpu.share() },
  });
  worker.unref();
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  return { worker, [Symbol.dispose]: () => void worker.terminate() };
}
