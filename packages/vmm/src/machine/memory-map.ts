/**
 * Where a PC has its RAM: from 0 up to the hole below 4 GiB in which devices live, the rest above 4 GiB.
 */
const GIB = 2 ** 30;

/** Device memory (IOAPIC, local APIC, PCI later) is in the gigabyte below 4 GiB. */
export const MMIO_HOLE_START = 3 * GIB;
export const MMIO_HOLE_END = 4 * GIB;
/** KVM's three-page TSS and its identity map page table for real mode on VMX: where QEMU has them, below any firmware. */
export const TSS_ADDR = 0xfeff_d000;
export const IDENTITY_MAP_ADDR = 0xfeff_c000;
/** Bytes a single region may have: one SharedArrayBuffer view each. */
export const MAX_REGION_BYTES = 2 * GIB;

/** Register windows of virtio devices, 4 KiB each. */
export const VIRTIO_MMIO_BASE = 0xfe80_0000;
/** PCI's configuration space in memory: where most firmware puts it, which so ends low RAM. OVMF has it at 0xe0000000 since 2023. */
export const ECAM_BASE = 0xb000_0000;
/** On a machine whose virtio devices are PCI functions: the configuration space of bus 0, and where their windows are. */
export const PCI_ECAM_BASE = 0xe000_0000;
export const PCI_WINDOWS = { base: 0xc000_0000, sizeBytes: 0x2000_0000 } as const;
/** The same where firmware makes the map: what is left beside either place for ECAM. */
const FIRMWARE_PCI_WINDOWS = [
  { base: 0x8000_0000, sizeBytes: 0x3000_0000 },
  { base: 0xc000_0000, sizeBytes: 0x2000_0000 },
  { base: 0xf000_0000, sizeBytes: 0x0ec0_0000 },
] as const;
export const IOAPIC_BASE = 0xfec0_0000;
export const LAPIC_BASE = 0xfee0_0000;

export interface RamRegion {
  readonly guestPhysAddr: number;
  readonly sizeBytes: number;
}

/** E820 address range types (ACPI 6.5, table 15.4). */
export const E820 = { RAM: 1, RESERVED: 2 } as const;

export interface E820Entry {
  readonly addr: number;
  readonly size: number;
  readonly type: number;
}

/** The regions that hold `memoryBytes` of RAM, in ascending order. */
export function ramRegions(memoryBytes: number): RamRegion[] {
  const regions: RamRegion[] = [];
  let left = memoryBytes;
  let address = 0;
  while (left > 0) {
    if (address === MMIO_HOLE_START) address = MMIO_HOLE_END;
    const roof = address < MMIO_HOLE_START ? MMIO_HOLE_START : Number.MAX_SAFE_INTEGER;
    const sizeBytes = Math.min(left, MAX_REGION_BYTES, roof - address);
    regions.push({ guestPhysAddr: address, sizeBytes });
    address += sizeBytes;
    left -= sizeBytes;
  }
  return regions;
}

/** What the guest is told of its memory: RAM, less the legacy hole from the EBDA to 1 MiB, whose end has firmware's tables. */
export function e820Map(memoryBytes: number): E820Entry[] {
  const entries: E820Entry[] = [
    { addr: 0, size: 0x9_fc00, type: E820.RAM },
    { addr: 0x9_fc00, size: 0x400, type: E820.RESERVED },
    { addr: 0xe_0000, size: 0x2_0000, type: E820.RESERVED },
  ];
  for (const { guestPhysAddr, sizeBytes } of ramRegions(memoryBytes)) {
    const start = Math.max(guestPhysAddr, 0x10_0000);
    const end = guestPhysAddr + sizeBytes;
    const last = entries[entries.length - 1]!;
    if (end <= start) continue;
    if (last.type === E820.RAM && last.addr + last.size === start) {
      entries[entries.length - 1] = { ...last, size: last.size + (end - start) };
    } else {
      entries.push({ addr: start, size: end - start, type: E820.RAM });
    }
  }
  return entries;
}

export interface Window {
  readonly base: number;
  readonly sizeBytes: number;
}

/** Where the windows of a machine's PCI functions may lie: where firmware makes the map, between RAM and the interrupt controllers. */
export function pciWindows({ chipset, memoryBytes }: PciMachine): readonly Window[] {
  if (chipset === undefined) return [PCI_WINDOWS];
  const [lowest, ...others] = FIRMWARE_PCI_WINDOWS;
  const base = Math.max(lowest.base, Math.min(memoryBytes, MMIO_HOLE_START));
  const sizeBytes = lowest.base + lowest.sizeBytes - base;
  return sizeBytes > 0 ? [{ base, sizeBytes }, ...others] : others;
}

interface PciMachine {
  readonly chipset?: "q35" | undefined;
  readonly memoryBytes: number;
}
