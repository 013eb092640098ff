/**
 * Has ACPICA's compiler, the reference, take every table apart and put it together again: what it makes of its own
 * source must be our bytes.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import * as aml from "./aml/index.js";
import { buildAcpiTables } from "./build.js";
import type { AcpiMachine } from "./machine.js";
import { systemTable } from "./tables/header.js";
import { anyMachine, type TestPc, testPc } from "./testing.js";

const missing = spawnSync("iasl", ["-v"]).error !== undefined;
const why = missing ? " (skipped: no iasl, which Debian has in acpica-tools)" : "";

const scratch = mkdtempSync(join(tmpdir(), "acpi-tables-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** Runs iasl; everything that it says, on either stream. It must not complain. */
function iasl(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("iasl", args, { cwd: scratch, encoding: "utf8", input: "" });
  const said = (stdout + stderr).replaceAll("0 Errors, 0 Warnings, 0 Remarks", "");
  expect(said).not.toMatch(/error|warning|remark|invalid|unknown|could not/i);
  expect(status).toBe(0);
  return said;
}

interface Table {
  readonly signature: string;
  readonly bytes: Uint8Array;
}

/** The sources that iasl makes of tables. It must not have found anything odd in them. */
function disassembled(tables: readonly Table[]): string[] {
  for (const { signature, bytes } of tables) writeFileSync(join(scratch, `${signature}.dat`), bytes);
  iasl("-d", ...tables.map(({ signature }) => `${signature}.dat`));
  return tables.map(({ signature }) => {
    const source = readFileSync(join(scratch, `${signature}.dsl`), "latin1");
    expect(source).not.toMatch(/error|warning|invalid|unknown|should be|incorrect/i);
    return source;
  });
}

const CHECKSUM_AT = 9;
const COMPILER_START = 28;
const COMPILER_END = 36;
const END_TAG = 0x79;

/**
 * Takes tables apart and compiles what came out. iasl writes its own name into the header, and leaves the checksums of
 * resource templates at zero, which stands for any: the rest is the same.
 */
function expectSameAgain(tables: readonly Table[]): void {
  disassembled(tables);
  // Without -oa it would shorten names that are whole on purpose.
  iasl("-oa", ...tables.map(({ signature }) => `${signature}.dsl`));
  for (const { signature, bytes } of tables) {
    const again = readFileSync(join(scratch, `${signature}.aml`));
    expect(again.length).toBe(bytes.length);
    const differs = [...bytes.keys()].filter((at) => {
      if (bytes[at] === again[at] || at === CHECKSUM_AT) return false;
      if (signature !== "FACS" && at >= COMPILER_START && at < COMPILER_END) return false;
      return !(bytes[at - 1] === END_TAG && again[at] === 0);
    });
    expect(differs).toEqual([]);
  }
}

/** iasl takes tables with the common header, and the FACS. */
const tablesOf = (machine: AcpiMachine): Table[] =>
  buildAcpiTables(machine).segments.filter(({ signature }) => signature !== "RSD PTR ");

function dsdtSource(machine: AcpiMachine): string {
  const dsdt = tablesOf(machine).filter(({ signature }) => signature === "DSDT");
  return squeezed(disassembled(dsdt)[0]!);
}

const pcs: TestPc[] = [1, 2, 64, 255].flatMap((cpus) =>
  [0, 1, 32].flatMap((virtioMmio) => [false, true].map((pci) => ({ cpus, virtioMmio, pci }))),
);

describe.skipIf(missing)(`iasl${why}`, () => {
  it.each(pcs)("knows every table of a PC with $cpus CPUs, $virtioMmio virtio devices, PCI: $pci", (pc) => {
    expectSameAgain(tablesOf(testPc(pc)));
  });

  it("knows the tables of any machine", () => {
    fc.assert(
      fc.property(anyMachine, (machine) => {
        expectSameAgain(tablesOf(machine));
      }),
      { numRuns: 10 },
    );
  });

  it("reads in the DSDT what the machine is", () => {
    const machine = testPc({ cpus: 2, virtioMmio: 2, pci: true });
    const source = dsdtSource({ ...machine, pm: { ...machine.pm, s5SleepType: 5 } });
    for (const line of [
      'Device (C001) { Name (_HID, "ACPI0007") Name (_UID, One) }',
      'Device (MBRD) { Name (_HID, EisaId ("PNP0C02")) Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0600, 0x0600, 0x01, 0x0C,) Memory32Fixed (ReadWrite, 0xB0000000, 0x10000000,) }) }',
      'Device (COM1) { Name (_HID, EisaId ("PNP0501")) Name (_UID, One) Name (_CRS, ResourceTemplate () { IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08,) IRQNoFlags () {4} }) }',
      'Device (RTC) { Name (_HID, EisaId ("PNP0B00")) Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0070, 0x0070, 0x01, 0x02,) IRQNoFlags () {8} }) }',
      'Device (KBD) { Name (_HID, EisaId ("PNP0303")) Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0060, 0x0060, 0x01, 0x01,) IO (Decode16, 0x0064, 0x0064, 0x01, 0x01,) IRQNoFlags () {1} }) }',
      'Device (V001) { Name (_HID, "LNRO0005") Name (_UID, One) Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadWrite, 0xFEA01000, 0x00001000,) Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive,,,) { 0x00000006, } }) }',
      'Device (PCI0) { Name (_HID, EisaId ("PNP0A08")) Name (_CID, EisaId ("PNP0A03"))',
      "WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0x0000, 0x0000, 0x00FF, 0x0000, 0x0100,,,)",
      "WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300,",
      "DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0x00000000, 0xC0000000, 0xFE9FFFFF, 0x00000000, 0x3EA00000,",
      "QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Prefetchable, ReadWrite, 0x0000000000000000, 0x0000008000000000, 0x000000FFFFFFFFFF, 0x0000000000000000, 0x0000008000000000,",
      "Package (0x04) { 0x0001FFFF, 0x03, Zero, 0x10 }",
      "Name (\\_S5, Package (0x04) { 0x05, Zero, Zero, Zero })",
    ]) {
      expect(source).toContain(line);
    }
  });

  it("reserves a configuration space above 4 GiB, too", () => {
    const machine = testPc({ pci: true });
    const source = dsdtSource({ ...machine, pci: { ...machine.pci!, ecamBase: 2 ** 36 } });
    expect(source).toContain(
      "QWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0x0000000000000000, 0x0000001000000000, 0x000000100FFFFFFF,",
    );
  });

  it("reads in the builder's AML what was meant", () => {
    const { arg, field, ifThen, elseThen, integer, local, method, name, notify, reference, returns, store } = aml;
    const table = systemTable(
      "SSDT",
      2,
      aml.scope(
        "\\_SB",
        aml.device("DEV", name("_HID", aml.string("ABCD0001")), name("BUFF", aml.buffer(Uint8Array.of(1, 2, 3)))),
        aml.operationRegion("REGS", "SYSTEM_IO", 0xae00, 0x0c),
        field("REGS", { access: "DWordAcc", lock: true, update: "WriteAsZeros" }, [
          { name: "LOW", bits: 4 },
          { bits: 60 },
          { name: "HIGH", bits: 32 },
        ]),
        aml.operationRegion("WIDE", "SYSTEM_MEMORY", 2n ** 40n, 4096),
        method(
          "DEMO",
          { args: 2, serialized: true, syncLevel: 3 },
          store(aml.add(arg(0), arg(1)), local(0)),
          aml.subtract(local(0), integer(2), local(1)),
          aml.shiftLeft(local(1), integer(1), local(1)),
          aml.shiftRight(local(1), integer(3), local(2)),
          aml.xor(local(1), local(2), local(3)),
          aml.or(local(3), reference("LOW"), local(3)),
          aml.whileLoop(aml.not(aml.equal(local(3), integer(0))), aml.and(local(3), integer(aml.ONES - 1n), local(3))),
          ifThen(aml.equal(reference("^DEV.BUFF"), local(4)), notify(reference("\\_SB.DEV"), integer(0x80))),
          elseThen(store(integer(1), reference("HIGH"))),
          aml.createDwordField(reference("DEV.BUFF"), integer(0), "WORD"),
          returns(aml.packageOf(integer(0), aml.string("text"), aml.uuid("33db4d5b-1ff7-401c-9657-7441c03dd766"))),
        ),
      ),
    );
    const source = squeezed(disassembled([{ signature: "SSDT", bytes: table }])[0]!);
    for (const line of [
      "OperationRegion (REGS, SystemIO, 0xAE00, 0x0C)",
      "Field (REGS, DWordAcc, Lock, WriteAsZeros) { LOW, 4, Offset (0x08), HIGH, 32 }",
      "OperationRegion (WIDE, SystemMemory, 0x0000010000000000, 0x1000)",
      "Method (DEMO, 2, Serialized, 3)",
      "Local0 = (Arg0 + Arg1)",
      "Local1 = (Local0 - 0x02)",
      "Local1 <<= One",
      "Local2 = (Local1 >> 0x03)",
      "Local3 = (Local1 ^ Local2)",
      "Local3 |= LOW",
      "While ((Local3 != Zero)) { Local3 &= 0xFFFFFFFFFFFFFFFE }",
      "If ((^DEV.BUFF == Local4)) { Notify (\\_SB.DEV, 0x80) } Else { HIGH = One }",
      "CreateDWordField (DEV.BUFF, Zero, WORD)",
      'ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766")',
    ]) {
      expect(source).toContain(line);
    }
  });
});

/** Without comments, and with one space where there was any. */
function squeezed(source: string): string {
  return source
    .replace(/\/\*.*?\*\//gs, "")
    .replace(/\/\/.*$/gm, "")
    .replace(/\s+/g, " ")
    .replace(/ (?=[,)])/g, "");
}
