/** The lab as a library, for tests and benchmarks: `await runInLab({ command: ["uname", "-r"] })`. */
export { type CpioEntry, cpioArchive } from "@tools-kvm/firmware";
export { LabError } from "./errors.js";
export { buildInitramfs, type InitramfsOptions } from "./initramfs.js";
export type { TerminalSize } from "./job.js";
export { unpackBzImage } from "./kernel-image.js";
export { chooseKernel, hostKernelVersions, type LabKernel } from "./kernels.js";
export { type Lab, type LabOptions, type LabResult, runInLab, startLab, whyNoLab } from "./lab.js";
export { findQemu } from "./qemu.js";
