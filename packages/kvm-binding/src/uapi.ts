/**
 * Numbers of the kernel's interface and the histogram's arithmetic, without the native part: for what only reads
 * recordings, on any host.
 */
export * from "./generated/kvm-constants.js";
export * from "./generated/perf-constants.js";
export * from "./ledger/histogram.js";
