/**
 * The VMs on this host, whoever runs them: processes that hold a KVM VM, found by their descriptors under /proc. A
 * machine that keeps an exit ledger tells its name and its vCPU threads there.
 */
import { ExitLedger } from "@tools-kvm/kvm-binding";
import { entriesOf, linkOf, printable, textOf, threadName } from "./proc.js";
import { matchVcpus, type ProcessThread, threadsOf } from "./vcpu-threads.js";
import { vmmFacts } from "./vmm.js";

export interface FoundMachine {
  readonly pid: number;
  /** What its VMM calls it; the name of the process when it does not say. */
  readonly name: string;
  /** vmm, QEMU, Firecracker, cloud-hypervisor, crosvm, kvmtool, or the program's name. */
  readonly vmm: string;
  /** Guest memory as the command line has it; undefined when it does not say. */
  readonly memoryBytes: number | undefined;
  /** vCPUs, by their descriptors. */
  readonly vcpuIds: readonly number[];
  /** The exit ledger, when the VMM keeps one. */
  readonly ledger: ExitLedger | undefined;
}

const VM = "anon_inode:kvm-vm";
const VCPU = /^anon_inode:kvm-vcpu:(\d+)$/;

/** What a process's descriptors say; undefined when it has no VM, is gone, or may not be looked at. */
export function vcpusOf(pid: number, proc = "/proc"): number[] | undefined {
  let isMachine = false;
  const vcpuIds = new Set<number>();
  for (const link of links(`${proc}/${pid}/fd`)) {
    if (link === VM) isMachine = true;
    const vcpu = VCPU.exec(link)?.[1];
    if (vcpu !== undefined) vcpuIds.add(Number(vcpu));
  }
  return isMachine || vcpuIds.size > 0 ? [...vcpuIds].sort((a, b) => a - b) : undefined;
}

/** Every process on the host, in ascending order. */
export function processes(proc = "/proc"): number[] {
  return (entriesOf(proc) ?? [])
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

/** Opens what can be seen of `pid`; undefined when it is no machine. */
export function openMachine(pid: number): FoundMachine | undefined {
  const vcpuIds = vcpusOf(pid);
  if (vcpuIds === undefined) return undefined;
  const ledger = openLedger(pid);
  const { vmm, name, memoryBytes } = vmmFacts(linkOf(`/proc/${pid}/exe`), textOf(`/proc/${pid}/cmdline`) ?? "");
  return {
    pid,
    name: printable(ledger?.snapshot().machineName || name || threadName(pid)),
    vmm: ledger === undefined ? vmm : "vmm",
    memoryBytes,
    vcpuIds,
    ledger,
  };
}

function openLedger(pid: number): ExitLedger | undefined {
  try {
    const [first, ...others] = ExitLedger.openPid(pid);
    for (const other of others) other.close();
    return first;
  } catch {
    // A foreign memfd of that name, or one of another version: the machine is seen without it.
    return undefined;
  }
}

/** A thread that may run a vCPU, and which; null when nothing tells. */
export interface FollowedThread {
  readonly tid: number;
  readonly vcpu: number | null;
}

/**
 * The threads that may run vCPUs: those of which it is known, or, when that is not known of every vCPU, all.
 * @param wanted only the threads of these vCPUs
 */
export function vcpuThreads({ pid, ledger }: FoundMachine, wanted?: readonly number[]): FollowedThread[] {
  const known = new Map(
    (ledger?.snapshot().vcpus ?? []).flatMap(({ id, tid }): [number, number][] => (tid === 0 ? [] : [[id, tid]])),
  );
  const vcpus = vcpuDescriptorsOf(pid);
  const threads: readonly ProcessThread[] = vcpus.every(({ id }) => known.has(id)) ? [] : threadsOf(pid);
  const matched = matchVcpus(pid, vcpus, threads, known);
  const found = new Map(matched.flatMap(({ id, tid }): [number, number][] => (tid === null ? [] : [[tid, id]])));
  if (wanted !== undefined) {
    return [...found].flatMap(([tid, vcpu]) => (wanted.includes(vcpu) ? [{ tid, vcpu }] : []));
  }
  if (found.size > 0 && matched.every(({ tid }) => tid !== null))
    return [...found].map(([tid, vcpu]) => ({ tid, vcpu }));
  return threads.map(({ tid }) => ({ tid, vcpu: found.get(tid) ?? null }));
}

/** Descriptor and id of each vCPU that a process has, in the order of the ids. */
export function vcpuDescriptorsOf(pid: number, proc = "/proc"): { fd: number; id: number }[] {
  return (entriesOf(`${proc}/${pid}/fd`) ?? [])
    .flatMap((name) => {
      const id = VCPU.exec(linkOf(`${proc}/${pid}/fd/${name}`) ?? "")?.[1];
      return id === undefined ? [] : [{ fd: Number(name), id: Number(id) }];
    })
    .sort((a, b) => a.id - b.id || a.fd - b.fd);
}

function links(folder: string): string[] {
  return (entriesOf(folder) ?? []).flatMap((name) => linkOf(`${folder}/${name}`) ?? []);
}
