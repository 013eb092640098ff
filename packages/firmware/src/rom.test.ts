/** The ROM's file; and on QEMU's machines, without KVM, how it boots. */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { testPc } from "./acpi/testing.js";
import { embeddedGuestPath } from "./embedded-guest.js";
import { type TableFile, tableFiles } from "./linker.js";
import { romPath } from "./rom.js";

const QEMU = "qemu-system-x86_64";
const missing = spawnSync(QEMU, ["--version"]).error !== undefined;
const why = missing ? ` (skipped: no ${QEMU})` : "";

const scratch = mkdtempSync(join(tmpdir(), "rom-"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe("the ROM's file", () => {
  const rom = readFileSync(romPath());

  it("is 64 KiB, as a chip's size has to be", () => {
    expect(rom.length).toBe(64 * 1024);
  });

  it("has a jump backwards, within its own 64 KiB, where a CPU begins", () => {
    expect(rom[0xfff0]).toBe(0xe9);
    expect(rom.readInt16LE(0xfff1)).toBeLessThan(0);
  });
});

/** QEMU prefers Multiboot. Without the header's magic number it finds the PVH note. */
function withoutMultibootHeader(): string {
  const bytes = readFileSync(embeddedGuestPath());
  bytes.writeUInt32LE(0, bytes.indexOf(Buffer.from([0x02, 0xb0, 0xad, 0x1b])));
  const path = join(scratch, "pvh.elf");
  writeFileSync(path, bytes);
  return path;
}

const images = { multiboot: embeddedGuestPath(), PVH: withoutMultibootHeader() };
const machines = ["pc", "q35", "microvm,isa-serial=on"];
const boots = machines.flatMap((machine) =>
  Object.entries(images).map(([protocol, image]) => ({ machine, protocol, image })),
);

/** The last thing that is waited for: the ROM's own last words, or what Linux says when it has read everything. */
const STANDS_STILL = /^rom: [^\n]*\n|Kernel command line: [^\n]*\n/m;

const LOOK_MS = 20;
let runs = 0;
/** Runs QEMU to its end: what the guest printed and what the ROM logged, as lines. */
async function boot(machine: string, ...args: string[]) {
  const [log, serial] = [join(scratch, `log-${runs}`), join(scratch, `serial-${runs++}`)];
  // Into a file: of what a pipe's reader takes late, QEMU loses some.
  const sink = openSync(serial, "w");
  const qemu = spawn(
    QEMU,
    [
      ...["-M", machine, "-accel", "tcg", "-m", "64", "-display", "none", "-serial", "stdio", "-nodefaults"],
      ...["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios", romPath()],
      ...["-debugcon", `file:${log}`, "-global", "isa-debugcon.iobase=0x402", ...args],
    ],
    { stdio: ["ignore", sink, "ignore"] },
  );
  closeSync(sink);
  const look = setInterval(() => {
    if (STANDS_STILL.test(readFileSync(serial, "latin1"))) qemu.kill("SIGKILL");
  }, LOOK_MS);
  const status = await new Promise<number | null>((resolve) => qemu.on("close", resolve));
  clearInterval(look);
  const output = readFileSync(serial, "latin1");
  return { lines: output.split("\r\n"), log: readFileSync(log, "latin1").split("\n"), status };
}

describe.skipIf(missing)(`the ROM in QEMU${why}`, () => {
  it.each(boots)("boots by $protocol on $machine, with two CPUs", async ({ machine, protocol, image }) => {
    const run = "run=selftest; poweroff 3";
    const { lines, log, status } = await boot(machine, "-smp", "2", "-kernel", image, "-append", run);
    expect(lines[0]).toMatch(new RegExp(`^tools-kvm guest \\S+, started by ${protocol}, 6[34] MiB of memory, 2 CPUs$`));
    expect(lines).toContain("selftest: PASS (20 tests)");
    if (machine !== "microvm,isa-serial=on") expect(lines).toContain("ok 2 - the PM timer advances");
    expect(log[0]).toMatch(new RegExp(`^rom: ${protocol} kernel entered, cycles since reset: \\d+$`));
    expect(status).toBe(7);
  });

  it("tells a kernel which memory the tables have, and keeps them off the kernel's own", async () => {
    const { lines } = await boot("q35", "-kernel", images.PVH, "-append", "quiet run=mem; poweroff 3");
    const ranges = lines
      .map((line) => /^(\w{12})-(\w{12}) +\d+ KiB (.*)$/.exec(line))
      .filter((match) => match !== null);
    const low = ranges.filter(([, start]) => Number.parseInt(start!, 16) < 2 ** 32).map((range) => range.slice(1));
    expect(low).toEqual([
      ["000000000000", "00000009fbff", "usable"],
      ["00000009fc00", "00000009ffff", "reserved"],
      ["0000000f0000", "0000000fffff", "reserved"],
      ["000000100000", expect.stringMatching(/^000003f\w{2}fff$/), "usable"],
      [expect.stringMatching(/^000003f\w{2}000$/), "000003ffffff", "ACPI tables"],
    ]);
  });

  it("says so on the serial port when there is no kernel", async () => {
    const { lines, log } = await boot("q35");
    expect(lines[0]).toBe("rom: there is no kernel to boot");
    expect(log[0]).toBe("rom: there is no kernel to boot");
  });

  it("says so when the machine has no fw_cfg with DMA", async () => {
    const { lines } = await boot("q35", "-global", "fw_cfg_io.dma_enabled=off");
    expect(lines[0]).toBe("rom: there is no fw_cfg device with DMA");
  });
});

/** Without ACPI the microvm has no tables, and takes ours as files of fw_cfg. */
const withTables = (files: readonly TableFile[]): string[] =>
  files.flatMap(({ name, bytes }) => {
    const path = join(scratch, name.replaceAll("/", "-"));
    writeFileSync(path, bytes);
    return ["-fw_cfg", `name=${name},file=${path}`];
  });
const bareMicrovm = "microvm,isa-serial=on,acpi=off";
const guest = ["-kernel", images.PVH, "-append", "quiet run=mem; poweroff 3"];

describe.skipIf(missing)(`tables that the ROM places${why}`, () => {
  it("are in memory of their own", async () => {
    const { lines, status } = await boot(bareMicrovm, ...withTables(tableFiles(testPc({ cpus: 2 }))), ...guest);
    expect(lines.some((line) => line.endsWith("ACPI tables"))).toBe(true);
    expect(status).toBe(7);
  });

  it("never make it hang: whatever is broken in their script, the kernel starts or the ROM says why not", async () => {
    const files = tableFiles(testPc({ cpus: 2 }));
    const [script, ...tables] = files;
    const damage = fc.array(fc.tuple(fc.nat(script!.bytes.length - 1), fc.nat(0xff)), { minLength: 1, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(damage, async (changes) => {
        const bytes = script!.bytes.slice();
        for (const [at, value] of changes) bytes[at] = value;
        const { lines, status } = await boot(bareMicrovm, ...withTables([{ ...script!, bytes }, ...tables]), ...guest);
        expect(status === 7 || lines[0]!.startsWith("rom: ")).toBe(true);
      }),
      { numRuns: 20, seed: 20100316, endOnFailure: true },
    );
  });
});

const linux = readdirSync("/boot").find((name) => name.startsWith("vmlinuz-"));
const whyNoLinux = missing ? why : linux === undefined ? " (skipped: no /boot/vmlinuz-*)" : "";

describe.skipIf(missing || linux === undefined)(`a Linux bzImage in QEMU${whyNoLinux}`, () => {
  it.each(["q35", "microvm,isa-serial=on"])("finds tables, memory, ramdisk and command line on %s", async (machine) => {
    const initrd = join(scratch, "initrd");
    writeFileSync(initrd, Buffer.alloc(10_000, "x"));
    const { lines, log } = await boot(
      machine,
      ...["-m", "256", "-kernel", join("/boot", linux!), "-initrd", initrd, "-append", "console=ttyS0 answer=42"],
    );
    const said = lines.join("\n");
    for (const table of ["RSDP", "FACP", "DSDT", "APIC"]) {
      expect(said).toMatch(new RegExp(`ACPI: ${table} 0x[0-9A-F]{16} `));
    }
    expect(said).not.toMatch(/ACPI (BIOS )?(Error|Warning)/);
    expect(said).toMatch(/RAMDISK: \[mem 0x\w+-0x\w+\]/);
    expect(said).not.toContain("Move RAMDISK");
    expect(said).toContain("Command line: console=ttyS0 answer=42");
    expect(log[0]).toMatch(/^rom: Linux kernel entered in long mode, /);
  });
});
