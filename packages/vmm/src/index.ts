/** The machine as a library: what `vmm run` is made of. */
export type { DiskImage } from "./block/disk-image.js";
export { DiskError } from "./block/errors.js";
export type { CacheMode } from "./block/host-file.js";
export { type DiskFormat, type OpenDiskOptions, openDisk } from "./block/open-disk.js";
export { type CreateQcow2Options, createQcow2 } from "./block/qcow2/create.js";
export { BootError } from "./boot/errors.js";
export { type KernelImage, parseKernel } from "./boot/kernel-image.js";
export type { ExitRow } from "./control/actions.js";
export { exitRows } from "./control/exit-rows.js";
export { type DeviceDefinition, type DevicePort, defineDevice } from "./devices/device.js";
export type { CrashReport } from "./machine/crash-report.js";
export { type BootSource, Machine, type MachineEnd, type MachineOptions, type Phase } from "./machine/machine.js";
export type { MachineSpec } from "./machine/spec.js";
export { MAX_MSIZE, MIN_MSIZE, NinePServer, type ShareOptions } from "./share/server.js";
export type { Ownership } from "./share/session.js";
