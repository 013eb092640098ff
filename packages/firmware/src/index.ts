export { type AcpiTables, buildAcpiTables } from "./acpi/build.js";
export { AcpiError, type AcpiMachine, type PciHost, type VirtioMmioWindow, type Window } from "./acpi/machine.js";
export { ACPI_AREA, type Area, MP_TABLE_AREA, type Segment, SMBIOS_AREA } from "./bios-area.js";
export {
  EMBEDDED_GUEST_PROMPT,
  EXIT_KINDS,
  type ExitKind,
  embeddedGuestPath,
  embeddedGuestSymbolsPath,
} from "./embedded-guest.js";
export { EXERCISER_BASE, EXERCISER_ID, EXERCISER_MSR, EXERCISER_REGISTER } from "./exerciser.js";
export { type CpioEntry, cpioArchive } from "./initramfs/cpio.js";
export {
  type KernelModule,
  type ModuleIndex,
  moduleName,
  parseModuleIndex,
  resolveModules,
} from "./initramfs/modules.js";
export { type TableFile, tableFiles } from "./linker.js";
export { buildMpTable, type MpTable } from "./mp-table.js";
export { optionRomPath, romPath } from "./rom.js";
export { sandboxInitPath } from "./sandbox-init.js";
export { buildSmbios, type SmbiosMachine, type SmbiosTables, smbiosFiles } from "./smbios/build.js";
