/**
 * Tables for firmware that places them itself: as files of fw_cfg, and a script that says where they may be and which of
 * their fields are addresses. The script's commands are those of QEMU, which SeaBIOS and OVMF know as well
 * (QEMU, hw/acpi/bios-linker-loader.c).
 */
import { buildAcpiTables } from "./acpi/build.js";
import type { AcpiMachine } from "./acpi/machine.js";
import type { Segment } from "./bios-area.js";
import { concat, StructBytes } from "./bytes.js";
import { buildMpTable } from "./mp-table.js";

/** A file of fw_cfg. */
export interface TableFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export const TABLE_FILE = {
  SCRIPT: "etc/table-loader",
  ACPI: "etc/acpi/tables",
  RSDP: "etc/acpi/rsdp",
  MP: "etc/mp/table",
  MP_POINTER: "etc/mp/pointer",
} as const;

/** Where a file may be: anywhere below 4 GiB, or where an operating system looks for pointers to tables. */
const ZONE = { HIGH: 1, LOW: 2 } as const;
const COMMAND = { ALLOCATE: 1, ADD_POINTER: 2, ADD_CHECKSUM: 3 } as const;
const COMMAND_BYTES = 128;
const NAME_BYTES = 56;

/** Built for address 0, a table's pointers are offsets into the file that it is in, which is what the script wants. */
const WHOLE_FILE = { start: 0, end: 2 ** 24 };

const FACS_ALIGN_BYTES = 64;
const POINTER_ALIGN_BYTES = 16;
/** Of every system description table (ACPI 6.5, section 5.2.6). */
const HEADER = { BYTES: 36, CHECKSUM: 9 } as const;
/** The FADT's (section 5.2.9). Those that are zero stay zero. */
const FADT_POINTERS = [
  { offset: 36, sizeBytes: 4 },
  { offset: 40, sizeBytes: 4 },
  { offset: 132, sizeBytes: 8 },
  { offset: 140, sizeBytes: 8 },
] as const;
/** The root pointer's, and what its two checksums cover (section 5.2.5.3). */
const RSDP_POINTERS = [
  { offset: 16, sizeBytes: 4 },
  { offset: 24, sizeBytes: 8 },
] as const;
const RSDP_CHECKSUMS = [
  { offset: 8, sizeBytes: 20 },
  { offset: 32, sizeBytes: 36 },
] as const;
/** The MP floating pointer's (MultiProcessor Specification 1.4, section 4.1). */
const MP_POINTER = { offset: 4, sizeBytes: 4 } as const;
const MP_CHECKSUM = { offset: 10, sizeBytes: 16 } as const;

interface Field {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The ACPI tables and the MP table of `machine`, and the script. Throws AcpiError as their builders do. */
export function tableFiles(machine: AcpiMachine): TableFile[] {
  const acpi = buildAcpiTables(machine, WHOLE_FILE);
  const mp = buildMpTable(machine, WHOLE_FILE);
  const rsdp = segmentAt(acpi.segments, acpi.rsdp);
  const mpPointer = segmentAt(mp.segments, mp.pointer);
  const script = [
    allocate(TABLE_FILE.ACPI, FACS_ALIGN_BYTES, ZONE.HIGH),
    allocate(TABLE_FILE.RSDP, POINTER_ALIGN_BYTES, ZONE.LOW),
    ...acpi.segments.filter((segment) => segment !== rsdp).flatMap(linkTable),
    ...link(TABLE_FILE.RSDP, TABLE_FILE.ACPI, RSDP_POINTERS),
    ...RSDP_CHECKSUMS.map((field) => addChecksum(TABLE_FILE.RSDP, field.offset, { offset: 0, ...sizeOf(field) })),
    allocate(TABLE_FILE.MP, POINTER_ALIGN_BYTES, ZONE.HIGH),
    allocate(TABLE_FILE.MP_POINTER, POINTER_ALIGN_BYTES, ZONE.LOW),
    ...link(TABLE_FILE.MP_POINTER, TABLE_FILE.MP, [MP_POINTER]),
    addChecksum(TABLE_FILE.MP_POINTER, MP_CHECKSUM.offset, { offset: 0, ...sizeOf(MP_CHECKSUM) }),
  ];
  return [
    { name: TABLE_FILE.SCRIPT, bytes: concat(script) },
    {
      name: TABLE_FILE.ACPI,
      bytes: cleared(
        withoutPointer(acpi.segments, rsdp),
        acpi.segments.filter(isLinked).map(({ gpa }) => gpa + HEADER.CHECKSUM),
      ),
    },
    {
      name: TABLE_FILE.RSDP,
      bytes: cleared(
        rsdp.bytes,
        RSDP_CHECKSUMS.map(({ offset }) => offset),
      ),
    },
    { name: TABLE_FILE.MP, bytes: withoutPointer(mp.segments, mpPointer) },
    { name: TABLE_FILE.MP_POINTER, bytes: cleared(mpPointer.bytes, [MP_CHECKSUM.offset]) },
  ];
}

/**
 * Checksums that the script asks for are zero until then: SeaBIOS corrects what is there, but OVMF replaces it by that of all
 * bytes, this one included, and takes no notice of tables whose sum is wrong then.
 */
function cleared(bytes: Uint8Array, checksums: readonly number[]): Uint8Array {
  const file = bytes.slice();
  for (const at of checksums) file[at] = 0;
  return file;
}

const sizeOf = ({ sizeBytes }: Field) => ({ sizeBytes });

function segmentAt(segments: readonly Segment[], gpa: number): Segment {
  return segments.find((segment) => segment.gpa === gpa)!;
}

/** All tables at their places, but for the pointer to them, which is a file of its own: nobody shall find it twice. */
function withoutPointer(segments: readonly Segment[], pointer: Segment): Uint8Array {
  const end = Math.max(...segments.map(({ gpa, bytes }) => gpa + bytes.length));
  const file = new Uint8Array(end);
  for (const { gpa, bytes } of segments) file.set(bytes, gpa);
  return file.fill(0, pointer.gpa, pointer.gpa + pointer.bytes.length);
}

/** Fields of a table that are addresses, and not of nothing. */
function addressesIn({ signature, bytes }: Segment): readonly Field[] {
  return pointersOf(signature, bytes).filter(({ offset }) => bytes.slice(offset, offset + 4).some(Boolean));
}

const isLinked = (segment: Segment): boolean => addressesIn(segment).length > 0;

/** The commands for one table; none where it has no address in it, and then its checksum is right as it is. */
function linkTable(segment: Segment): Uint8Array[] {
  const { gpa, bytes } = segment;
  const fields = addressesIn(segment);
  if (fields.length === 0) return [];
  const pointers = fields.map(({ offset, sizeBytes }) => ({ offset: gpa + offset, sizeBytes }));
  return [
    ...link(TABLE_FILE.ACPI, TABLE_FILE.ACPI, pointers),
    addChecksum(TABLE_FILE.ACPI, gpa + HEADER.CHECKSUM, { offset: gpa, sizeBytes: bytes.length }),
  ];
}

function pointersOf(signature: string, bytes: Uint8Array): readonly Field[] {
  const array = (sizeBytes: number): Field[] =>
    Array.from({ length: (bytes.length - HEADER.BYTES) / sizeBytes }, (_, index) => ({
      offset: HEADER.BYTES + sizeBytes * index,
      sizeBytes,
    }));
  if (signature === "FACP") return FADT_POINTERS;
  if (signature === "RSDT") return array(4);
  if (signature === "XSDT") return array(8);
  return [];
}

function command(kind: number): StructBytes {
  return new StructBytes(COMMAND_BYTES).u32(0, kind);
}

function name(text: string): Uint8Array {
  const bytes = new Uint8Array(NAME_BYTES);
  bytes.set(new TextEncoder().encode(text));
  return bytes;
}

function allocate(file: string, alignBytes: number, zone: number): Uint8Array {
  return command(COMMAND.ALLOCATE).set(4, name(file)).u32(60, alignBytes).u8(64, zone).bytes;
}

function link(file: string, pointsTo: string, fields: readonly Field[]): Uint8Array[] {
  return fields.map(
    ({ offset, sizeBytes }) =>
      command(COMMAND.ADD_POINTER).set(4, name(file)).set(60, name(pointsTo)).u32(116, offset).u8(120, sizeBytes).bytes,
  );
}

/** Makes the bytes of `range` add up to zero. */
function addChecksum(file: string, offset: number, range: Field): Uint8Array {
  return command(COMMAND.ADD_CHECKSUM).set(4, name(file)).u32(60, offset).u32(64, range.offset).u32(68, range.sizeBytes)
    .bytes;
}
