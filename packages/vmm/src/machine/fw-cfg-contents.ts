/** What a machine tells its guest by fw_cfg (QEMU, docs/specs/fw_cfg.rst), whatever it boots. */
import { FW_CFG_KEY, type FwCfgContents, u16, u32, u64 } from "../devices/fw-cfg/items.js";
import { E820, ramRegions } from "./memory-map.js";
import type { MachineSpec } from "./spec.js";

const E820_ENTRY_BYTES = 20;

/** The items that every machine has: memory and CPUs. */
export function fwCfgContents({ memoryBytes, cpus }: Pick<MachineSpec, "memoryBytes" | "cpus">): FwCfgContents {
  return {
    items: [
      [FW_CFG_KEY.RAM_SIZE, u64(memoryBytes)],
      [FW_CFG_KEY.NB_CPUS, u16(cpus)],
      [FW_CFG_KEY.MAX_CPUS, u16(cpus)],
      [FW_CFG_KEY.BOOT_MENU, u16(0)],
    ],
    files: [{ name: "etc/e820", bytes: ramTable(memoryBytes) }],
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
