/** The tables as Debian's dmidecode reads them, and their form whatever the machine is like. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { LowMemory } from "../acpi/testing.js";
import { buildSmbios, SMBIOS_FILE, type SmbiosMachine, smbiosFiles } from "./build.js";

const GIB = 2 ** 30;
const missing = spawnSync("dmidecode", ["--version"]).error !== undefined;
const why = missing ? " (skipped: no dmidecode; the package is named so)" : "";

const scratch = mkdtempSync(join(tmpdir(), "smbios-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const small: SmbiosMachine = { cpus: 2, ram: [{ guestPhysAddr: 0, sizeBytes: GIB / 4 }] };
const split: SmbiosMachine = {
  cpus: 300,
  ram: [
    { guestPhysAddr: 0, sizeBytes: 2 * GIB },
    { guestPhysAddr: 4 * GIB, sizeBytes: 5000 * GIB },
  ],
};

/** A dump as `dmidecode --dump-bin` writes it: the entry point, and at 32 the tables, which it points at. */
function dump(machine: SmbiosMachine): string {
  const { segments } = buildSmbios(machine, { start: 0, end: 0x1000 });
  const bytes = new Uint8Array(0x1000);
  for (const segment of segments) bytes.set(segment.bytes, segment.gpa);
  const path = join(scratch, "dump");
  writeFileSync(path, bytes);
  const { stdout, stderr } = spawnSync("dmidecode", ["--from-dump", path], { encoding: "utf8" });
  expect(stderr).toBe("");
  return stdout;
}

describe.skipIf(missing)(`dmidecode${why}`, () => {
  it("finds nothing wrong, and the machine as it is", () => {
    const text = dump(small);
    expect(text).toContain("SMBIOS 2.8 present.");
    expect(text).not.toMatch(/broken|corrupt|bad|OUT OF SPEC|TRUNCATED|Wrong/i);
    expect(text).toMatch(/Product Name: tools-kvm PC/);
    expect(text).toMatch(/System is a virtual machine/);
    expect(text).toMatch(/Core Count: 2\n/);
    expect(text).toMatch(/Size: 256 MB/);
    expect(text).toMatch(/Ending Address: 0x0000FFFFFFF/i);
    expect(text).toContain("End Of Table");
  });

  it("sees more CPUs and more memory than the oldest fields hold", () => {
    const text = dump(split);
    expect(text).not.toMatch(/OUT OF SPEC|TRUNCATED|Wrong/i);
    expect(text).toMatch(/Core Count: 300\n/);
    expect(text).toMatch(/Size: 5002 GB/);
    expect(text).toMatch(/Starting Address: 0x0000000100000000k?/i);
  });
});

const anyMachine: fc.Arbitrary<SmbiosMachine> = fc.record({
  cpus: fc.integer({ min: 1, max: 0xffff }),
  ram: fc.array(
    fc.record({
      guestPhysAddr: fc.nat({ max: 2 ** 30 }).map((pages) => pages * 4096),
      sizeBytes: fc.integer({ min: 1, max: 2 ** 30 }).map((pages) => pages * 4096),
    }),
    { minLength: 1, maxLength: 8 },
  ),
});

describe("the tables of any machine", () => {
  it("are where a guest looks for them, with right checksums, and are structures to their very end", () => {
    fc.assert(
      fc.property(anyMachine, (machine) => {
        const { entryPoint, segments } = buildSmbios(machine);
        const memory = new LowMemory(segments);
        expect(memory.find("_SM_", 0xf_0000)).toBe(entryPoint);
        expect(memory.sum(entryPoint, memory.u8(entryPoint + 5))).toBe(0);
        expect(memory.sum(entryPoint + 16, 15)).toBe(0);
        const [start, length] = [memory.u32(entryPoint + 24), memory.u16(entryPoint + 22)];
        expect(typesIn(memory.bytes.subarray(start, start + length))).toHaveLength(memory.u16(entryPoint + 28));
      }),
    );
  });

  it("are the same for firmware, which adds the address", () => {
    const files = new Map(smbiosFiles(small).map(({ name, bytes }) => [name, bytes]));
    expect(typesIn(files.get(SMBIOS_FILE.TABLES)!)).toEqual([0, 1, 3, 4, 16, 17, 19, 32, 127]);
    expect(files.get(SMBIOS_FILE.ENTRY_POINT)!.subarray(24, 28)).toEqual(new Uint8Array(4));
  });
});

/** Types of the structures in a table, read as a guest does it. Throws when the last does not end where the table does. */
function typesIn(table: Uint8Array): number[] {
  const types: number[] = [];
  let at = 0;
  while (at < table.length) {
    types.push(table[at]!);
    at += table[at + 1]!;
    while (table[at] !== 0 || table[at + 1] !== 0) at++;
    at += 2;
  }
  if (at !== table.length) throw new Error("the last structure is longer than the table");
  return types;
}
