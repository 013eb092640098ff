/**
 * What `dmidecode` shows: tables that say what machine this is (DMTF DSP0134, System Management BIOS 3.6), with the entry point of
 * version 2.8, which every firmware and every operating system knows.
 */
import { type Area, AreaLayout, type Segment, SMBIOS_AREA } from "../bios-area.js";
import { checksumOf, concat, StructBytes } from "../bytes.js";
import type { TableFile } from "../linker.js";
import { SmbiosStructure } from "./structure.js";

export interface SmbiosMachine {
  readonly cpus: number;
  /** RAM as the guest finds it, in guest-physical bytes. */
  readonly ram: readonly { readonly guestPhysAddr: number; readonly sizeBytes: number }[];
}

export interface SmbiosTables {
  /** Guest-physical address of the entry point. */
  readonly entryPoint: number;
  readonly segments: readonly Segment[];
}

/** Files by which firmware is given them (QEMU, docs/specs/fw_cfg.rst): it places the tables and completes the entry point. */
export const SMBIOS_FILE = { ENTRY_POINT: "etc/smbios/smbios-anchor", TABLES: "etc/smbios/smbios-tables" } as const;

const MANUFACTURER = "tools-kvm";
const PRODUCT = "tools-kvm PC";

/** Handles are the types' numbers with room for several of each. */
const handle = (type: number, index = 0): number => type * 0x100 + index;
const TYPE = {
  BIOS: 0,
  SYSTEM: 1,
  CHASSIS: 3,
  PROCESSOR: 4,
  ARRAY: 16,
  DEVICE: 17,
  MAPPED: 19,
  BOOT: 32,
  END: 127,
} as const;

const ENTRY_POINT = { BYTES: 31, CHECKSUM: 4, INTERMEDIATE: 16, INTERMEDIATE_CHECKSUM: 21, ADDRESS: 24 } as const;
const VERSION = { MAJOR: 2, MINOR: 8, BCD: 0x28 } as const;

const MIB = 2 ** 20;
const OTHER = 1;
const UNKNOWN = 2;
const SAFE = 3;
/** No handle of an error, as there is no way to report one. */
const NO_ERRORS = 0xfffe;
const NOT_KNOWN_16 = 0xffff;
/** A field of 16 or 32 bits that says that a wider one has the value. */
const SEE_WIDER_16 = 0x7fff;
const SEE_WIDER_32 = 0xffff_ffff;

/** Entry point and tables in `area`. Throws a RangeError when they do not fit, which no machine that KVM takes brings about. */
export function buildSmbios(machine: SmbiosMachine, area: Area = SMBIOS_AREA): SmbiosTables {
  const layout = new AreaLayout(area);
  const structures = structuresOf(machine);
  const entryPoint = layout.reserve(ENTRY_POINT.BYTES);
  const tables = layout.place("SMBIOS", concat(structures));
  layout.put("_SM_", entryPoint, entryPointFor(structures, tables));
  if (layout.overflow !== undefined) throw new RangeError(`the SMBIOS tables need ${layout.overflow}`);
  return { entryPoint, segments: layout.segments };
}

/** The same as files of fw_cfg; the entry point has no address yet. */
export function smbiosFiles(machine: SmbiosMachine): TableFile[] {
  const structures = structuresOf(machine);
  return [
    { name: SMBIOS_FILE.ENTRY_POINT, bytes: entryPointFor(structures, 0) },
    { name: SMBIOS_FILE.TABLES, bytes: concat(structures) },
  ];
}

/** Section 5.2.1. */
function entryPointFor(structures: readonly Uint8Array[], address: number): Uint8Array {
  const entry = new StructBytes(ENTRY_POINT.BYTES)
    .text(0, 4, "_SM_")
    .u8(5, ENTRY_POINT.BYTES)
    .u8(6, VERSION.MAJOR)
    .u8(7, VERSION.MINOR)
    .u16(8, Math.max(...structures.map(({ length }) => length)))
    .text(ENTRY_POINT.INTERMEDIATE, 5, "_DMI_")
    .u16(22, concat(structures).length)
    .u32(ENTRY_POINT.ADDRESS, address)
    .u16(28, structures.length)
    .u8(30, VERSION.BCD);
  entry.u8(ENTRY_POINT.INTERMEDIATE_CHECKSUM, checksumOf(entry.bytes.subarray(ENTRY_POINT.INTERMEDIATE)));
  return entry.checksum(ENTRY_POINT.CHECKSUM).bytes;
}

function structuresOf({ cpus, ram }: SmbiosMachine): Uint8Array[] {
  const memoryBytes = ram.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const all = [
    bios(),
    system(),
    chassis(),
    processor(cpus),
    memoryArray(memoryBytes),
    memoryDevice(memoryBytes),
    ...ram.map(mappedAddress),
    new SmbiosStructure(TYPE.BOOT, handle(TYPE.BOOT), 11),
    new SmbiosStructure(TYPE.END, handle(TYPE.END), 4),
  ];
  return all.map(({ bytes }) => bytes);
}

/** Section 7.1. Characteristics: not given, but for ACPI, and that this is a virtual machine. */
function bios(): SmbiosStructure {
  return new SmbiosStructure(TYPE.BIOS, handle(TYPE.BIOS), 24)
    .string(4, MANUFACTURER)
    .string(5, "tools-kvm")
    .u16(6, 0xf000)
    .string(8, "01/01/2026")
    .u8(10, 1 << 3)
    .u8(18, 1 << 0)
    .u8(19, 1 << 4)
    .u8(22, 0xff)
    .u8(23, 0xff);
}

/** Section 7.2. The UUID is zeros: not present. It was woken up by its power switch. */
function system(): SmbiosStructure {
  return new SmbiosStructure(TYPE.SYSTEM, handle(TYPE.SYSTEM), 27).string(4, MANUFACTURER).string(5, PRODUCT).u8(24, 6);
}

/** Section 7.4. */
function chassis(): SmbiosStructure {
  return new SmbiosStructure(TYPE.CHASSIS, handle(TYPE.CHASSIS), 22)
    .string(4, MANUFACTURER)
    .u8(5, OTHER)
    .u8(9, SAFE)
    .u8(10, SAFE)
    .u8(11, SAFE)
    .u8(12, UNKNOWN);
}

/** Section 7.5: one socket with all CPUs as its cores. Speeds of zero are unknown; it has no caches to speak of. */
function processor(cpus: number): SmbiosStructure {
  const few = Math.min(cpus, 0xff);
  return new SmbiosStructure(TYPE.PROCESSOR, handle(TYPE.PROCESSOR), 48)
    .string(4, "CPU 0")
    .u8(5, 3) // a central processor
    .u8(6, OTHER)
    .string(7, MANUFACTURER)
    .u8(24, (1 << 6) | 1) // the socket is populated, the CPU enabled
    .u8(25, OTHER)
    .u16(26, NOT_KNOWN_16)
    .u16(28, NOT_KNOWN_16)
    .u16(30, NOT_KNOWN_16)
    .u8(35, few)
    .u8(36, few)
    .u8(37, few)
    .u16(38, 1 << 2) // 64 bits
    .u16(40, OTHER)
    .u16(42, cpus)
    .u16(44, cpus)
    .u16(46, cpus);
}

/** Section 7.17. Sizes in KiB. */
function memoryArray(memoryBytes: number): SmbiosStructure {
  const kib = Math.floor(memoryBytes / 1024);
  const isWide = kib >= 2 ** 31;
  return new SmbiosStructure(TYPE.ARRAY, handle(TYPE.ARRAY), 23)
    .u8(4, OTHER)
    .u8(5, 3) // system memory
    .u8(6, 3) // no error correction
    .u32(7, isWide ? 2 ** 31 : kib)
    .u16(11, NO_ERRORS)
    .u16(13, 1)
    .u64(15, isWide ? memoryBytes : 0);
}

/** Section 7.18. Sizes in MiB. */
function memoryDevice(memoryBytes: number): SmbiosStructure {
  const mib = Math.floor(memoryBytes / MIB);
  const isWide = mib >= SEE_WIDER_16;
  return new SmbiosStructure(TYPE.DEVICE, handle(TYPE.DEVICE), 40)
    .u16(4, handle(TYPE.ARRAY))
    .u16(6, NO_ERRORS)
    .u16(8, NOT_KNOWN_16)
    .u16(10, NOT_KNOWN_16)
    .u16(12, isWide ? SEE_WIDER_16 : mib)
    .u8(14, 9) // a DIMM
    .string(16, "DIMM 0")
    .u8(18, 7) // RAM
    .u16(19, 1 << 1) // other
    .string(23, MANUFACTURER)
    .u32(28, isWide ? mib : 0);
}

/** Section 7.20. First and last KiB. */
function mappedAddress(range: SmbiosMachine["ram"][number], index: number): SmbiosStructure {
  const first = range.guestPhysAddr / 1024;
  const last = (range.guestPhysAddr + range.sizeBytes) / 1024 - 1;
  const isWide = last >= SEE_WIDER_32;
  return new SmbiosStructure(TYPE.MAPPED, handle(TYPE.MAPPED, index), 31)
    .u32(4, isWide ? SEE_WIDER_32 : first)
    .u32(8, isWide ? SEE_WIDER_32 : last)
    .u16(12, handle(TYPE.ARRAY))
    .u8(14, 1)
    .u64(15, isWide ? range.guestPhysAddr : 0)
    .u64(23, isWide ? range.guestPhysAddr + range.sizeBytes - 1 : 0);
}
