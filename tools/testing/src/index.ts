export { hasKvm, NEEDS_KVM } from "./kvm.js";
export { HANG_MS, type Launch, type Outcome, PERF_KVM, Process, VMM } from "./process.js";
export { Scratch } from "./scratch.js";
export { Terminal } from "./terminal.js";
