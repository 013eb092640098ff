import { concat, StructBytes } from "../../bytes.js";

/** Who made the tables, as every one of them says. Guests key their workarounds by it. */
export const OEM = { ID: "TLSKVM", TABLE_ID: "TOOLSKVM", REVISION: 1 } as const;
const CREATOR = { ID: "TKVM", REVISION: 1 } as const;

export const HEADER_BYTES = 36;
const LENGTH_AT = 4;
const CHECKSUM_AT = 9;

/**
 * A system description table: the header that most tables begin with (ACPI 6.5, section 5.2.6), then `body`, whose first
 * byte is at HEADER_BYTES.
 */
export function systemTable(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const header = new StructBytes(HEADER_BYTES)
    .text(0, 4, signature)
    .u32(LENGTH_AT, HEADER_BYTES + body.length)
    .u8(8, revision)
    .text(10, 6, OEM.ID)
    .text(16, 8, OEM.TABLE_ID)
    .u32(24, OEM.REVISION)
    .text(28, 4, CREATOR.ID)
    .u32(32, CREATOR.REVISION).bytes;
  const table = concat([header, body]);
  return new StructBytes(table.length).set(0, table).checksum(CHECKSUM_AT).bytes;
}
