/**
 * Completes an option ROM: its size, in steps of 512 bytes, and the two checksums (Plug and Play BIOS Specification 1.0A, section
 * 3.1 and 3.2). Usage: finish.mjs LINKED FINISHED
 */
import { readFileSync, writeFileSync } from "node:fs";

const BLOCK_BYTES = 512;
const SIZE_AT = 2;
const EXPANSION_HEADER_AT = 0x1a;
/** Of the expansion header. */
const LENGTH_AT = 5;
const CHECKSUM_AT = 9;

const [linked, finished] = process.argv.slice(2);
const code = readFileSync(linked);
// One byte at the end is the ROM's own checksum.
const blocks = Math.ceil((code.length + 1) / BLOCK_BYTES);
const rom = Buffer.alloc(blocks * BLOCK_BYTES);
code.copy(rom);
rom[SIZE_AT] = blocks;
const header = rom.readUInt16LE(EXPANSION_HEADER_AT);
rom[header + CHECKSUM_AT] = complement(rom.subarray(header, header + 16 * rom[header + LENGTH_AT]));
rom[rom.length - 1] = complement(rom);
writeFileSync(finished, rom);

/** What makes the sum of all bytes zero. */
function complement(bytes) {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
