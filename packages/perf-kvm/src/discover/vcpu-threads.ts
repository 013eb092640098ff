/**
 * Which thread of a VMM runs which vCPU. Some VMMs name their threads; of any other a thread that is in KVM_RUN says so
 * itself: /proc/PID/task/TID/syscall has the ioctl and the descriptor it is for.
 */
import { KVM_RUN } from "@tools-kvm/kvm-binding";
import { entriesOf, textOf, threadName } from "./proc.js";

export interface ProcessThread {
  readonly tid: number;
  readonly name: string;
}

export interface VcpuThread {
  readonly id: number;
  /** The thread that runs it; null when nothing tells. */
  readonly tid: number | null;
  readonly thread: string | null;
}

/** What VMMs call the thread of a vCPU: QEMU, Firecracker, cloud-hypervisor, crosvm, kvmtool. */
const NAMED = /^(?:CPU (\d+)\/KVM|fc_vcpu (\d+)|vcpu(\d+)|crosvm_vcpu(\d+)|kvm-vcpu-(\d+))$/;

/** The vCPU that a thread's name says it runs; undefined when it says nothing. */
export function vcpuOfName(name: string): number | undefined {
  const id = NAMED.exec(name)
    ?.slice(1)
    .find((group) => group !== undefined);
  return id === undefined ? undefined : Number(id);
}

export function threadsOf(pid: number, proc = "/proc"): ProcessThread[] {
  const tids = (entriesOf(`${proc}/${pid}/task`) ?? []).map(Number).sort((a, b) => a - b);
  return tids.map((tid) => ({ tid, name: threadName(pid, tid, proc) }));
}

const IOCTL_SYSCALL = 16;
/** Threads of the process that run in the kernel alone: their registers are a copy of those of the thread that made them. */
const KERNEL_WORKER = /^(kvm-nx-lpage-re|vhost-\d|iou-)/;

/** The descriptor whose KVM_RUN a thread is in; undefined when it is elsewhere, is running, or may not be looked at. */
function runningDescriptor(pid: number, tid: number, proc: string): number | undefined {
  const words = (textOf(`${proc}/${pid}/task/${tid}/syscall`) ?? "").split(" ", 3).map(Number);
  return words[0] === IOCTL_SYSCALL && words[2] === KVM_RUN ? words[1] : undefined;
}

/**
 * Finds the thread of each vCPU: by what the VMM says (`known`, tid by vCPU id), by the threads' names, or by the
 * ioctl they are in. A vCPU that is busy inside the guest at that moment and whose thread has no name stays unknown.
 * @param vcpus descriptor and id of each vCPU
 */
export function matchVcpus(
  pid: number,
  vcpus: readonly { readonly fd: number; readonly id: number }[],
  threads: readonly ProcessThread[],
  known: ReadonlyMap<number, number>,
  proc = "/proc",
): VcpuThread[] {
  const byId = new Map(known);
  for (const { tid, name } of threads) {
    const id = vcpuOfName(name);
    if (id !== undefined && !byId.has(id)) byId.set(id, tid);
  }
  const byFd = new Map<number, number>();
  if (vcpus.some(({ id }) => !byId.has(id))) {
    for (const { tid, name } of threads) {
      if (KERNEL_WORKER.test(name)) continue;
      const fd = runningDescriptor(pid, tid, proc);
      if (fd !== undefined) byFd.set(fd, tid);
    }
  }
  return vcpus.map(({ fd, id }) => {
    const tid = byFd.get(fd) ?? byId.get(id) ?? null;
    return { id, tid, thread: threads.find((thread) => thread.tid === tid)?.name ?? null };
  });
}
