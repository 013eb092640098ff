/** What can be sampled beside the exits: where the vCPU threads are at regular times, in the guest or in the host. */
import { readFileSync } from "node:fs";
import {
  PERF_COUNT_HW_CPU_CYCLES,
  PERF_COUNT_SW_CPU_CLOCK,
  PERF_TYPE_HARDWARE,
  PERF_TYPE_SOFTWARE,
} from "@tools-kvm/kvm-binding/uapi";

export interface SampleEvent {
  /** As perf calls it. */
  readonly name: string;
  /** PERF_TYPE_*, and which of them. */
  readonly type: number;
  readonly config: number;
  /** Samples a second of a thread's time. */
  readonly frequencyHz: number;
}

/** `cpu-clock` is a timer of the kernel and there always; `cycles` is the processor's counter, which goes on in the guest. */
const KINDS: Readonly<Record<string, { readonly type: number; readonly config: number }>> = {
  "cpu-clock": { type: PERF_TYPE_SOFTWARE, config: PERF_COUNT_SW_CPU_CLOCK },
  cycles: { type: PERF_TYPE_HARDWARE, config: PERF_COUNT_HW_CPU_CYCLES },
};

export const SAMPLE_EVENT_NAMES = Object.keys(KINDS);

export function sampleEvent(name: string, frequencyHz: number): SampleEvent {
  return { name, frequencyHz, ...KINDS[name]! };
}

/** More samples a second the kernel refuses (Documentation/admin-guide/sysctl/kernel.rst, perf_event_max_sample_rate). */
export function largestFrequencyHz(): number {
  try {
    return Number(readFileSync("/proc/sys/kernel/perf_event_max_sample_rate", "latin1"));
  } catch {
    return 100_000;
  }
}
