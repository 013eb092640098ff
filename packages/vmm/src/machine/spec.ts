import type { CacheMode } from "../block/host-file.js";
import type { DiskFormat } from "../block/open-disk.js";
import type { RateLimitSpec } from "../virtio/rate-limit.js";

/**
 * What a machine is, as plain JSON: the main thread and every Worker build the same devices over the same shared
 * bytes from one of these.
 */
export interface MachineSpec {
  /** The name it registers under; at most 63 bytes of letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  /** vCPUs, 1 to MAXIMUM_CPUS or the host's KVM limit. Their APIC ids are 0 to cpus - 1. */
  readonly cpus: number;
  /** Guest RAM in bytes, a multiple of 4 KiB. */
  readonly memoryBytes: number;
  /** `kernel`: PIC, IOAPIC and PIT in the kernel. `split`: only the local APICs are; IOAPIC and PIT are devices. */
  readonly irqchip: "kernel" | "split";
  /** In the order of their windows and interrupt lines; at most MAXIMUM_VIRTIO_DEVICES. */
  readonly virtio?: readonly VirtioSpec[];
  /** The format of their queues: `packed` is offered, and drivers choose. `split` when left out. */
  readonly virtioRings?: "split" | "packed";
  /** What virtio devices stand on; `mmio` when left out. */
  readonly bus?: "mmio" | "pci";
  /** The host bridge and ISA bridge of a chipset, as firmware wants to find one. */
  readonly chipset?: "q35";
  /** The chip in which firmware keeps its variables. */
  readonly flash?: FlashSpec;
  /** pc-testdev, the debug exit and the exerciser: what test guests talk to. */
  readonly testDevices: boolean;
}

/** A flash chip below the firmware's ROM. */
export interface FlashSpec {
  readonly base: number;
  /** Whole pages. */
  readonly sizeBytes: number;
}

/** A disk: an image that the guest's block device stands on. */
export interface DiskSpec {
  readonly kind: "block";
  /** Absolute. */
  readonly path: string;
  readonly format?: DiskFormat;
  readonly readonly: boolean;
  readonly cache: CacheMode;
  /** What the guest reads as the disk's serial number; at most 20 bytes. */
  readonly serial: string;
  /** Request queues. */
  readonly queues: number;
  readonly sizeBytes: number;
  /** Of reads and writes together. */
  readonly limit?: RateLimitSpec | undefined;
}

/** Random bytes from the host. */
export interface EntropySpec {
  readonly kind: "entropy";
}

/** A network interface of the guest. */
export interface NetSpec {
  readonly kind: "net";
  /** Six bytes. */
  readonly mac: readonly number[];
  /** Bytes of IP in a frame at most. */
  readonly mtu: number;
  /** Of each direction by itself. */
  readonly limit?: RateLimitSpec | undefined;
  /** The host's tap of that name, or a socket that speaks frames behind their length (passt). */
  readonly link: { readonly type: "tap"; readonly name: string } | { readonly type: "socket"; readonly path: string };
}

/** A folder of the host's that the guest can mount. */
export interface ShareSpec {
  readonly kind: "share";
  /** The name by which the guest mounts it. */
  readonly tag: string;
  /** Absolute. */
  readonly path: string;
  readonly readonly: boolean;
}

/** Memory that the guest gives back when it is asked to. */
export interface BalloonSpec {
  readonly kind: "balloon";
  /** What it is to give back from the start, in whole pages. */
  readonly sizeBytes: number;
}

/** Streams between programs of the guest and of the host. */
export interface VsockSpec {
  readonly kind: "vsock";
  /** The guest's address. */
  readonly cid: number;
  /** Absolute, of the unix socket by which the host's programs reach the guest's. */
  readonly path: string;
}

/** A terminal of the guest's, or named streams between its programs and the host. */
export interface ConsoleSpec {
  readonly kind: "console";
  /** Without any the device is one terminal. */
  readonly ports: readonly PortSpec[];
}

export interface PortSpec {
  /** In the guest it is /dev/virtio-ports/NAME. */
  readonly name: string;
  /** Absolute, of the unix socket by which the host's programs reach it; without one the machine's owner has the other end. */
  readonly path?: string;
}

export type VirtioSpec = DiskSpec | EntropySpec | NetSpec | ShareSpec | BalloonSpec | VsockSpec | ConsoleSpec;

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** A local APIC's id has eight bits, and 0xff stands for all of them (Intel SDM vol 3, 11.6.1 and 11.6.2). */
export const MAXIMUM_CPUS = 255;
/** Guest page size; RAM is a whole number of these. */
export const PAGE_BYTES = 4096;
/** A guest needs its first megabyte and something to stand on. */
export const MINIMUM_MEMORY_BYTES = 2 * MIB;
export const DEFAULT_MEMORY_BYTES = 128 * MIB;

const SIZE_UNITS: Record<string, number> = { "": MIB, B: 1, K: KIB, M: MIB, G: GIB, T: 1024 * GIB };

/**
 * Reads a size such as `512`, `512M`, `2G` or `2GiB` (no unit means MiB, as QEMU and kvmtool have it).
 * Returns bytes, or undefined when it is no size.
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?|(B))?$/i.exec(text.trim());
  if (match === null) return undefined;
  const unit = (match[2] ?? match[3] ?? "").toUpperCase();
  const sizeBytes = Number(match[1]) * SIZE_UNITS[unit]!;
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined;
}

/** `128 MiB`, `1.5 GiB`, `4 KiB`, `17 B`. */
export function formatSize(sizeBytes: number): string {
  for (const [unit, factor] of [
    ["GiB", GIB],
    ["MiB", MIB],
    ["KiB", KIB],
  ] as const) {
    if (sizeBytes >= factor) return `${Number((sizeBytes / factor).toFixed(1))} ${unit}`;
  }
  return `${sizeBytes} B`;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** True for names that are safe as a file name, a table cell and a ledger's header. */
export function isMachineName(text: string): boolean {
  return NAME.test(text);
}
