import { packageFile } from "./package-file.js";

/**
 * Path of the embedded guest: an ELF file of at most 64 KiB that boots by Multiboot and by PVH. What it asks of a
 * machine and which commands it knows is in this package's README.
 */
export function embeddedGuestPath(): string {
  return packageFile("guest.elf");
}

/** Path of an ELF file with the embedded guest's functions by name, at the addresses where it runs. */
export function embeddedGuestSymbolsPath(): string {
  return packageFile("guest.symbols");
}

/** What the guest prints when it waits for a command. */
export const EMBEDDED_GUEST_PROMPT = "kvm> ";

/** The ways out of the guest that its command `exits KIND COUNT [all]` knows. */
export const EXIT_KINDS = ["pio", "mmio", "coalesced", "ioeventfd", "hlt", "cpuid", "msr", "pio-user"] as const;
export type ExitKind = (typeof EXIT_KINDS)[number];
