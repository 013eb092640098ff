/** `vmm doctor`: what this host's KVM can do, what it gets wrong, and what to do about it. */
import { accessSync, constants, existsSync } from "node:fs";
import { arch, cpus, platform, totalmem } from "node:os";
import * as binding from "@tools-kvm/kvm-binding";
import { kernelTestsFinding } from "../doctor/kernel-tests.js";
import { pioExitsPerSecond, runProbes } from "../doctor/probes.js";
import { kvmKind } from "../machine/host.js";
import { formatSize } from "../machine/spec.js";
import { EXIT } from "./errors.js";
import { formatTable } from "./table.js";

type Verdict = "ok" | "missing" | "wrong";

interface Finding {
  readonly what: string;
  readonly verdict: Verdict;
  readonly detail: string;
  /** What to do; empty when there is nothing. */
  readonly advice: string;
}

/** Capabilities that a machine or its tools use, and what goes without each. */
const CAPABILITIES: readonly (readonly [name: string, cap: number, without: string])[] = [
  ["in-kernel interrupt controllers", binding.KVM_CAP_IRQCHIP, "no machine can be built"],
  ["split irqchip", binding.KVM_CAP_SPLIT_IRQCHIP, "--irqchip split is not to be had"],
  ["irqfd", binding.KVM_CAP_IRQFD, "device interrupts go through the main thread"],
  ["ioeventfd", binding.KVM_CAP_IOEVENTFD, "queue kicks leave the kernel"],
  ["coalesced MMIO", binding.KVM_CAP_COALESCED_MMIO, "every write to such a zone is an exit"],
  ["immediate exit", binding.KVM_CAP_IMMEDIATE_EXIT, "a running vCPU cannot be brought out safely"],
  ["MSR exits to user space", binding.KVM_CAP_X86_USER_SPACE_MSR, "the exerciser's MSR raises #GP"],
  ["register sync on exit", binding.KVM_CAP_SYNC_REGS, "the profiler cannot name the guest's RIP cheaply"],
  ["binary statistics", binding.KVM_CAP_BINARY_STATS_FD, "the profiler has no counters without debugfs"],
  ["dirty ring", binding.KVM_CAP_DIRTY_LOG_RING, "dirty pages are found by bitmap"],
  ["TSC deadline timer", binding.KVM_CAP_TSC_DEADLINE_TIMER, "guests use the periodic APIC timer"],
];

const PROBE_MS = 50;

export async function doctor({ json }: { json?: boolean }): Promise<number> {
  const access = deviceAccess();
  const findings = [...access, ...(access.every(({ verdict }) => verdict === "ok") ? kvmFindings() : [])];
  if (json) process.stdout.write(`${JSON.stringify(findings)}\n`);
  else process.stdout.write(`${report(findings)}\n`);
  return access.every(({ verdict }) => verdict === "ok") ? EXIT.OK : EXIT.FAILURE;
}

function deviceAccess(): Finding[] {
  const host: Finding = {
    what: "host",
    verdict: arch() === "x64" && platform() === "linux" ? "ok" : "wrong",
    detail: `${platform()} ${arch()}, ${cpus().length} CPUs, ${formatSize(totalmem())}`,
    advice: "",
  };
  if (host.verdict !== "ok") return [{ ...host, advice: "tools-kvm runs on x86-64 Linux" }];
  return [host, deviceFile()];
}

function deviceFile(): Finding {
  const what = "/dev/kvm";
  if (!existsSync(what)) {
    const advice =
      "modprobe kvm-intel or kvm-amd; in a VM, switch nested virtualisation on; else the firmware's SVM or VT-x setting";
    return { what, verdict: "missing", detail: "there is none", advice };
  }
  try {
    accessSync(what, constants.R_OK | constants.W_OK);
    return { what, verdict: "ok", detail: `${kvmKind()}`, advice: "" };
  } catch {
    return {
      what,
      verdict: "wrong",
      detail: "permission denied",
      advice: "sudo usermod -aG kvm $USER, then log in again",
    };
  }
}

function kvmFindings(): Finding[] {
  using kvm = binding.Kvm.open();
  const kind = kvmKind();
  return [
    { what: "API version", verdict: "ok", detail: String(kvm.getApiVersion()), advice: "" },
    {
      what: "vCPUs a machine may have",
      verdict: "ok",
      detail: `${kvm.checkExtension(binding.KVM_CAP_MAX_VCPUS)} (${kvm.checkExtension(binding.KVM_CAP_NR_VCPUS)} recommended)`,
      advice: "",
    },
    ...CAPABILITIES.map(([what, cap, without]): Finding => {
      const there = kvm.checkExtension(cap) > 0;
      return {
        what,
        verdict: there ? "ok" : "missing",
        detail: there ? "" : "not on this host",
        advice: there ? "" : without,
      };
    }),
    ...runProbes(kvm).map(
      ({ name, ok, found, meaning }): Finding => ({
        what: name,
        verdict: ok ? "ok" : "wrong",
        detail: found,
        advice: ok ? "" : meaning,
      }),
    ),
    {
      what: "paravirtual features (kvmclock, hypercalls)",
      verdict: kind === "pvm" ? "wrong" : "ok",
      detail: kind === "pvm" ? "a hypercall never returns on kvm-pvm" : "",
      advice: kind === "pvm" ? "machines here do not advertise them" : "",
    },
    { what: "the kernel's promises, tested", ...kernelTestsFinding() },
    {
      what: "speed",
      verdict: "ok",
      detail: `${Math.round(pioExitsPerSecond(kvm, PROBE_MS) / 1000)} thousand port exits a second on one vCPU`,
      advice: "",
    },
  ];
}

function report(findings: readonly Finding[]): string {
  const table = formatTable<Finding>(
    [
      { title: "", cell: ({ verdict }) => verdict },
      { title: "WHAT", cell: ({ what }) => what },
      { title: "FOUND", cell: ({ detail, advice }) => [detail, advice].filter((text) => text !== "").join(": ") },
    ],
    findings,
  );
  const broken = findings.filter(({ verdict }) => verdict !== "ok").length;
  return `${table}\n\n${broken === 0 ? "Nothing is amiss." : `${broken} of ${findings.length} are not as they should be; the lines above say what that means.`}`;
}
