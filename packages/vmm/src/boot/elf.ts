/**
 * ELF files for x86 (System V ABI, "Object Files"), as far as loading them needs: the header, the program headers and
 * the notes. Every offset and size is checked against the file before it is believed.
 */

/** What is wrong with the file, in one line. */
export class ElfError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ElfError";
  }
}

export const PT = { LOAD: 1, NOTE: 4 } as const;

export interface ProgramHeader {
  readonly type: number;
  /** Physical address of the segment. */
  readonly physAddr: number;
  /** What the file holds of the segment: a view, not a copy. Empty for a segment of zeros. */
  readonly bytes: Uint8Array;
  /** Bytes in memory, never fewer than in the file; the rest is zero. */
  readonly memorySizeBytes: number;
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  readonly desc: Uint8Array;
}

export interface ElfImage {
  readonly bits: 32 | 64;
  /** Where execution begins, by the header. Never used as more than a hint: boot protocols have entries of their own. */
  readonly entry: number;
  readonly programHeaders: readonly ProgramHeader[];
  readonly notes: readonly ElfNote[];
}

const MAGIC = 0x464c457f;
const CLASS_BITS: Record<number, 32 | 64> = { 1: 32, 2: 64 };
const LITTLE_ENDIAN = 1;
const VERSION = 1;
const ET = { EXEC: 2, DYN: 3 } as const;
const EM = { I386: 3, X86_64: 62 } as const;
/** In e_phnum: the real count stands elsewhere, because it does not fit. */
const PN_XNUM = 0xffff;

/** Field offsets of the two header layouts. Those before e_entry, and all field widths but addresses', are the same. */
const HEADER = {
  32: { sizeBytes: 52, type: 16, machine: 18, version: 20, entry: 24, phoff: 28, phentsize: 42, phnum: 44 },
  64: { sizeBytes: 64, type: 16, machine: 18, version: 20, entry: 24, phoff: 32, phentsize: 54, phnum: 56 },
} as const;
const PROGRAM_HEADER = {
  32: { sizeBytes: 32, type: 0, offset: 4, paddr: 12, filesz: 16, memsz: 20, align: 28 },
  64: { sizeBytes: 56, type: 0, offset: 8, paddr: 24, filesz: 32, memsz: 40, align: 48 },
} as const;

/** True when the file calls itself ELF; it may still be broken. */
export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === MAGIC;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads and checks an ELF executable for i386 or x86-64. Throws ElfError. */
export function parseElf(bytes: Uint8Array): ElfImage {
  if (!isElf(bytes)) throw new ElfError("not an ELF file");
  const view = viewOf(bytes);
  const bits = bytes.length > 4 ? CLASS_BITS[bytes[4]!] : undefined;
  if (bits === undefined) throw new ElfError("an ELF file that is neither 32-bit nor 64-bit");
  const header = HEADER[bits];
  if (bytes.length < header.sizeBytes) {
    throw new ElfError(`truncated: ${bytes.length} bytes, and the ELF header alone has ${header.sizeBytes}`);
  }
  if (bytes[5] !== LITTLE_ENDIAN) throw new ElfError("a big-endian ELF file, not one for x86");
  if (bytes[6] !== VERSION || view.getUint32(header.version, true) !== VERSION) {
    throw new ElfError("an ELF file of an unknown version");
  }
  const machine = view.getUint16(header.machine, true);
  if (machine !== EM.I386 && machine !== EM.X86_64) {
    throw new ElfError(`an ELF file for another processor (e_machine ${machine}), not for x86`);
  }
  const type = view.getUint16(header.type, true);
  if (type !== ET.EXEC && type !== ET.DYN) {
    throw new ElfError(`an ELF file that is not executable (e_type ${type})`);
  }
  const programHeaders = readProgramHeaders(bytes, view, bits);
  return {
    bits,
    entry: readAddress(view, header.entry, bits),
    programHeaders: programHeaders.map(({ header }) => header),
    notes: programHeaders.flatMap(({ header, alignBytes }) =>
      header.type === PT.NOTE ? readNotes(header.bytes, alignBytes) : [],
    ),
  };
}

/** Addresses and sizes above 2^53 lose their low bits here; none of them can be loaded, and those that matter are checked. */
function readAddress(view: DataView, offset: number, bits: 32 | 64): number {
  return bits === 32 ? view.getUint32(offset, true) : Number(view.getBigUint64(offset, true));
}

function readProgramHeaders(
  bytes: Uint8Array,
  view: DataView,
  bits: 32 | 64,
): { header: ProgramHeader; alignBytes: number }[] {
  const layout = PROGRAM_HEADER[bits];
  const count = view.getUint16(HEADER[bits].phnum, true);
  if (count === 0) throw new ElfError("an ELF file without program headers: nothing says where to load it");
  if (count === PN_XNUM) throw new ElfError("an ELF file with 65535 or more program headers");
  const entrySize = view.getUint16(HEADER[bits].phentsize, true);
  if (entrySize !== layout.sizeBytes) {
    throw new ElfError(`program headers of ${entrySize} bytes, where a ${bits}-bit file has ${layout.sizeBytes}`);
  }
  const table = readAddress(view, HEADER[bits].phoff, bits);
  if (table + count * layout.sizeBytes > bytes.length) {
    throw new ElfError(`truncated: its program headers lie beyond its ${bytes.length} bytes`);
  }
  return Array.from({ length: count }, (_, index) => {
    const at = table + index * layout.sizeBytes;
    const type = view.getUint32(at + layout.type, true);
    // Only these two kinds are read; what the others point at is not ours to judge.
    const wanted = type === PT.LOAD || type === PT.NOTE;
    const offset = wanted ? readAddress(view, at + layout.offset, bits) : 0;
    const fileSize = wanted ? readAddress(view, at + layout.filesz, bits) : 0;
    const memorySizeBytes = wanted ? readAddress(view, at + layout.memsz, bits) : 0;
    if (offset + fileSize > bytes.length) {
      throw new ElfError(
        `truncated: program header ${index} wants bytes up to ${offset + fileSize} of ${bytes.length}`,
      );
    }
    if (type === PT.LOAD && fileSize > memorySizeBytes) {
      throw new ElfError(`program header ${index} has more bytes in the file than in memory`);
    }
    const physAddr = readAddress(view, at + layout.paddr, bits);
    const header = { type, physAddr, bytes: bytes.subarray(offset, offset + fileSize), memorySizeBytes };
    return { header, alignBytes: readAddress(view, at + layout.align, bits) === 8 ? 8 : 4 };
  });
}

/** A note segment: entries of name size, description size, type, then name and description, each padded. */
function readNotes(segment: Uint8Array, alignBytes: number): ElfNote[] {
  const view = viewOf(segment);
  const padded = (sizeBytes: number): number => Math.ceil(sizeBytes / alignBytes) * alignBytes;
  const notes: ElfNote[] = [];
  let at = 0;
  while (at + 12 <= segment.length) {
    const nameSize = view.getUint32(at, true);
    const descSize = view.getUint32(at + 4, true);
    const descAt = padded(at + 12 + nameSize);
    if (descAt + descSize > segment.length) throw new ElfError("a note that is longer than its segment");
    notes.push({
      type: view.getUint32(at + 8, true),
      name: text(segment.subarray(at + 12, at + 12 + nameSize)),
      desc: segment.subarray(descAt, descAt + descSize),
    });
    at = padded(descAt + descSize);
  }
  return notes;
}

/** The text up to its terminating zero. */
function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder("latin1").decode(end < 0 ? bytes : bytes.subarray(0, end));
}
