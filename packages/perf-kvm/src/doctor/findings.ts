/** What `perf-kvm doctor` looks at, one finding a function. */
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import {
  KVM_CAP_PMU_CAPABILITY,
  Kvm,
  PERF_COUNT_HW_CPU_CYCLES,
  PERF_TYPE_HARDWARE,
  PerfEvent,
} from "@tools-kvm/kvm-binding";
import { lookAtHost } from "../sources/host.js";
import { hasCapability, perfEventParanoid } from "../sources/privileges.js";
import { tracefs } from "../sources/trace-format.js";
import { type Finding, limited, missing, ok } from "./finding.js";
import { type Firing, runTrial, TRACEPOINTS, type Trial } from "./trial.js";

const isRoot = (): boolean => process.getuid?.() === 0;
const AS_ROOT = "run it as root";

/** Everything, and whether `perf-kvm top` can trace VMs of any VMM here. */
export function examine(): { findings: Finding[]; works: boolean } {
  const host = lookAtHost();
  const trial = tryTrial();
  const findings = [
    user(),
    paranoid(),
    ...lockdown(),
    tracefsMount(),
    ...(trial.found === undefined ? [device(trial.error)] : [...firings(trial.found), statistics(trial.found)]),
    pidfd(trial.found),
    hostPmu(),
    ...(trial.found === undefined ? [] : [guestPmu()]),
    debugfs(),
  ];
  return { findings, works: host.tracepoints !== "none" };
}

function tryTrial(): { found?: Trial; error: string } {
  try {
    return { found: runTrial(), error: "" };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function user(): Finding {
  const what = "privileges";
  const held = (["CAP_PERFMON", "CAP_SYS_PTRACE"] as const).filter(hasCapability);
  const detail = `uid ${process.getuid?.()}, ${held.length === 0 ? "no capability that helps" : held.join(", ")}`;
  if (held.length === 2) return ok(what, detail);
  const mend = `${AS_ROOT}, or give ${held.includes("CAP_PERFMON") ? "CAP_SYS_PTRACE" : "CAP_PERFMON and CAP_SYS_PTRACE"} (setcap on a copy of node, or systemd's AmbientCapabilities)`;
  return limited(what, `${detail}: only VMs of this user, and tracepoints only as perf_event_paranoid lets`, mend);
}

function paranoid(): Finding {
  const what = "perf_event_paranoid";
  const level = perfEventParanoid();
  if (level <= -1) return ok(what, String(level));
  if (hasCapability("CAP_PERFMON")) return ok(what, `${level}, which CAP_PERFMON overrides`);
  return missing(
    what,
    `${level}: raw tracepoints are not allowed`,
    `sysctl kernel.perf_event_paranoid=-1, or ${AS_ROOT}`,
  );
}

/** Documentation/admin-guide/LSM: `none [integrity] confidentiality`. */
function lockdown(): Finding[] {
  const what = "kernel lockdown";
  const text = read("/sys/kernel/security/lockdown");
  const level = text === undefined ? undefined : /\[(\w+)\]/.exec(text)?.[1];
  if (level === undefined) return [ok(what, "not to be seen here (securityfs is not mounted, or there is none)")];
  if (level === "none") return [ok(what, level)];
  if (level === "integrity") return [ok(what, "integrity: debugfs is closed, which nothing here needs")];
  const mend = "boot without lockdown=confidentiality, or with Secure Boot off";
  return [limited(what, `${level}: the kernel keeps its tracepoints to itself`, mend)];
}

function tracefsMount(): Finding {
  const what = "tracefs";
  const mount = tracefs();
  if (mount === undefined) {
    const mend = isRoot() ? "mount -t tracefs tracefs /sys/kernel/tracing" : AS_ROOT;
    return missing(what, "not mounted, or not for this user, or the kvm module is not loaded", mend);
  }
  if (!readable(`${mount}/events/kvm/kvm_userspace_exit/format`)) {
    return missing(what, `${mount} may not be read`, `${AS_ROOT}, or mount it with gid= and mode=750 for a group`);
  }
  return ok(
    what,
    `${mount}, with ${readdirSync(`${mount}/events/kvm`).filter((name) => name.startsWith("kvm_")).length} tracepoints of KVM`,
  );
}

function device(error: string): Finding {
  return limited("a guest of our own", `could not be run, so nobody knows which tracepoints fire: ${error}`);
}

function firings({ firings }: Trial): Finding[] {
  return TRACEPOINTS.map((name) => firing(name, firings.get(name)!));
}

function firing(name: (typeof TRACEPOINTS)[number], firing: Firing): Finding {
  const what = `tracepoint ${name}`;
  if (firing.state === "absent") return missing(what, "not to be seen in tracefs");
  if (firing.state === "refused") return missing(what, firing.why);
  if (firing.count > 0) return ok(what, `fires (${firing.count} for the trial guest)`);
  if (name === "kvm_exit" || name === "kvm_entry") {
    const why = existsSync("/sys/module/kvm_pvm") ? "kvm-pvm leaves it out" : "nobody knows why";
    return limited(what, `never fires: ${why}. top counts exits to user space instead, without their times`);
  }
  if (name === "kvm_emulate_insn") return ok(what, "did not fire: nothing had to be emulated");
  // A halt without interrupts is the VMM's matter, and memory may be mapped without a fault.
  if (name === "kvm_vcpu_wakeup" || name === "kvm_page_fault")
    return ok(what, "is there; the trial guest has no need of it");
  return limited(what, "did not fire for the trial guest");
}

function statistics({ counters }: Trial): Finding {
  const what = "KVM's statistics descriptors";
  if (counters > 0) return ok(what, `${counters} counters of a VM and a vCPU`);
  return missing(what, "this KVM has none (KVM_CAP_BINARY_STATS_FD)", "Linux 5.14 or newer");
}

function pidfd(trial: Trial | undefined): Finding {
  const what = "another process's descriptors";
  if (trial !== undefined && trial.takeRefused !== "") {
    return missing(
      what,
      `pidfd_getfd: ${trial.takeRefused}`,
      "a container's seccomp profile may forbid it; Linux 5.6 or newer",
    );
  }
  if (hasCapability("CAP_SYS_PTRACE")) return ok(what, "may be taken (CAP_SYS_PTRACE)");
  const scope = Number(read("/proc/sys/kernel/yama/ptrace_scope") ?? 0);
  if (scope === 0) return ok(what, "may be taken from processes of this user");
  return limited(
    what,
    `ptrace_scope ${scope}: counters of running VMs may not be taken`,
    `sysctl kernel.yama.ptrace_scope=0, or ${AS_ROOT}`,
  );
}

function hostPmu(): Finding {
  const what = "PMU of the host";
  try {
    PerfEvent.open(
      { type: PERF_TYPE_HARDWARE, config: PERF_COUNT_HW_CPU_CYCLES, excludeKernel: true, disabled: true },
      { pid: 0, cpu: -1 },
    ).close();
    return ok(what, "counts cycles");
  } catch (error) {
    const detail = `no cycles (${(error as { errnoName?: string }).errnoName ?? (error as Error).message})`;
    return limited(
      what,
      `${detail}: samples of the guest come by the clock instead`,
      "in a VM, give it a PMU (-cpu host,pmu=on)",
    );
  }
}

/** CPUID leaf 0xa (Intel SDM volume 2, CPUID): version of the architectural PMU. 0x80000001 ECX bit 23: AMD's counters. */
function guestPmu(): Finding {
  const what = "PMU for guests";
  using kvm = Kvm.open();
  const leaves = kvm.getSupportedCpuid();
  const version = (leaves.find((leaf) => leaf.function === 0xa)?.eax ?? 0) & 0xff;
  const hasAmd = ((leaves.find((leaf) => leaf.function === 0x8000_0001)?.ecx ?? 0) & (1 << 23)) !== 0;
  if (version > 0 || hasAmd) return ok(what, version > 0 ? `architectural version ${version}` : "AMD's core counters");
  const mend = kvm.checkExtension(KVM_CAP_PMU_CAPABILITY) > 0 ? "kvm.enable_pmu=1, on a host with a PMU" : "";
  return limited(what, "KVM offers none: a guest cannot count its own cycles", mend);
}

function debugfs(): Finding {
  const what = "debugfs";
  const folder = "/sys/kernel/debug/kvm";
  if (readable(folder)) return ok(what, "readable; nothing here needs it");
  return ok(what, "not to be read; nothing here needs it");
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
