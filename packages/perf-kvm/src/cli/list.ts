/** `perf-kvm list`: the VMs on this host, the threads of their vCPUs, and what can be seen of each. */
import { type Inventory, type ListedMachine, takeInventory } from "../discover/inventory.js";
import type { VcpuThread } from "../discover/vcpu-threads.js";
import { formatBytes } from "../views/format.js";
import { formatTable } from "../views/table.js";
import { EXIT } from "./errors.js";

export function list({ json }: { json?: boolean }): number {
  const inventory = takeInventory();
  process.stdout.write(json ? `${JSON.stringify(inventory)}\n` : text(inventory));
  return EXIT.OK;
}

function text({ machines, notes }: Inventory): string {
  const noted = notes.map((note) => `note: ${note}\n`).join("");
  if (machines.length === 0) return `no VM is running, as far as can be seen\n${noted}`;
  const table = formatTable<ListedMachine>(
    [
      { title: "PID", align: "right", cell: ({ pid }) => String(pid) },
      { title: "NAME", cell: ({ name }) => name },
      { title: "VMM", cell: ({ vmm }) => vmm },
      { title: "VCPUS", align: "right", cell: ({ vcpus }) => String(vcpus.length) },
      { title: "MEMORY", align: "right", cell: ({ memoryBytes }) => formatBytes(memoryBytes) },
      { title: "RESIDENT", align: "right", cell: ({ residentBytes }) => formatBytes(residentBytes) },
      { title: "SEEN BY", cell: seenBy },
      { title: "VCPU THREADS", cell: ({ vcpus }) => threadsText(vcpus) },
    ],
    machines,
  );
  return `${table}${missing(machines)}${noted}`;
}

function seenBy({ ledger, stats, tracepoints }: ListedMachine): string {
  const names = Object.entries({ ledger, stats, tracepoints }).flatMap(([name, { ok }]) => (ok ? [name] : []));
  return names.join(",") || "nothing";
}

/** What is not there and why, once for all machines of which the same holds. */
function missing(machines: readonly ListedMachine[]): string {
  const names = new Map<string, string[]>();
  for (const { name, ledger, stats, tracepoints } of machines) {
    for (const [source, { ok, detail }] of Object.entries({ ledger, stats, tracepoints })) {
      if (ok) continue;
      const line = `no ${source}: ${detail}`;
      names.set(line, [...(names.get(line) ?? []), name]);
    }
  }
  return [...names].map(([line, of]) => `${of.join(", ")}: ${line}\n`).join("");
}

/** `0:4711-4714` for vCPUs 0 to 3 on threads 4711 to 4714: many vCPUs stay one line. */
function threadsText(vcpus: readonly VcpuThread[]): string {
  const runs: { id: number; tid: number | null; count: number }[] = [];
  for (const { id, tid } of vcpus) {
    const last = runs.at(-1);
    const next = last === undefined || last.tid === null ? null : last.tid + last.count;
    if (last !== undefined && id === last.id + last.count && tid === next) last.count++;
    else runs.push({ id, tid, count: 1 });
  }
  const span = (first: number, count: number): string => (count === 1 ? `${first}` : `${first}-${first + count - 1}`);
  return (
    runs.map(({ id, tid, count }) => `${span(id, count)}:${tid === null ? "?" : span(tid, count)}`).join(" ") || "-"
  );
}
