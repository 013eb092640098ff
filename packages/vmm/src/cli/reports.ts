/** What the commands print of a machine. */
import type { DeviceDump, ExitRow, MachineStatus } from "../control/actions.js";
import type { CrashReport } from "../machine/crash-report.js";
import { formatRegisters } from "../machine/registers.js";
import { formatSize } from "../machine/spec.js";
import { formatDuration, formatNs, formatTable } from "./table.js";

const hex = (value: number): string => `0x${value.toString(16)}`;

/**
 * Fits 80 columns. IN RUN is the mean time inside KVM_RUN before the exit (guest and kernel together), HANDLER the mean
 * time until the guest was entered again, P99 the handler's 99th percentile.
 */
export function exitTable(rows: readonly ExitRow[]): string {
  if (rows.length === 0) return "no exits to user space yet";
  return formatTable<ExitRow>(
    [
      { title: "EXIT", cell: ({ reason }) => reason },
      { title: "DEVICE", cell: ({ device }) => device ?? "-" },
      { title: "AT", cell: ({ address }) => (address === undefined ? "-" : hex(address)) },
      { title: "", cell: ({ direction }) => direction ?? "-" },
      { title: "COUNT", align: "right", cell: ({ count }) => String(count) },
      { title: "IN RUN", align: "right", cell: ({ kernelAvgNs }) => formatNs(kernelAvgNs) },
      { title: "HANDLER", align: "right", cell: ({ handlerAvgNs }) => formatNs(handlerAvgNs) },
      { title: "P99", align: "right", cell: ({ handlerP99Ns }) => formatNs(handlerP99Ns) },
    ],
    rows,
  );
}

export function machineTable(machines: readonly MachineStatus[]): string {
  return formatTable<MachineStatus>(
    [
      { title: "NAME", cell: ({ name }) => name },
      { title: "PID", align: "right", cell: ({ pid }) => String(pid) },
      { title: "STATE", cell: ({ phase }) => phase },
      { title: "CPUS", align: "right", cell: ({ cpus }) => String(cpus) },
      { title: "MEMORY", align: "right", cell: ({ memoryBytes }) => formatSize(memoryBytes) },
      { title: "UP", align: "right", cell: ({ uptimeMs }) => formatDuration(uptimeMs) },
      { title: "VIEWERS", align: "right", cell: ({ viewers }) => String(viewers) },
      { title: "KERNEL", cell: ({ kernel }) => kernel },
    ],
    machines,
  );
}

/** One device a paragraph: where it is, its line, its registers. */
export function deviceList(devices: readonly DeviceDump[]): string {
  return devices
    .map(({ name, irq, irqLevel, windows, state }) => {
      const places = windows.map(
        ({ bus, base, sizeBytes }) => `${bus} ${hex(base)}${sizeBytes > 1 ? `-${hex(base + sizeBytes - 1)}` : ""}`,
      );
      const line = irq === undefined ? "" : `, irq ${irq} ${irqLevel === 0 ? "low" : "high"}`;
      const fields = Object.entries(state).map(([field, value]) => `  ${field} ${fieldValue(value)}`);
      return [`${name} (${places.join(", ")}${line})`, ...fields].join("\n");
    })
    .join("\n");
}

const SHOWN_ELEMENTS = 32;

function fieldValue(value: unknown): string {
  if (typeof value === "number")
    return Number.isInteger(value) && value > 9 ? `${hex(value)} (${value})` : String(value);
  if (!Array.isArray(value)) return JSON.stringify(value);
  if (value.length === 0) return "empty";
  const shown = value.slice(0, SHOWN_ELEMENTS).map((element: number) => element.toString(16).padStart(2, "0"));
  return shown.join(" ") + (value.length > SHOWN_ELEMENTS ? ` ... (${value.length} in all)` : "");
}

/** One screen: why the guest cannot go on, and where it stood. */
export function crashScreen(
  name: string,
  { vcpu, summary, details, registers, instructionBytes, hint }: CrashReport,
): string {
  return [
    `${name}: vCPU ${vcpu} stopped: ${summary}`,
    ...details.map((detail) => `  ${detail}`),
    `at rip ${registers.rip}, bytes ${instructionBytes === "" ? "not in RAM" : instructionBytes}`,
    formatRegisters(registers),
    `next: ${hint}`,
  ].join("\n");
}
