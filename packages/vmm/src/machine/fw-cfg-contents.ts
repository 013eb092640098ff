/** What a machine tells its guest by fw_cfg (QEMU, docs/specs/fw_cfg.rst): of itself, and its firmware of the kernel. */
import { readFileSync } from "node:fs";
import { optionRomPath, smbiosFiles, tableFiles } from "@tools-kvm/firmware";
import { kernelItems } from "../boot/firmware-handover.js";
import { FW_CFG_KEY, type FwCfgContents, u16, u32, u64 } from "../devices/fw-cfg/items.js";
import type { BootSource } from "./machine.js";
import { E820, e820Map, ramRegions } from "./memory-map.js";
import { describePc, PORT } from "./pc.js";
import type { MachineSpec } from "./spec.js";

const E820_ENTRY_BYTES = 20;
const OPTION_ROM = "genroms/tools-kvm.bin";

/** The items that every machine has: memory and CPUs. */
export function machineContents({ memoryBytes, cpus }: MachineSpec): FwCfgContents {
  return {
    items: [
      [FW_CFG_KEY.RAM_SIZE, u64(memoryBytes)],
      [FW_CFG_KEY.NB_CPUS, u16(cpus)],
      [FW_CFG_KEY.MAX_CPUS, u16(cpus)],
    ],
    files: [{ name: "etc/e820", bytes: ramTable(memoryBytes) }],
  };
}

/**
 * With firmware: the tables as well, which it places, and the kernel, which it loads; and for SeaBIOS, that its screen is
 * the serial port, and how it boots. Throws BootError.
 */
export function firmwareContents(spec: MachineSpec, source: BootSource): FwCfgContents {
  const { memoryBytes } = spec;
  const { image, commandLine, modules } = source;
  const { items, files } = machineContents(spec);
  const kernel = kernelItems({ image, commandLine, modules, memoryBytes, memoryMap: e820Map(memoryBytes) });
  return {
    items: [...items, ...kernel, [FW_CFG_KEY.BOOT_MENU, u16(source.isFallback === true ? 1 : 0)]],
    files: [
      ...files,
      ...tableFiles(describePc(spec)),
      ...smbiosFiles({ cpus: spec.cpus, ram: ramRegions(memoryBytes) }),
      { name: "etc/sercon-port", bytes: u16(PORT.COM1) },
      ...bootFiles(spec, source),
    ],
  };
}

/** A BIOS boots the kernel by an option ROM: first of all, or when there is no disk to boot. */
function bootFiles({ virtio = [] }: MachineSpec, { isFallback = false }: BootSource): FwCfgContents["files"] {
  if (isFallback && virtio.some(({ kind }) => kind === "block")) return [];
  return [
    { name: OPTION_ROM, bytes: readFileSync(optionRomPath()) },
    { name: "bootorder", bytes: new TextEncoder().encode(`/rom@${OPTION_ROM}\0`) },
  ];
}

/** All RAM, as `etc/e820` has it: the holes that a PC's firmware leaves in it are the firmware's business. */
function ramTable(memoryBytes: number): Uint8Array {
  const regions = ramRegions(memoryBytes);
  const table = new Uint8Array(E820_ENTRY_BYTES * regions.length);
  regions.forEach(({ guestPhysAddr, sizeBytes }, index) => {
    table.set([...u64(guestPhysAddr), ...u64(sizeBytes), ...u32(E820.RAM)], E820_ENTRY_BYTES * index);
  });
  return table;
}
