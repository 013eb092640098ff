/** What this host can show, and why not more: the sources ask it, the views print it. */
import { accessSync, constants, existsSync } from "node:fs";
import { hasCapability, perfEventParanoid } from "./privileges.js";
import { tracefs } from "./trace-format.js";

export interface HostView {
  /** Which tracepoints are worth opening here: none when they cannot be opened at all. */
  readonly tracepoints: "hardware" | "userspace" | "none";
  /** One line each, for the screen: what cannot be seen, why, and what mends it. */
  readonly notes: readonly string[];
}

export function lookAtHost(): HostView {
  const mount = tracefs();
  if (mount === undefined) {
    const mend = process.getuid?.() === 0 ? "mount -t tracefs tracefs /sys/kernel/tracing" : "run it as root";
    return { tracepoints: "none", notes: [`tracepoints: tracefs is not to be seen; ${mend}`] };
  }
  if (!readable(`${mount}/events/kvm/kvm_userspace_exit/format`)) {
    return { tracepoints: "none", notes: ["tracepoints: tracefs may be read by root alone here; run it as root"] };
  }
  const paranoid = perfEventParanoid();
  if (process.getuid?.() !== 0 && paranoid > -1 && !hasCapability("CAP_PERFMON")) {
    const mend = "run it as root or with CAP_PERFMON, or sysctl kernel.perf_event_paranoid=-1";
    return { tracepoints: "none", notes: [`tracepoints: not allowed (perf_event_paranoid ${paranoid}); ${mend}`] };
  }
  if (existsSync("/sys/module/kvm_pvm")) {
    const why = "kvm_exit never fires here (kvm-pvm): these are exits to user space";
    return { tracepoints: "userspace", notes: [why] };
  }
  return { tracepoints: "hardware", notes: [] };
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
