/** Links what the script says as firmware would, and compares with the tables built for where they have come to. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildAcpiTables } from "./acpi/build.js";
import { anyMachine, testPc } from "./acpi/testing.js";
import type { Segment } from "./bios-area.js";
import { checksumOf } from "./bytes.js";
import { TABLE_FILE, type TableFile, tableFiles } from "./linker.js";
import { buildMpTable } from "./mp-table.js";

interface Placed {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

const COMMAND_BYTES = 128;

/** A firmware that puts every file where it is told to, and does what the script says. */
function install(files: readonly TableFile[], places: Record<string, number>): Map<string, Placed> {
  const script = files.find(({ name }) => name === TABLE_FILE.SCRIPT)!.bytes;
  const placed = new Map<string, Placed>();
  for (let at = 0; at < script.length; at += COMMAND_BYTES)
    run(script.slice(at, at + COMMAND_BYTES), files, places, placed);
  return placed;
}

function run(
  bytes: Uint8Array,
  files: readonly TableFile[],
  places: Record<string, number>,
  placed: Map<string, Placed>,
): void {
  const view = new DataView(bytes.buffer);
  const name = (at: number) => Buffer.from(bytes.slice(at, bytes.indexOf(0, at))).toString("latin1");
  const file = placed.get(name(4));
  switch (view.getUint32(0, true)) {
    case 1: {
      const gpa = places[name(4)]!;
      expect(gpa % view.getUint32(60, true)).toBe(0);
      placed.set(name(4), { gpa, bytes: files.find((each) => each.name === name(4))!.bytes.slice() });
      break;
    }
    case 2: {
      const [offset, wide] = [view.getUint32(116, true), bytes[120] === 8];
      const target = new DataView(file!.bytes.buffer);
      const { gpa } = placed.get(name(60))!;
      if (wide) target.setBigUint64(offset, target.getBigUint64(offset, true) + BigInt(gpa), true);
      else target.setUint32(offset, target.getUint32(offset, true) + gpa, true);
      break;
    }
    case 3: {
      const [offset, start, length] = [60, 64, 68].map((at) => view.getUint32(at, true));
      // As OVMF does, which takes the byte itself for one of them (OvmfPkg/AcpiPlatformDxe/QemuFwCfgAcpi.c).
      file!.bytes[offset!] = checksumOf(file!.bytes.slice(start, start! + length!));
      break;
    }
    default:
      throw new Error("an unknown command");
  }
}

const places = {
  [TABLE_FILE.ACPI]: 0x3fe_0040,
  [TABLE_FILE.RSDP]: 0x9_fc10,
  [TABLE_FILE.MP]: 0x3fd_0010,
  [TABLE_FILE.MP_POINTER]: 0x9_fc40,
};

/** The same tables, built for that place. The pointer to them is the first of each, and is elsewhere. */
function expectTables(placed: Placed, built: readonly Segment[], pointerGpa: number): void {
  for (const { gpa, bytes } of built.filter((segment) => segment.gpa !== pointerGpa)) {
    const at = gpa - placed.gpa;
    expect(placed.bytes.slice(at, at + bytes.length)).toEqual(bytes);
  }
}

describe("tables that firmware places", () => {
  it("are, once they are linked, those that are built for the same place", () => {
    fc.assert(
      fc.property(anyMachine, (machine) => {
        const placed = install(tableFiles(machine), places);
        const acpi = placed.get(TABLE_FILE.ACPI)!;
        const built = buildAcpiTables(machine, { start: acpi.gpa, end: 2 ** 32 });
        expectTables(acpi, built.segments, built.rsdp);
        const rsdp = built.segments.find(({ gpa }) => gpa === built.rsdp)!;
        expect(placed.get(TABLE_FILE.RSDP)!.bytes).toEqual(rsdp.bytes);

        const mp = placed.get(TABLE_FILE.MP)!;
        const builtMp = buildMpTable(machine, { start: mp.gpa, end: 2 ** 32 });
        expectTables(mp, builtMp.segments, builtMp.pointer);
        const pointer = builtMp.segments.find(({ gpa }) => gpa === builtMp.pointer)!;
        expect(placed.get(TABLE_FILE.MP_POINTER)!.bytes).toEqual(pointer.bytes);
      }),
      { numRuns: 50 },
    );
  });

  it("have no second pointer that somebody could find", () => {
    for (const { name, bytes } of tableFiles(testPc({ cpus: 2, pci: true }))) {
      const text = Buffer.from(bytes).toString("latin1");
      expect(text.includes("RSD PTR ")).toBe(name === TABLE_FILE.RSDP);
      expect(text.includes("_MP_")).toBe(name === TABLE_FILE.MP_POINTER);
    }
  });

  it("ask for no more checksums than there are tables with addresses", () => {
    const script = tableFiles(testPc())[0]!.bytes;
    const kinds = Array.from({ length: script.length / COMMAND_BYTES }, (_, index) => script[index * COMMAND_BYTES]);
    // The FADT, the two tables of tables, the root pointer's two, the MP pointer's.
    expect(kinds.filter((kind) => kind === 3)).toHaveLength(6);
  });
});
