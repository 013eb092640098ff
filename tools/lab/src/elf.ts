/** The little of ELF-64 (System V ABI, "Program Header") that the lab asks: which segments a file has. */

const MAGIC = "\x7fELF";
const CLASS_64 = 2;
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_INTERP = 3;
const PT_NOTE = 4;

export interface Segment {
  type: number;
  /** Where in the file, in bytes. */
  offset: number;
  size: number;
}

export function isElf64(file: Buffer): boolean {
  return file.length >= HEADER_BYTES && file.toString("latin1", 0, 4) === MAGIC && file[4] === CLASS_64;
}

/** The segments the program headers name; those that lie outside the file are left out. */
export function segments(file: Buffer): Segment[] {
  const tableOffset = Number(file.readBigUInt64LE(32));
  const entryBytes = file.readUInt16LE(54);
  const entryCount = file.readUInt16LE(56);
  const found: Segment[] = [];
  for (let index = 0; index < entryCount; index++) {
    const entry = tableOffset + index * entryBytes;
    if (entry + PROGRAM_HEADER_BYTES > file.length) break;
    const offset = Number(file.readBigUInt64LE(entry + 8));
    const size = Number(file.readBigUInt64LE(entry + 32));
    if (offset + size <= file.length) found.push({ type: file.readUInt32LE(entry), offset, size });
  }
  return found;
}

/** A program that asks for no dynamic loader. */
export function isStatic(file: Buffer): boolean {
  return isElf64(file) && segments(file).every((segment) => segment.type !== PT_INTERP);
}

/** True when a note segment holds a note of that name and type: three words (name size, content size, type), name and content padded to 4 bytes. */
export function hasNote(file: Buffer, name: string, type: number): boolean {
  return segments(file)
    .filter((segment) => segment.type === PT_NOTE)
    .some(({ offset, size }) => noteIn(file.subarray(offset, offset + size), name, type));
}

function noteIn(notes: Buffer, name: string, type: number): boolean {
  let at = 0;
  while (at + 12 <= notes.length) {
    const nameBytes = notes.readUInt32LE(at);
    const contentBytes = notes.readUInt32LE(at + 4);
    const noteName = notes.toString("latin1", at + 12, at + 12 + Math.max(0, nameBytes - 1));
    if (noteName === name && notes.readUInt32LE(at + 8) === type) return true;
    at += 12 + roundUp4(nameBytes) + roundUp4(contentBytes);
  }
  return false;
}

function roundUp4(length: number): number {
  return Math.ceil(length / 4) * 4;
}
