/** Every VM on this host as `perf-kvm list` shows it: whose it is, what runs its vCPUs, and what can be seen of it. */
import { statSync } from "node:fs";
import { StatsFd } from "@tools-kvm/kvm-binding";
import { type HostView, lookAtHost } from "../sources/host.js";
import { openMachine, processes, vcpuDescriptorsOf } from "./machines.js";
import { entriesOf, linkOf, textOf, threadName } from "./proc.js";
import { matchVcpus, threadsOf, type VcpuThread } from "./vcpu-threads.js";

/** Whether a source of figures can be used, and in words what it shows or why not. */
export interface Sight {
  readonly ok: boolean;
  readonly detail: string;
}

export interface ListedMachine {
  readonly pid: number;
  readonly name: string;
  /** vmm, QEMU, Firecracker, cloud-hypervisor, crosvm, kvmtool, or the program's name. */
  readonly vmm: string;
  readonly vcpus: readonly VcpuThread[];
  /** Threads of the whole process. */
  readonly threads: number;
  /** The guest's memory; null when nothing tells. */
  readonly memoryBytes: number | null;
  /** What the process has in memory now, the guest's touched pages among it; null when it may not be read. */
  readonly residentBytes: number | null;
  readonly ledger: Sight;
  readonly stats: Sight;
  readonly tracepoints: Sight;
}

/** A process that seems to be a VMM, but may not be looked into. */
export interface HiddenProcess {
  readonly pid: number;
  readonly name: string;
}

export interface Inventory {
  readonly machines: readonly ListedMachine[];
  readonly hidden: readonly HiddenProcess[];
  /** What this host does not show, and what would mend it. */
  readonly notes: readonly string[];
}

export function takeInventory(host: HostView = lookAtHost()): Inventory {
  const machines: ListedMachine[] = [];
  const unreadable = new Set<number>();
  const withTimer = new Set<number>();
  for (const pid of processes()) {
    if (entriesOf(`/proc/${pid}/fd`) === undefined) unreadable.add(pid);
    // KVM's timer thread bears the number of the VMM's process, for everybody to read.
    const owner = /^kvm-pit\/(\d+)$/.exec(threadName(pid))?.[1];
    if (owner !== undefined) withTimer.add(Number(owner));
    const machine = pid === process.pid ? undefined : listed(pid, host);
    if (machine !== undefined) machines.push(machine);
  }
  const hidden = [...unreadable]
    .map((pid) => ({ pid, name: threadName(pid) }))
    .filter(({ pid, name }) => withTimer.has(pid) || LIKE_A_VMM.test(name));
  return { machines, hidden, notes: notes(host, hidden) };
}

/** A process's own short name, which is cut at 15 characters. */
const LIKE_A_VMM = /^(qemu-system|qemu-kvm|firecracker|cloud-hyperviso|crosvm|lkvm)/;

function notes(host: HostView, hidden: readonly HiddenProcess[]): string[] {
  const isRoot = process.getuid?.() === 0;
  if (isRoot) return [...host.notes];
  const seen =
    hidden.length === 0
      ? "VMs of other users are not to be seen; run it as root"
      : `VMs of other users cannot be looked into (${hidden.map(({ pid, name }) => `${name} ${pid}`).join(", ")}); run it as root`;
  return [seen, ...host.notes];
}

function listed(pid: number, host: HostView): ListedMachine | undefined {
  const machine = openMachine(pid);
  if (machine === undefined) return undefined;
  const { ledger } = machine;
  try {
    const known = new Map(
      (ledger?.snapshot().vcpus ?? []).flatMap(({ id, tid }): [number, number][] => (tid === 0 ? [] : [[id, tid]])),
    );
    const threads = threadsOf(pid);
    return {
      pid,
      name: machine.name,
      vmm: machine.vmm,
      vcpus: matchVcpus(pid, vcpuDescriptorsOf(pid), threads, known),
      threads: threads.length,
      memoryBytes: memoryFilesBytes(pid, descriptorsOf(pid)) ?? machine.memoryBytes ?? null,
      residentBytes: residentBytes(pid),
      ledger: ledgerSight(pid, ledger !== undefined),
      stats: statsSight(pid),
      tracepoints: tracepointSight(host),
    };
  } finally {
    ledger?.close();
  }
}

interface Descriptor {
  readonly fd: number;
  readonly target: string;
}

function descriptorsOf(pid: number): Descriptor[] {
  return (entriesOf(`/proc/${pid}/fd`) ?? []).flatMap((name) => {
    const target = linkOf(`/proc/${pid}/fd/${name}`);
    return target === undefined ? [] : [{ fd: Number(name), target }];
  });
}

/** The files that VMMs keep guest memory in: vmm, QEMU's memory-backend-memfd, cloud-hypervisor, crosvm, Firecracker. */
const MEMORY_FILE = /^\/(tools-kvm-ram|memfd:(tools-kvm-ram|memory-backend-memfd|ch_ram|crosvm_guest|guest_mem))/;

function memoryFilesBytes(pid: number, descriptors: readonly Descriptor[]): number | undefined {
  const byInode = new Map<number, number>();
  for (const { fd, target } of descriptors) {
    if (!MEMORY_FILE.test(target)) continue;
    try {
      const { ino, size } = statSync(`/proc/${pid}/fd/${fd}`);
      byInode.set(ino, size);
    } catch {
      // Closed meanwhile.
    }
  }
  return byInode.size === 0 ? undefined : [...byInode.values()].reduce((a, b) => a + b);
}

function residentBytes(pid: number): number | null {
  const kib = /^VmRSS:\s*(\d+) kB$/m.exec(textOf(`/proc/${pid}/status`) ?? "")?.[1];
  return kib === undefined ? null : Number(kib) * 1024;
}

function ledgerSight(pid: number, isOpen: boolean): Sight {
  if (isOpen) return { ok: true, detail: "device and handler of each exit to user space" };
  const isThere = descriptorsOf(pid).some(({ target }) => target.startsWith("/memfd:tools-kvm-ledger"));
  return { ok: false, detail: isThere ? "it is of another version" : "this VMM keeps none" };
}

function statsSight(pid: number): Sight {
  const open = StatsFd.find(pid);
  if (open.length === 0) return { ok: false, detail: "this VMM holds no statistics descriptor open" };
  try {
    StatsFd.take(pid, open[0]!.fd).close();
    return { ok: true, detail: `KVM's counters of ${open.filter(({ owner }) => owner === "vcpu").length} vCPUs` };
  } catch (error) {
    return { ok: false, detail: `may not be taken (${(error as Error).message}); run it as root` };
  }
}

function tracepointSight({ tracepoints, notes }: HostView): Sight {
  if (tracepoints === "hardware") return { ok: true, detail: "every exit, with its time" };
  if (tracepoints === "userspace")
    return { ok: true, detail: "exits to user space: kvm_exit never fires on this host" };
  return { ok: false, detail: notes[0]?.replace(/^tracepoints: /, "") ?? "not on this host" };
}
