/**
 * The VMs on this host, whoever runs them: processes that hold a KVM VM, found by their descriptors under /proc. A
 * machine that keeps an exit ledger tells its name and its vCPU threads there.
 */
import { ExitLedger } from "@tools-kvm/kvm-binding";
import { entriesOf, linkOf, printable, threadName } from "./proc.js";
import { vcpuOfName } from "./vcpu-threads.js";

export interface FoundMachine {
  readonly pid: number;
  readonly name: string;
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
  return { pid, name: printable(ledger?.snapshot().machineName || threadName(pid)), vcpuIds, ledger };
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

/**
 * The threads that may run vCPUs: the ledger's own, or those that a VMM has named so, or, when nobody says, all.
 */
export function vcpuThreads({ pid, ledger }: FoundMachine): number[] {
  const known = ledger?.snapshot().vcpus.flatMap(({ tid }) => (tid === 0 ? [] : [tid]));
  if (known !== undefined && known.length > 0) return known;
  const all = (entriesOf(`/proc/${pid}/task`) ?? []).map(Number);
  const named = all.filter((tid) => vcpuOfName(threadName(pid, tid)) !== undefined);
  return named.length > 0 ? named : all;
}

function links(folder: string): string[] {
  return (entriesOf(folder) ?? []).flatMap((name) => linkOf(`${folder}/${name}`) ?? []);
}
