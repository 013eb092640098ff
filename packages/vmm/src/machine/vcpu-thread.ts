/**
 * The threads that vCPUs run on. One takes longer to come up than all else that has to happen before a guest's first
 * instruction, so whoever knows early that there will be a machine asks for the first one early.
 */
import { Worker } from "node:worker_threads";

let prepared: Worker | undefined;

/** Begins to bring up the thread of a machine's first vCPU. It keeps nobody from ending if there is no machine after all. */
export function prepareVcpuThread(): void {
  prepared ??= startThread();
  prepared.unref();
}

/** A thread that waits for its vCPU (vcpu-worker.ts): the one that was prepared, or a new one. */
export function takeVcpuThread(): Worker {
  const thread = prepared ?? startThread();
  prepared = undefined;
  thread.ref();
  return thread;
}

function startThread(): Worker {
  return new Worker(new URL("./vcpu-worker.js", import.meta.url), {
    name: "vcpu",
    // A vCPU's loop allocates nothing: the smallest heap does (measured in docs/performance.md).
    resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16, codeRangeSizeMb: 4, stackSizeMb: 1 },
  });
}
