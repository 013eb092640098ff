/** What this process may do, as the kernel counts it. */
import { readFileSync } from "node:fs";

/** Capabilities that the profiler's sources ask for (include/uapi/linux/capability.h). */
const CAPABILITIES = { CAP_IPC_LOCK: 14, CAP_SYS_PTRACE: 19, CAP_SYS_ADMIN: 21, CAP_PERFMON: 38 } as const;
export type Capability = keyof typeof CAPABILITIES;

/** True when the capability is effective. CAP_SYS_ADMIN stands for CAP_PERFMON too, as in the kernel's perfmon_capable. */
export function hasCapability(name: Capability): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  const bits = BigInt(`0x${effective}`);
  const has = (bit: number): boolean => ((bits >> BigInt(bit)) & 1n) === 1n;
  return has(CAPABILITIES[name]) || (name === "CAP_PERFMON" && has(CAPABILITIES.CAP_SYS_ADMIN));
}

/** kernel.perf_event_paranoid; 2, the kernel's own default, when it cannot be read. */
export function perfEventParanoid(): number {
  try {
    return Number(readFileSync("/proc/sys/kernel/perf_event_paranoid", "utf8"));
  } catch {
    return 2;
  }
}
