import { StructBytes } from "../../bytes.js";
import type { PciHost } from "../machine.js";
import { systemTable } from "./header.js";

const MCFG_REVISION = 1;

/** Where PCI's configuration space is in memory (PCI Firmware Specification 3.3, section 4.1.2): one entry, of segment 0. */
export function mcfg(ecamBase: number, { first, last }: PciHost["buses"]): Uint8Array {
  const reservedBytes = 8;
  const entry = reservedBytes;
  const body = new StructBytes(reservedBytes + 16);
  body
    .u64(entry, ecamBase)
    .u8(entry + 10, first)
    .u8(entry + 11, last);
  return systemTable("MCFG", MCFG_REVISION, body.bytes);
}
