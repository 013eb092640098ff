/** The root pointer and the tables of tables (ACPI 6.5, sections 5.2.5, 5.2.7 and 5.2.8). */
import { StructBytes } from "../../bytes.js";
import { OEM, systemTable } from "./header.js";

/** A guest without another hint looks for this on 16-byte boundaries. */
const RSDP_SIGNATURE = "RSD PTR ";
const RSDP_REVISION = 2;
export const RSDP_BYTES = 36;
/** What the first checksum covers: all there was in ACPI 1.0. */
const RSDP_BYTES_1_0 = 20;

/** Both pointers are set, so that a guest of ACPI 1.0 finds its tables too; hence both lie below 4 GiB. */
export function rsdp(rsdtGpa: number, xsdtGpa: number): Uint8Array {
  return new StructBytes(RSDP_BYTES)
    .text(0, 8, RSDP_SIGNATURE)
    .text(9, 6, OEM.ID)
    .u8(15, RSDP_REVISION)
    .u32(16, rsdtGpa)
    .u32(20, RSDP_BYTES)
    .u64(24, xsdtGpa)
    .checksum(8, RSDP_BYTES_1_0)
    .checksum(32).bytes;
}

export function rsdt(tables: readonly number[]): Uint8Array {
  const body = new StructBytes(4 * tables.length);
  tables.forEach((gpa, index) => {
    body.u32(4 * index, gpa);
  });
  return systemTable("RSDT", 1, body.bytes);
}

export function xsdt(tables: readonly number[]): Uint8Array {
  const body = new StructBytes(8 * tables.length);
  tables.forEach((gpa, index) => {
    body.u64(8 * index, gpa);
  });
  return systemTable("XSDT", 1, body.bytes);
}
