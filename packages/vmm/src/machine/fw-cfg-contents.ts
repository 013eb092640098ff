/** What a machine tells its guest by fw_cfg (QEMU, docs/specs/fw_cfg.rst): of itself, and its firmware of the kernel. */
import { tableFiles } from "@tools-kvm/firmware";
import { kernelItems } from "../boot/firmware-handover.js";
import { FW_CFG_KEY, type FwCfgContents, u16, u32, u64 } from "../devices/fw-cfg/items.js";
import type { BootSource } from "./machine.js";
import { E820, e820Map, ramRegions } from "./memory-map.js";
import { describePc, PORT } from "./pc.js";
import type { MachineSpec } from "./spec.js";

const E820_ENTRY_BYTES = 20;

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
 * the serial port, and that it may ask what to boot. Throws BootError.
 */
export function firmwareContents(spec: MachineSpec, { image, commandLine, modules }: BootSource): FwCfgContents {
  const { memoryBytes } = spec;
  const { items, files } = machineContents(spec);
  const kernel = kernelItems({ image, commandLine, modules, memoryBytes, memoryMap: e820Map(memoryBytes) });
  return {
    items: [...items, ...kernel, [FW_CFG_KEY.BOOT_MENU, u16(1)]],
    files: [...files, ...tableFiles(describePc(spec)), { name: "etc/sercon-port", bytes: u16(PORT.COM1) }],
  };
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
